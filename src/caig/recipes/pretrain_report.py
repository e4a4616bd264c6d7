"""What a prompt model is worth (`caig evaluate prompt`): validity, match rate and variety, on unseen products."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import numpy as np

from caig.data.captions import setting_of
from caig.data.everyday import Category, categories, suitable_settings, write_title
from caig.data.instructions import product_facts, write_instruction
from caig.evaluation.match import Described, describe_all
from caig.evaluation.metrics import mean
from caig.models.adapters import load_adapted
from caig.models.mllm import Prefill
from caig.models.prompt_model import PromptModel
from caig.models.protocols import PromptModel as Describer
from caig.recipes.pretrain import Config, answer_loss, askable
from caig.recipes.pretrain_samples import (
    draw_samples,
    poor_description,
    read_catalog_photos,
    read_photos,
    read_sources,
)
from caig.recipes.training import Log
from caig.seeding import seed_for
from caig.types import Estimate, Product

ADS = 4  # descriptions a product, as `caig generate` asks for
PHOTO_SIDE = 256  # as the pipeline shows products to a prompt model
Matches = Callable[[Product, Sequence[str]], Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A product as shown to the model, and the product in full, by which its descriptions are judged."""

    shown: Product
    truth: Product


class Rewriter(PromptModel):
    """The same model, asked to rewrite a poor description of each product in place of writing one from nothing."""

    def _read(self, products: Sequence[Product], requests: Sequence[str]) -> Prefill:
        return super()._read(products, [_rewriting(product) for product in products])


def write_report(config: Config, folder: Path, log: Log) -> None:
    """Measure the exported model and write `training.json` beside its weights."""
    model, processor, _ = load_adapted(str(folder), "prompt")
    estimates = []
    for estimate in evaluate(
        PromptModel(model, processor, name=folder.name), config.data, cases=config.evaluate, seed=config.seed
    ):
        log.write(**asdict(estimate))
        estimates.append(estimate)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    record = {"recipe": "caig train prompt", "config": settings, "metrics": [asdict(e) for e in estimates]}
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def evaluate(model: Describer, data: Path | None, *, cases: int, seed: int) -> Iterator[Estimate]:
    """Measure on at most `cases` cases per condition, one estimate after the other; none for 0 cases.

    The cases of the first condition again with poor descriptions to rewrite, and held-out losses, are told for models
    that can be asked for them: image-text checkpoints loaded by name.
    """
    groups = conditions(data, cases, seed)
    for name, group in groups.items():
        yield from measure(model, name, group, seed)
    if groups and type(model) is PromptModel:  # a subclass may ask otherwise
        main, group = next(iter(groups.items()))
        rewriter = Rewriter(model.model, model.processor, name=model.name)
        yield from measure(rewriter, f"{main}, poor descriptions rewritten", group, seed)
        if data:
            yield from task_losses(model, data, cases, seed)


def evaluate_catalog(model: Describer, catalog: Path, matches: Matches, *, cases: int, seed: int) -> Iterator[Estimate]:
    """The same on the first `cases` products of a catalogue, in full and with words or photo blanked."""
    photos = read_catalog_photos(catalog, None, PHOTO_SIDE)[0][:cases]
    full = [_case(_product(photo.record, photo.image)) for photo in photos]
    for name, group in _blanked("catalogue", full).items():
        yield from measure(model, name, group, seed, matches)


def conditions(data: Path | None, cases: int, seed: int) -> dict[str, list[Case]]:
    """Unseen products and nouns, with words and without: at most `cases` cases each, no condition for 0."""
    if not cases:
        return {}
    photos = read_photos(data, "test", PHOTO_SIDE)[:cases] if data else []
    tested = [_case(_product(photo.record, photo.image)) for photo in photos]
    nouns = _titles(lambda row: () if row.kept_back else row.held_out, cases, seed)
    return {
        **(_blanked("test products", tested) if tested else {}),
        "held-out nouns": nouns,
        "held-out nouns, no category": [_without(case, "category") for case in nouns],
        "kept-back categories": _titles(lambda row: row.nouns if row.kept_back else (), cases, seed),
    }


def measure(
    model: Describer, name: str, cases: Sequence[Case], seed: int, matches: Matches | None = None
) -> list[Estimate]:
    """Every metric of `caig.evaluation.match` on the cases' four ads; `matches` judges, by default the categories'
    known settings do."""
    rows = []
    for case in cases:
        texts = [description.text for description in model.describe(case.shown, ADS, seed=seed)]
        judged = (matches or _by_category)(case.truth, texts)
        rows.append(
            Described(
                product_id=case.truth.id,
                category=case.truth.category,
                texts=tuple(texts),
                settings=tuple(setting_of(text) for text in texts),
                matches=tuple(judged),
            )
        )
    return describe_all(name, rows, seed=seed)


def task_losses(model: PromptModel, data: Path, cases: int, seed: int) -> Iterator[Estimate]:
    """Loss in nats a token of each task on products of the test split; intervals over prompts."""
    import torch

    side = model.processor.image_processor.crop_size["height"] if _crops(model) else PHOTO_SIDE
    sources = read_sources(data, "test", side)
    for name, (family, task, photos) in askable(sources).items():
        rng = Random(seed_for(seed, "task loss", name))
        samples = draw_samples(sources, task, family, cases, 1, photos=photos, rng=rng)
        with torch.inference_mode():
            losses = [float(answer_loss(model.model, model.processor, [sample])) for sample in samples]
        yield mean(f"{name}: held-out loss, nats a token", losses, [str(i) for i in range(len(losses))], seed=seed)


def _rewriting(product: Product) -> str:
    """The request to rewrite a description that names no suitable setting; the same every time for a product."""
    rng, suitable = Random(seed_for(product.id, "poor description")), suitable_settings(product.category) or ()
    draft = poor_description(rng)
    while setting_of(draft) in suitable:  # a mere copy of it shall be no match
        draft = poor_description(rng)
    facts = product_facts(product.title, product.category, product.attributes)
    return write_instruction("rewrite", facts, rng, draft=draft)


def _crops(model: PromptModel) -> bool:
    return bool(getattr(model.processor.image_processor, "crop_size", None))


def _by_category(product: Product, texts: Sequence[str]) -> list[float]:
    suitable = suitable_settings(product.category) or ()
    return [float(setting_of(text) in suitable) for text in texts]


def _blanked(name: str, cases: Sequence[Case]) -> dict[str, list[Case]]:
    return {
        name: list(cases),
        f"{name}, words only": [_without(case, "image") for case in cases],
        f"{name}, photo only": [_without(case, "title", "category", "attributes") for case in cases],
    }


def _product(record: dict, image: np.ndarray) -> Product:
    return Product(
        id=str(record.get("id", record["title"])),
        title=record["title"],
        category=record.get("category", ""),
        image=image,
    )


def _titles(nouns_of: Callable[[Category], Sequence[str]], cases: int, seed: int) -> list[Case]:
    """One title per noun, at most `cases` of them, drawn over all categories."""
    rng = Random(seed_for(seed, "held-out nouns"))
    pairs = [(row, noun) for row in categories().values() for noun in nouns_of(row)]
    picked = rng.sample(pairs, min(cases, len(pairs)))
    return [_case(Product(id=noun, title=write_title(row, noun, rng), category=row.name)) for row, noun in picked]


def _case(product: Product) -> Case:
    return Case(shown=product, truth=product)


def _without(case: Case, *fields: str) -> Case:
    blanks = {"title": "", "category": "", "image": None, "attributes": {}}
    return replace(case, shown=replace(case.shown, **{field: blanks[field] for field in fields}))
