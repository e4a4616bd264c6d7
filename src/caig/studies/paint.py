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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caig.artifacts import content_hash, to_json
from caig.data.captions import setting_of
from caig.data.scenes import ProductRecord, read_products, write_archive
from caig.errors import InputError
from caig.models.hub import load_model
from caig.pipeline import as_seen, finish, lay_out, named, paint_seed
from caig.recipes.store import settle
from caig.seeding import seed_for
from caig.types import Canvas, Creative, Cutout, Placement, Product

ARCHIVE = 20  # products
Used = Mapping[str, Mapping[str, Any]]  # role -> name and fingerprint of its model


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
    prompt_model: str = "embedded-pretrained"
    """Not `embedded`, which prefers what the shoppers of world 0 like."""
    background_model: str = "embedded"
    coarse: bool = False
    """Paint at half the side without refining; plates are left as they are. A tenth of the price."""
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
    models = {
        "prompt": load_model(config.prompt_model, "prompt"),
        "background": load_painter(config.background_model, config.coarse),
    }
    used = named(models)
    names = ("pictures", "side", "coarse", "seed")
    settle(config.out / "painted.json", {name: getattr(config, name) for name in names} | {"models": used})
    archives = []
    for start in range(0, len(products), ARCHIVE):
        path = config.out / f"painted-{start // ARCHIVE:03d}.tar"
        if not path.is_file():
            members = (
                one for record in products[start : start + ARCHIVE] for one in _paint(config, models, used, record)
            )
            write_archive(path, members)
        archives.append(path)
    return archives


def load_painter(name: str, coarse: bool) -> Any:
    """The background model called `name`; `coarse`: at half the side, in six steps, not refined; plates as they are."""
    painter = load_model(name, "background")
    if coarse:
        sampling = painter.sampling
        painter.sampling = replace(sampling, native_side=sampling.native_side // 2, refine=0, steps=6)
    return painter


def _paint(config: Config, models: Mapping[str, Any], used: Used, record: ProductRecord) -> Iterator[tuple[str, bytes]]:
    """The members of one product's pictures; a picture that came twice is kept once."""
    told = record.record
    rgba = record.rgba()
    alpha = rgba[..., 3].astype(np.float32) / 255
    cutout = Cutout(image=np.ascontiguousarray(rgba[..., :3]), alpha=alpha, source="alpha")
    product = as_seen(Product(id=record.id, title=told["title"], category=told["category"]), cutout)
    canvas = lay_out(cutout, (config.side, config.side), Placement())
    texts = models["prompt"].describe(product, config.pictures, seed=seed_for(config.seed, record.id, "describe"))
    seeds = [paint_seed(config.seed, record.id, k) for k in range(len(texts))]
    painted = models["background"].paint(canvas, texts, seeds=seeds)
    model = models["background"].name
    made = [
        finish(canvas, text, picture, model=model, seed=seed)
        for text, picture, seed in zip(texts, painted, seeds, strict=True)
    ]
    for creative in {content_hash(one.image): one for one in made}.values():
        yield from _members(creative, canvas, told, used)


def _members(creative: Creative, canvas: Canvas, product: Any, used: Used) -> Iterator[tuple[str, bytes]]:
    name, text = f"a{content_hash(creative.image)}", creative.description.text
    alone = np.dstack([canvas.image, np.round(255 * canvas.product).astype(np.uint8)])
    record = {"id": name, "product": product, "captions": [text], "setting": setting_of(text), "seed": creative.seed}
    yield f"{name}.image.webp", _webp(creative.image)
    yield f"{name}.product.webp", _webp(alone)
    yield f"{name}.json", to_json({**record, "models": used}).encode()


def _webp(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=95)
    return buffer.getvalue()
