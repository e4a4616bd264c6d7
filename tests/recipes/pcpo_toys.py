"""A shelf, a tiny prompt model, a painter of plain colours and judges that like red or blue."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from caig.models.mllm import BackboneSize, build_backbone, save_mllm
from caig.recipes.pcpo import Config, Models
from caig.seeding import seed_for
from caig.types import Product, Score

TINY = BackboneSize(image=32, patch=16, vision_width=16, vision_layers=1, width=32, layers=1, vocabulary=400)
TEXTS = ["rustic kitchen table, soft morning light", "sandy beach by the sea, golden hour sunlight"] * 20


class Painter:
    """Each text has a colour of its own."""

    name = "plain colours"

    def paint(self, canvas, descriptions, *, seeds: Sequence[int]) -> list[np.ndarray]:
        height, width = canvas.product.shape
        colours = [np.random.default_rng(seed_for(d.text)).integers(0, 256, 3, np.uint8) for d in descriptions]
        return [np.broadcast_to(colour, (height, width, 3)).copy() for colour in colours]


class Judge:
    """Likes one colour: utility, and log CTR up to a constant, is its mean level over 20."""

    def __init__(self, channel: int = 0) -> None:
        self.name, self.channel = f"channel {channel}", channel

    def score(self, product: Product, images: Sequence[np.ndarray], *, ids: Sequence[str]) -> list[Score]:
        levels = [float(image[..., self.channel].mean()) / 20 for image in images]
        return [
            Score(creative_id=id, utility=level, ctr=math.exp(level - 13), low=0.0, high=1.0, basis="simulated")
            for id, level in zip(ids, levels, strict=True)
        ]


def write_prompt_model(folder: Path) -> Path:
    save_mllm(*build_backbone(TEXTS, seed=0, size=TINY), folder)
    return folder


def write_shelf(folder: Path, count: int = 12) -> list[Product]:
    """Boxes of several colours on white."""
    folder.mkdir(parents=True, exist_ok=True)
    products = []
    for i in range(count):
        photo = np.full((48, 48, 3), 255, np.uint8)
        photo[10:42, 14:34] = (10 * i, 60, 160 - 10 * i)
        Image.fromarray(photo).save(folder / f"{i}.png")
        products.append(Product(id=f"a{i}", title=f"box number {i}", category="mug", image=folder / f"{i}.png"))
    return products


def toy(base: Path, out: Path, **fields) -> Config:
    small = {
        "rounds": 2, "products": 4, "candidates": 3, "batch": 2, "epochs": 2, "watch": 2, "side": 64,
        "rank": 2, "alpha": 4.0, "lr": 5e-3, "beta": 0.1, "product_weight": 1.0, "corruptions": 2,
        "warmup": 1, "max_kl": 1e9, "min_entropy": 0.0, "max_match_drop": 1.0,
    }  # fmt: skip
    return Config(catalog=Path("none"), out=out, prompt_model=str(base), **{**small, **fields})


def models(**more) -> Models:
    return Models(background=Painter(), reward=Judge(), **more)
