"""Training samples of the prompt model: what it is shown of a product, and what it should write.

Prompt generation mixes rendered products beside their own photo, sometimes without any words, with everyday nouns
without a photo or beside one that says nothing (another product's, white, noise): a real catalogue's photos look like
nothing a small model has seen, and words must then decide. So that it reads categories and does not learn nouns by
heart, some products have a made-up noun, or none, and are known by their category alone. A catalogue's products that
have captions are answered with them, whether anything is known of their category or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from caig.data.captions import sample_description, setting_of
from caig.data.catalog import read_products_of
from caig.data.comparisons import split
from caig.data.everyday import (
    Category,
    categories,
    made_up_noun,
    suitable_settings,
    training_categories,
    write_title,
)
from caig.data.instructions import FAMILIES, INSTRUCTIONS, product_facts, write_instruction
from caig.data.scenes import SceneRecord, read_products, read_scenes
from caig.data.vocabulary import vocabulary
from caig.errors import InputError
from caig.imaging.canvas import on_white
from caig.imaging.reading import read_photo
from caig.models.mllm import TrainingBatch, encode_training
from caig.pipeline import read_cutout
from caig.types import Cutout, Pixels

SHOWN_ATTRIBUTES = ("brand", "color", "tags", "price")


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One prompt and its answers."""

    instruction: str
    image: Pixels | None
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A product's record (`title`, `category` or "", and what else is known) and its photo, u8[side, side, 3].

    `captions` describe the background of the photo or, where the product was cut out on white, the one that it had.
    """

    record: Mapping[str, Any]
    image: Pixels
    captions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Sources:
    """What samples are drawn from: photos on white, pictures of whole scenes, and scenes' captions by setting; `unseen`
    are those of a catalogue's scenes whose product is on none of the photos."""

    photos: Sequence[Photo]
    scenes: Sequence[Photo]
    captions: Mapping[str, Sequence[str]]
    unseen: Sequence[Photo] = ()


def read_sources(folder: Path | None, share: str, side: int, catalog: Path | None = None) -> Sources:
    """The products and scenes of a share (train, validation or test, by a hash of the product), at `side` pixels.

    Each rendered scene also gives a photo of its product alone, in its own pose; captions are of training scenes only.
    A catalogue's products join them; its rows with a `caption` count as scenes, and with a `mask` as products too.
    InputError without either.
    """
    if folder is None and catalog is None:
        hint = "Give --data, --catalog or both."
        raise InputError("data", expected="rendered scenes or a catalogue", got="neither", next_step=hint)
    photos, pictures = read_catalog_photos(catalog, share, side) if catalog else ([], [])
    rendered = [scene for scene in read_scenes(folder) if split(scene.product["id"]) == share] if folder else []
    posed = [Photo(record=scene.product, image=on_white(_cutout(scene.cutout()), side)) for scene in rendered]
    seen = {photo.record["id"] for photo in photos}
    return Sources(
        photos=[*photos, *(read_photos(folder, share, side) if folder else []), *posed],
        scenes=[*pictures, *(_scene(scene, side) for scene in rendered)],
        captions=read_captions(folder) if folder else {},
        unseen=[picture for picture in pictures if picture.record["id"] not in seen],
    )


def read_catalog_photos(path: Path, share: str | None, side: int) -> tuple[list[Photo], list[Photo]]:
    """(products on white, pictures with captions) of a catalogue, captioned rows with a mask in both; `share` None: all
    of it.

    InputError names the first row that cannot be used: nothing is left out in silence.
    """
    photos: list[Photo] = []
    pictures: list[Photo] = []
    for product in read_products_of(path):
        if share is None or split(product.id) == share:
            about = {"id": product.id, "title": product.title, "category": product.category, **product.attributes}
            if isinstance(colors := about.get("color"), list):
                about["color"] = " and ".join(map(str, colors))
            caption = " ".join(str(about.pop("caption", "")).split()).strip(", ")
            captions = (caption,) if caption else ()
            if caption:
                image = square(read_photo(Path(str(product.image))).image, side)
                pictures.append(Photo(record=about, image=image, captions=captions))
            if product.mask or not caption:  # nothing but a mask tells a product from the scene around it
                photos.append(Photo(record=about, image=on_white(read_cutout(product), side), captions=captions))
    return photos, pictures


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
    known = [photo for photo in sources.photos if photo.captions or suitable_settings(photo.record["category"])]
    if not photos:  # a picture of the whole scene would give the answer away, so these are asked for in words alone
        known += sources.unseen
    own = [bool(known) and rng.random() < (0.6 if photos else 0.15) for _ in range(count)]
    return [
        _known(sources, known, task, answers, photos, rng) if one else _everyday(sources, task, answers, photos, rng)
        for one in own
    ]


def draw_task(weights: Mapping[str, float], rng: Random, *, scenes: bool = True) -> tuple[str, str]:
    """(family, task): the family by its weight, then one of its tasks; prompt generation three times as often as
    rewriting, which is the easier half of it. Without `scenes` nobody can be asked for a background that is there."""
    family = rng.choices(list(weights), list(weights.values()))[0]
    tasks = [task for task in FAMILIES[family] if scenes or task != "background"]
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


