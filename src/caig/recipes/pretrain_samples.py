"""Training samples of the prompt model: what it is shown of a product, and suitable descriptions to write.

Half of the steps show photos, half words only (LLaVA's text-only turn), which cost half as much. A photo step mixes
rendered products beside their own photo, sometimes without any words, with everyday nouns beside a photo of something
else, white or noise: a real catalogue's photos look like nothing the model has seen, and words must then decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caig.data.captions import sample_description, setting_of
from caig.data.everyday import Category, categories, write_title
from caig.data.instructions import product_facts, write_instruction
from caig.data.scenes import ProductRecord, read_products, read_scenes, split_of
from caig.imaging.canvas import on_white
from caig.models.describing import TASK
from caig.models.mllm import encode
from caig.seeding import seed_for
from caig.types import Cutout, Pixels

SHOWN_ATTRIBUTES = ("brand", "color", "tags", "price")
IGNORED = -100  # label of a token without loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One prompt and its answers; `settings` suit the product."""

    instruction: str
    image: Pixels | None
    answers: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A rendered product's record and its photo on white, u8[side, side, 3]."""

    record: Mapping[str, Any]
    image: Pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What samples are drawn from."""

    photos: Sequence[Photo]
    captions: Mapping[str, Sequence[str]]  # the scenes' own, by setting


def share_of(product_id: str) -> str:
    """test, validation, train, or `kept back`: a tenth of the training products, never shown in training.

    The rendered split goes by product number modulo 7 and the rendered category by number modulo 14, so test and
    validation products are of categories whose photos training never sees; those kept back are of seen categories.
    """
    split = split_of(product_id)
    return "kept back" if split == "train" and seed_for("kept back", product_id) % 10 == 0 else split


def read_photos(folder: Path, share: str, side: int) -> list[Photo]:
    """The rendered products of a share (see `share_of`), laid on white as the prompt model sees them."""
    products = [product for product in read_products(folder) if share_of(product.id) == share]
    return [Photo(record=product.record, image=on_white(_cutout(product), side)) for product in products]


def read_captions(folder: Path) -> dict[str, list[str]]:
    """The training scenes' captions by setting, whatever product stood there; those that open with the setting."""
    captions: dict[str, list[str]] = {}
    for scene in read_scenes(folder):
        if scene.split == "train":
            setting = scene.record["setting"]
            fit = [text for text in scene.record["captions"] if setting_of(text.partition(", ")[0]) == setting]
            captions.setdefault(setting, []).extend(fit)
    return captions


def draw_samples(sources: Sources, count: int, answers: int, *, photos: bool, rng: Random) -> list[Sample]:
    """Draw `count` prompts with `answers` descriptions each, all with a photo or all without."""
    draws = [_rendered if rng.random() < (0.6 if photos else 0.15) else _everyday for _ in range(count)]
    return [draw(sources, answers, photos, rng) for draw in draws]


def only_settings(sample: Sample) -> Sample:
    """The sample with its answers cut to their first phrase, which names the setting."""
    return replace(sample, answers=tuple(text.partition(", ")[0] for text in sample.answers))


def tokenizer_texts(captions: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """What the byte-level BPE is trained on: captions, instructions and titles of the training nouns."""
    rng = Random(seed)
    own = [text for texts in captions.values() for text in texts]
    written = [sample_description(setting, rng) for setting in captions for _ in range(100)]
    rows = categories().values()
    facts = [product_facts(write_title(row, noun, rng), row.name) for row in rows for noun in row.training]
    return own + written + [write_instruction(TASK, fact, rng) for fact in facts]


def answer_tokens(processor: Any, answers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokens i64[B, T] of the answers, each closed by the end token and padded right, and their mask of ones."""
    tokenizer = processor.tokenizer
    rows = [[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in answers]
    length = max(map(len, rows))
    tokens = [row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)


def collate(processor: Any, samples: Sequence[Sample], device: Any) -> tuple[Any, Tensor, Tensor]:
    """Encoded prompts of B samples, and their answers' tokens and mask i64[B·answers, T]."""
    inputs = encode(processor, [s.instruction for s in samples], [s.image for s in samples], device)
    tokens, mask = answer_tokens(processor, [text for s in samples for text in s.answers])
    return inputs, tokens.to(device), mask.to(device)


def labels(tokens: Tensor, mask: Tensor) -> Tensor:
    """Targets i64[B, T]: the answer's tokens with its end token; padding carries no loss, nor does any prompt."""
    return tokens.masked_fill(mask == 0, IGNORED)


def _rendered(sources: Sources, answers: int, photos: bool, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    record = photo.record
    wordless = photos and rng.random() < 0.45
    attributes = {k: record[k] for k in SHOWN_ATTRIBUTES if rng.random() < 0.5} if rng.random() < 0.2 else {}
    category = categories()[record["category"]]
    facts = product_facts() if wordless else product_facts(record["title"], _maybe(category, rng), attributes)
    return _sample(sources, facts, _augment(photo.image, rng) if photos else None, category.settings, answers, rng)


def _everyday(sources: Sources, answers: int, photos: bool, rng: Random) -> Sample:
    category = rng.choice(list(categories().values()))
    title = write_title(category, rng.choice(category.training), rng)
    facts = product_facts(title, _maybe(category, rng))
    return _sample(sources, facts, _unrelated(sources, rng) if photos else None, category.settings, answers, rng)


def _sample(
    sources: Sources, facts: str, image: Pixels | None, settings: Sequence[str], answers: int, rng: Random
) -> Sample:
    """Answers name different settings as long as there are any left."""
    chosen = [setting for _ in range(-(-answers // len(settings))) for setting in rng.sample(settings, len(settings))]
    return Sample(
        instruction=write_instruction(TASK, facts, rng),
        image=image,
        answers=tuple(_description(sources, setting, rng) for setting in chosen[:answers]),
        settings=tuple(settings),
    )


def _description(sources: Sources, setting: str, rng: Random) -> str:
    own = sources.captions.get(setting)
    return rng.choice(own) if own and rng.random() < 0.25 else sample_description(setting, rng)


def _maybe(category: Category, rng: Random) -> str:
    """The category under one of its names, or nothing: then the title alone must do."""
    return rng.choice((category.name, *category.aliases)) if rng.random() < 0.6 else ""


def _augment(image: Pixels, rng: Random) -> Pixels:
    """Mirror and shift; white comes in from the sides."""
    shift = (rng.randrange(-6, 7), rng.randrange(-6, 7))
    moved = np.roll(image[:, ::-1] if rng.random() < 0.5 else image, shift, (0, 1))
    return np.ascontiguousarray(moved)


def _unrelated(sources: Sources, rng: Random) -> Pixels:
    """A photo that says nothing about the product: another one's, white, or noise."""
    image = _augment(rng.choice(sources.photos).image, rng)
    kind = rng.random()
    if kind < 0.7:
        return image
    if kind < 0.85:
        return np.full_like(image, 255)
    return np.random.default_rng(rng.getrandbits(32)).integers(0, 256, image.shape, np.uint8)


def _cutout(product: ProductRecord) -> Cutout:
    rgba = product.rgba()
    alpha = np.asarray(rgba[..., 3] / 255, np.float32)
    return Cutout(image=rgba[..., :3], alpha=alpha, source="alpha")
