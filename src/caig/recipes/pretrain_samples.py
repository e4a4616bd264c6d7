"""Training samples of the prompt model: what it is shown of a product, and what it should write.

Prompt generation mixes rendered products beside their own photo, sometimes without any words, with everyday nouns
without a photo or beside one that says nothing (another product's, white, noise): a real catalogue's photos look like
nothing a small model has seen, and words must then decide. So that it reads categories and does not learn nouns by
heart, some products have a made-up noun, or none, and are known by their category alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from caig.data.captions import sample_description, setting_of
from caig.data.comparisons import split
from caig.data.everyday import Category, categories, made_up_noun, training_categories, write_title
from caig.data.instructions import FAMILIES, INSTRUCTIONS, product_facts, write_instruction
from caig.data.scenes import SceneRecord, read_products, read_scenes
from caig.data.vocabulary import vocabulary
from caig.imaging.canvas import on_white
from caig.models.mllm import encode
from caig.types import Cutout, Pixels

SHOWN_ATTRIBUTES = ("brand", "color", "tags", "price")
IGNORED = -100  # label of a token without loss


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One prompt and its answers."""

    instruction: str
    image: Pixels | None
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A product's record (`title`, `category`, and what else is known) and its photo, u8[side, side, 3].

    `captions` describe the background of the photo; none where it shows the product alone on white.
    """

    record: Mapping[str, Any]
    image: Pixels
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What samples are drawn from: photos on white, pictures of whole scenes, and scenes' captions by setting."""

    photos: Sequence[Photo]
    scenes: Sequence[Photo]
    captions: Mapping[str, Sequence[str]]


def read_sources(folder: Path, share: str, side: int) -> Sources:
    """The products and scenes of a share (train, validation or test, by a hash of the product), at `side` pixels.

    Each scene also gives a photo of its product alone, in its own pose. Captions of training scenes only.
    """
    scenes = [scene for scene in read_scenes(folder) if split(scene.product["id"]) == share]
    posed = [Photo(record=scene.product, image=on_white(_cutout(scene.cutout()), side)) for scene in scenes]
    return Sources(
        photos=read_photos(folder, share, side) + posed,
        scenes=[_scene(scene, side) for scene in scenes],
        captions=read_captions(folder),
    )


def read_photos(folder: Path, share: str, side: int) -> list[Photo]:
    """The rendered products of a share, laid on white as the prompt model sees them."""
    products = [product for product in read_products(folder) if split(product.id) == share]
    return [Photo(record=product.record, image=on_white(_cutout(product.rgba()), side)) for product in products]


def read_captions(folder: Path) -> dict[str, list[str]]:
    """The training scenes' captions by setting, whatever product stood there; those that open with the setting."""
    captions: dict[str, list[str]] = {}
    for scene in read_scenes(folder):
        if split(scene.product["id"]) == "train":
            setting = scene.record["setting"]
            fit = [text for text in scene.record["captions"] if setting_of(text.partition(", ")[0]) == setting]
            captions.setdefault(setting, []).extend(fit)
    return captions


def draw_samples(
    sources: Sources, task: str, family: str, count: int, answers: int, *, photos: bool, rng: Random
) -> list[Sample]:
    """Draw `count` prompts of a task, each with as many answers: at most `answers`, fewer where no more are known.

    `photos`: whether prompts of the generation family, which can do without, show one.
    """
    if task == "product":
        return [_product(sources, answers, rng) for _ in range(count)]
    if task == "title":
        return [_title(sources, rng) for _ in range(count)]
    if task == "background":
        return [_background(sources, min(answers, 2), rng, words=family == "comprehension") for _ in range(count)]
    rendered = [rng.random() < (0.6 if photos else 0.15) for _ in range(count)]
    return [(_rendered if own else _everyday)(sources, task, answers, photos, rng) for own in rendered]


def draw_task(weights: Mapping[str, float], rng: Random) -> tuple[str, str]:
    """(family, task): the family by its weight, then one of its tasks; prompt generation three times as often as
    rewriting, which is the easier half of it."""
    family = rng.choices(list(weights), list(weights.values()))[0]
    tasks = FAMILIES[family]
    return family, rng.choices(tasks, [3.0 if task == "prompt generation" else 1.0 for task in tasks])[0]


def only_settings(sample: Sample) -> Sample:
    """The sample with its answers cut to their first phrase, which names the setting."""
    return replace(sample, answers=tuple(text.partition(", ")[0] for text in sample.answers))


def tokenizer_texts(captions: Mapping[str, Sequence[str]], seed: int) -> list[str]:
    """What the byte-level BPE is trained on: captions, instructions of every task and titles of the training nouns."""
    rng = Random(seed)
    own = [text for texts in captions.values() for text in texts]
    written = [sample_description(setting, rng) for setting in captions for _ in range(100)]
    facts = [
        product_facts(write_title(row, noun, rng), rng.choice((row.name, *row.aliases)))
        for row in training_categories()
        for noun in row.training
    ]
    return own + written + [write_instruction(rng.choice(list(INSTRUCTIONS)), fact, rng) for fact in facts]


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