def square(image: Pixels, side: int) -> Pixels:
    """u8[side, side, 3]: the whole picture, squeezed into a square so that nothing of the scene is cropped."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))


def collate(processor: Any, samples: Sequence[Sample], device: Any) -> TrainingBatch:
    """B samples as encoded prompts with as many answers each; loss is on tokens of answers only."""
    return encode_training(
        processor,
        [sample.instruction for sample in samples],
        [sample.image for sample in samples],
        [sample.answers for sample in samples],
        device,
    )


def _product(sources: Sources, answers: int, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    about = photo.record
    looks = [f"{about['color']} ", ""] if about.get("color") else [""]
    name, more = about["category"], [f", {about['title']}", ""]
    if not name:  # a catalogue need not have categories; titles it has
        name, more = about["title"], [""]
    texts = [rng.choice(looks) + name + rng.choice(more)]
    texts += [rng.choice(looks) + name for _ in range(answers - 1)]
    return Sample(
        instruction=write_instruction("product", product_facts(), rng),
        image=augment(photo.image, rng),
        answers=tuple(texts),
    )


def _title(sources: Sources, rng: Random) -> Sample:
    photo = rng.choice(sources.photos)
    told = {name: photo.record[name] for name in SHOWN_ATTRIBUTES if name in photo.record and rng.random() < 0.8}
    facts = product_facts("", _maybe(photo.record["category"], rng), told)
    return Sample(
        instruction=write_instruction("title", facts, rng),
        image=augment(photo.image, rng),
        answers=(photo.record["title"],),
    )


def _background(sources: Sources, answers: int, rng: Random, *, words: bool) -> Sample:
    scene = rng.choice(sources.scenes)
    about = scene.record
    facts = product_facts(about["title"], _maybe(about["category"], rng)) if words else product_facts()
    image = scene.image[:, ::-1] if rng.random() < 0.5 else scene.image
    return Sample(
        instruction=write_instruction("background", facts, rng),
        image=np.ascontiguousarray(image),
        answers=tuple(rng.choice(scene.captions) for _ in range(answers)),
    )


def _known(sources: Sources, known: Sequence[Photo], task: str, answers: int, photos: bool, rng: Random) -> Sample:
    photo = rng.choice(known)
    record = photo.record
    wordless = photos and rng.random() < 0.45
    named = {k: record[k] for k in SHOWN_ATTRIBUTES if k in record and rng.random() < 0.5}
    attributes = named if rng.random() < 0.2 else {}
    settings = suitable_settings(record["category"]) or ()
    facts = product_facts() if wordless else product_facts(record["title"], _maybe(record["category"], rng), attributes)
    image = augment(photo.image, rng) if photos else None
    return _sample(sources, task, facts, image, settings, answers, rng, photo.captions)


def _everyday(sources: Sources, task: str, answers: int, photos: bool, rng: Random) -> Sample:
    category = rng.choice(training_categories())
    kind = rng.random()
    if kind < 0.12:  # the category says it all
        facts = product_facts("", _name(category, rng))
    elif kind < 0.35:  # the noun means nothing
        facts = product_facts(write_title(category, made_up_noun(rng), rng), _name(category, rng))
    else:
        facts = product_facts(write_title(category, rng.choice(category.training), rng), _maybe(category.name, rng))
    image = _unrelated(sources, rng) if photos else None
    return _sample(sources, task, facts, image, category.settings, answers, rng)


def _sample(
    sources: Sources,
    task: str,
    facts: str,
    image: Pixels | None,
    settings: Sequence[str],
    answers: int,
    rng: Random,
    captions: Sequence[str] = (),
) -> Sample:
    """Answers are the product's own `captions`, else of `settings`: different ones as long as there are any left."""
    among = captions or settings
    chosen = [one for _ in range(-(-answers // len(among))) for one in rng.sample(among, len(among))][:answers]
    draft = poor_description(rng) if task == "rewrite" else ""
    return Sample(
        instruction=write_instruction(task, facts, rng, draft=draft),
        image=image,
        answers=tuple(chosen if captions else (_description(sources, setting, rng) for setting in chosen)),
    )


def poor_description(rng: Random) -> str:
    """Of any setting, suitable or not; a few of its phrases, out of order, one of them perhaps twice."""
    phrases = sample_description(rng.choice(list(vocabulary().settings)), rng).split(", ")
    kept = rng.sample(phrases, rng.randrange(1, len(phrases) + 1))
    return ", ".join(kept + rng.choices(kept, k=rng.randrange(2)))


def _description(sources: Sources, setting: str, rng: Random) -> str:
    own = sources.captions.get(setting)
    return rng.choice(own) if own and rng.random() < 0.25 else sample_description(setting, rng)


def _name(category: Category, rng: Random) -> str:
    return category.name if rng.random() < 0.6 else rng.choice((category.name, *category.aliases))


def _maybe(category: str, rng: Random) -> str:
    """The category under one of its names, or nothing: then the rest must do."""
    known = categories().get(category)
    return (_name(known, rng) if known else category) if rng.random() < 0.6 else ""


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
    record = {**scene.product, "setting": scene.record["setting"]}
    return Photo(record=record, image=square(scene.image(), side), captions=tuple(scene.record["captions"]))


def _cutout(rgba: Pixels) -> Cutout:
    return Cutout(image=rgba[..., :3], alpha=np.asarray(rgba[..., 3] / 255, np.float32), source="alpha")
