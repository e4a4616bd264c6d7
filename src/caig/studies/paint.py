"""Paint the rendered products anew (`caig shop paint`): a bank of what the pipeline makes, for shop and reward model.

Each product gets `pictures` ads as `caig generate` makes them: described by the prompt model, painted, finished; no
picture is rolled again. They land in `out`/painted-NNN.tar, `ARCHIVE` products each, in the shape of rendered scenes:

    <id>.image.webp     the ad; `id` is the hash of its pixels
    <id>.product.webp   the product alone at the same place, RGBA
    <id>.json           product, captions (its description), setting, seed, models by hash

An archive is written once and whole, so that the same command goes on where it was cut. `out` may be the folder of the
scenes: `caig shop simulate`, `caig train reward` and `caig shop study rewards` take painted and rendered pictures
alike, and nothing that trains a painter reads its own paintings.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caig.artifacts import content_hash, to_json, write_atomic
from caig.data.captions import setting_of
from caig.data.scenes import ProductRecord, read_products, write_archive
from caig.errors import InputError
from caig.pipeline import AdPipeline, finish, lay_out, paint_seed
from caig.seeding import seed_for
from caig.types import Canvas, Creative, Cutout, Placement, Product

ARCHIVE = 20  # products


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop paint`."""

    scenes: Path
    """Folder with products.tar."""
    out: Path
    """Folder of the archives; what is done in it is kept."""
    pictures: int = 4
    """Of each product."""
    side: int = 256
    """Of the square pictures, in pixels."""
    prompt_model: str = "embedded"
    background_model: str = "embedded"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("pictures", 1), ("side", 64)):
            if getattr(self, name) < least:
                got = str(getattr(self, name))
                raise InputError(name, expected=f"{least} or more", got=got, next_step="Raise it.")


def run(config: Config) -> list[Path]:
    """Paint the archives that are missing; returns all of them.

    Raises:
        InputError: no products, or `out` holds paintings of other settings.
    """
    import torch

    torch.set_num_threads(config.threads)
    products = read_products(config.scenes)
    pipeline = AdPipeline.from_pretrained(
        prompt_model=config.prompt_model, background_model=config.background_model, reward_model="embedded"
    )
    _settle(config, pipeline)
    archives = []
    for start in range(0, len(products), ARCHIVE):
        path = config.out / f"painted-{start // ARCHIVE:03d}.tar"
        if not path.is_file():
            members = (one for record in products[start : start + ARCHIVE] for one in _paint(config, pipeline, record))
            write_archive(path, members)
        archives.append(path)
    return archives


def _settle(config: Config, pipeline: AdPipeline) -> None:
    """Say what decides the paintings in `out`/painted.json; InputError when that says something else already."""
    path = config.out / "painted.json"
    models = {role: pipeline.models()[role] for role in ("prompt", "background")}
    wanted = {"pictures": config.pictures, "side": config.side, "seed": config.seed, "models": models}
    if path.is_file() and json.loads(path.read_text()) != json.loads(to_json(wanted)):
        hint = "Choose another --out, or remove its painted-*.tar and painted.json."
        raise InputError(str(config.out), expected=to_json(wanted), got=path.read_text(), next_step=hint)
    write_atomic(path, to_json(wanted).encode())


def _paint(config: Config, pipeline: AdPipeline, record: ProductRecord) -> Iterator[tuple[str, bytes]]:
    """The members of one product's pictures; a picture that came twice is kept once."""
    told = record.record
    rgba = record.rgba()
    alpha = rgba[..., 3].astype(np.float32) / 255
    cutout = Cutout(image=np.ascontiguousarray(rgba[..., :3]), alpha=alpha, source="alpha")
    product = Product(id=record.id, title=told["title"], category=told["category"], image=cutout.image)
    canvas = lay_out(cutout, (config.side, config.side), Placement())
    texts = pipeline.describe(product, cutout, n=config.pictures, seed=seed_for(config.seed, record.id))
    seeds = [paint_seed(config.seed, record.id, k) for k in range(len(texts))]
    painted = pipeline.background_model.paint(canvas, texts, seeds=seeds)
    model = pipeline.background_model.name
    made = [
        finish(canvas, text, picture, model=model, seed=seed)
        for text, picture, seed in zip(texts, painted, seeds, strict=True)
    ]
    for creative in {content_hash(one.image): one for one in made}.values():
        yield from _members(creative, canvas, told, pipeline.models())


def _members(creative: Creative, canvas: Canvas, product: Any, models: Any) -> Iterator[tuple[str, bytes]]:
    name, text = f"a{content_hash(creative.image)}", creative.description.text
    alone = np.dstack([canvas.image, np.round(255 * canvas.product).astype(np.uint8)])
    record = {"id": name, "product": product, "captions": [text], "setting": setting_of(text), "seed": creative.seed}
    used = {role: models[role] for role in ("prompt", "background")}
    yield f"{name}.image.webp", _webp(creative.image)
    yield f"{name}.product.webp", _webp(alone)
    yield f"{name}.json", to_json({**record, "models": used}).encode()


def _webp(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=95)
    return buffer.getvalue()