def _product(sources: Sources, answers: int, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    about = photo.record
    looks = [f"{about['color']} "] if about.get("color") else []
    texts = [f"{rng.choice([*looks, ''])}{about['category']}" + rng.choice([f", {about['title']}", ""])] * 1
    texts += [f"{rng.choice([*looks, ''])}{about['category']}" for _ in range(answers - 1)]
    return Sample(
        instruction=write_instruction("product", product_facts(), rng),
        image=augment(photo.image, rng),
        answers=tuple(texts),
    )


def _title(sources: Sources, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    told = {name: photo.record[name] for name in SHOWN_ATTRIBUTES if name in photo.record and rng.random() < 0.8}
    facts = product_facts("", _maybe(categories().get(photo.record["category"]), rng), told)
    return Sample(
        instruction=write_instruction("title", facts, rng),
        image=augment(photo.image, rng),
        answers=(photo.record["title"],),
    )


def _background(sources: Sources, answers: int, rng: Random, *, words: bool) -> Sample:
    scene = rng.choice(sources.scenes)
    about = scene.record
    facts = (
        product_facts(about["title"], _maybe(categories().get(about["category"]), rng)) if words else product_facts()
    )
    image = scene.image[:, ::-1] if rng.random() < 0.5 else scene.image
    return Sample(
        instruction=write_instruction("background", facts, rng),
        image=np.ascontiguousarray(image),
        answers=tuple(rng.choice(scene.captions) for _ in range(answers)),
    )


def _rendered(sources: Sources, task: str, answers: int, photos: bool, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    record = photo.record
    wordless = photos and rng.random() < 0.45
    named = {k: record[k] for k in SHOWN_ATTRIBUTES if k in record and rng.random() < 0.5}
    attributes = named if rng.random() < 0.2 else {}
    category = categories()[record["category"]]
    facts = product_facts() if wordless else product_facts(record["title"], _maybe(category, rng), attributes)
    return _sample(sources, task, facts, augment(photo.image, rng) if photos else None, category, answers, rng)


def _everyday(sources: Sources, task: str, answers: int, photos: bool, rng: Random) -> Sample:
    category = rng.choice(training_categories())
    kind = rng.random()
    if kind < 0.12:  # the category says it all
        facts = product_facts("", _name(category, rng))
    elif kind < 0.35:  # the noun means nothing
        facts = product_facts(write_title(category, made_up_noun(rng), rng), _name(category, rng))
    else:
        facts = product_facts(write_title(category, rng.choice(category.training), rng), _maybe(category, rng))
    return _sample(sources, task, facts, _unrelated(sources, rng) if photos else None, category, answers, rng)


def _sample(
    sources: Sources, task: str, facts: str, image: Pixels | None, category: Category, answers: int, rng: Random
) -> Sample:
    """Answers name different settings as long as there are any left."""
    settings = category.settings
    chosen = [setting for _ in range(-(-answers // len(settings))) for setting in rng.sample(settings, len(settings))]
    draft = _poor_description(rng) if task == "rewrite" else ""
    return Sample(
        instruction=write_instruction(task, facts, rng, draft=draft),
        image=image,
        answers=tuple(_description(sources, setting, rng) for setting in chosen[:answers]),
    )


def _poor_description(rng: Random) -> str:
    """Of any setting, suitable or not; a few of its phrases, out of order, one of them perhaps twice."""
    phrases = sample_description(rng.choice(list(vocabulary().settings)), rng).split(", ")
    kept = rng.sample(phrases, rng.randrange(1, len(phrases) + 1))
    return ", ".join(kept + rng.choices(kept, k=rng.randrange(2)))


def _description(sources: Sources, setting: str, rng: Random) -> str:
    own = sources.captions.get(setting)
    return rng.choice(own) if own and rng.random() < 0.25 else sample_description(setting, rng)


def _name(category: Category, rng: Random) -> str:
    return category.name if rng.random() < 0.6 else rng.choice((category.name, *category.aliases))


def _maybe(category: Category | None, rng: Random) -> str:
    """The category under one of its names, or nothing: then the rest must do."""
    return _name(category, rng) if category and rng.random() < 0.6 else ""


def augment(image: Pixels, rng: Random) -> Pixels:
    """Mirror, shift (white comes in from the sides) and change the exposure."""
    shift = (rng.randrange(-10, 11), rng.randrange(-10, 11))
    moved = np.roll(image[:, ::-1] if rng.random() < 0.5 else image, shift, (0, 1))
    return np.clip(255 - (255 - moved.astype(np.float32)) * rng.uniform(0.75, 1.25), 0, 255).astype(np.uint8)


def _unrelated(sources: Sources, rng: Random) -> Pixels:
    """A photo that says nothing about the product: another one's, white, or noise."""
    image = augment(rng.choice(sources.photos).image, rng)
    kind = rng.random()
    if kind < 0.7:
        return image
    if kind < 0.85:
        return np.full_like(image, 255)
    return np.random.default_rng(rng.getrandbits(32)).integers(0, 256, image.shape, np.uint8)


def _scene(scene: SceneRecord, side: int) -> Photo:
    image = Image.fromarray(scene.image())
    square = image.resize((side, side), Image.Resampling.BOX)
    record = {**scene.product, "setting": scene.record["setting"]}
    return Photo(record=record, image=np.asarray(square), captions=tuple(scene.record["captions"]))


def _cutout(rgba: Pixels) -> Cutout:
    return Cutout(image=rgba[..., :3], alpha=np.asarray(rgba[..., 3] / 255, np.float32), source="alpha")
