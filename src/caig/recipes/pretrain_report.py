"""What a prompt model is worth (`caig evaluate prompt`): validity, match rate and variety, on unseen products."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import numpy as np

from caig.data.captions import setting_of
from caig.data.everyday import categories, write_title
from caig.models.mllm import load_mllm
from caig.models.prompt_model import PromptModel
from caig.models.protocols import PromptModel as Describer
from caig.recipes.pretrain import Config
from caig.recipes.pretrain_samples import read_photos
from caig.recipes.training import Log
from caig.seeding import seed_for
from caig.types import Estimate, Product

ADS = 4  # descriptions a product, as `caig generate` asks for
PHOTO_SIDE = 256  # as the pipeline shows products to a prompt model


@dataclass(frozen=True, kw_only=True)
class Case:
    """A product as shown to the model, and the settings that suit it."""

    product: Product
    settings: tuple[str, ...]


def write_report(config: Config, folder: Path, log: Log) -> None:
    """Measure the exported model and write `training.json` beside its weights."""
    model = PromptModel(*load_mllm(folder), name=folder.name)
    estimates = []
    for estimate in evaluate(model, config.data, cases=config.evaluate, seed=config.seed):
        log.write(**asdict(estimate))
        estimates.append(estimate)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    record = {"recipe": "caig train prompt", "config": settings, "metrics": [asdict(e) for e in estimates]}
    (folder / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def evaluate(prompt_model: Describer, data: Path, *, cases: int, seed: int) -> Iterator[Estimate]:
    """Measure on at most `cases` cases per condition, one estimate after the other; none for 0 cases."""
    for name, group in conditions(data, cases, seed).items():
        yield from measure(prompt_model, name, group, seed)


def conditions(data: Path, cases: int, seed: int) -> dict[str, list[Case]]:
    """Unseen products and nouns, with words and without: at most `cases` cases each, no condition for 0."""
    if not cases:
        return {}
    tested = _products(data, "test", cases)  # of categories whose photos training never saw
    known = _products(data, "kept back", cases)  # of categories whose photos it saw
    nouns = _held_out_nouns(cases, seed)
    return {
        "test products": tested,
        "test products, words only": [_without(case, "image") for case in tested],
        "kept-back products": known,
        "kept-back products, photo only": [_without(case, "title", "category") for case in known],
        "held-out nouns": nouns,
        "held-out nouns, no category": [_without(case, "category") for case in nouns],
    }


def measure(model: Describer, name: str, cases: Sequence[Case], seed: int) -> list[Estimate]:
    """Validity, match rate of a single sample and of the four ads, and how often all four settings differ."""
    named = [[setting_of(d.text) for d in model.describe(case.product, ADS, seed=seed)] for case in cases]
    suits = [case.settings for case in cases]
    rows = list(zip(named, suits, strict=True))
    shares: Mapping[str, Callable[[list[str | None], tuple[str, ...]], float]] = {
        "valid": lambda found, _: float(np.mean([s is not None for s in found])),
        "match, first ad": lambda found, suit: float(found[0] in suit),
        "match, four ads": lambda found, suit: float(np.mean([s in suit for s in found])),
        "four settings differ": lambda found, _: float(len(set(found)) == ADS),
    }
    estimates = [bootstrap(f"{name}: {what}", [share(*row) for row in rows]) for what, share in shares.items()]
    by_category: dict[tuple[str, ...], list[str | None]] = {}
    for found, suit in rows:
        by_category.setdefault(suit, []).extend(found)
    entropies = [entropy(found) for found in by_category.values()]
    return [*estimates, bootstrap(f"{name}: setting entropy within a category, bits", entropies)]


def bootstrap(name: str, values: Sequence[float], draws: int = 2000) -> Estimate:
    """Mean of per-product values with a 95 % percentile bootstrap interval over products."""
    array = np.asarray(values, np.float64)
    picks = np.random.default_rng(seed_for("bootstrap", name)).integers(0, len(array), (draws, len(array)))
    low, high = np.quantile(array[picks].mean(1), (0.025, 0.975))
    return Estimate(name=name, value=float(array.mean()), low=float(low), high=float(high), n=len(array))


def entropy(names: Sequence[str | None]) -> float:
    """Shannon entropy in bits of how often each setting is named."""
    counts = Counter(names)
    return -sum(n / len(names) * math.log2(n / len(names)) for n in counts.values())


def _products(data: Path, share: str, cases: int) -> list[Case]:
    photos = read_photos(data, share, PHOTO_SIDE)[:cases]
    return [
        Case(
            product=Product(
                id=photo.record["id"],
                title=photo.record["title"],
                category=photo.record["category"],
                image=photo.image,
            ),
            settings=categories()[photo.record["category"]].settings,
        )
        for photo in photos
    ]


def _held_out_nouns(cases: int, seed: int) -> list[Case]:
    """One title per held-out noun, in an order that spreads over the categories."""
    rng = Random(seed_for(seed, "held-out nouns"))
    pairs = [(row, noun) for row in categories().values() for noun in row.held_out]
    picked = rng.sample(pairs, min(cases, len(pairs)))
    return [
        Case(product=Product(id=noun, title=write_title(row, noun, rng), category=row.name), settings=row.settings)
        for row, noun in picked
    ]


def _without(case: Case, *fields: str) -> Case:
    blanks = {"title": "", "category": "", "image": None}
    return replace(case, product=replace(case.product, **{field: blanks[field] for field in fields}))
