"""What a world's shoppers like, to look at: the best and worst pictures of every category on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from caig.data.scenes import SceneRecord, read_scenes
from caig.shop.shoppers import World
from caig.studies.shelf import ads_of

CELL, TEXT, GAP = 144, 16, 24  # pixels: side of a cell, height of its caption, between best and worst


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop sheet`."""

    scenes: Path
    """Folder of scene tars."""
    out: Path
    """Picture to write: .jpg or .png."""
    world_seed: int = 0
    each: int = 5
    """How many of the best and of the worst."""


def run(config: Config) -> Path:
    """Write the sheet: a row per category, its best pictures on the left, its worst on the right, true CTRs below."""
    scenes = read_scenes(config.scenes)
    ctr = World(config.world_seed).ctr(ads_of(scenes))
    rows: dict[str, list[int]] = {}
    for index in np.argsort(-ctr):
        rows.setdefault(scenes[index].product["category"], []).append(int(index))
    sheet = Image.new("RGB", (2 * config.each * CELL + GAP, len(rows) * (CELL + 2 * TEXT)), "white")
    for number, (category, ranked) in enumerate(sorted(rows.items())):
        top = number * (CELL + 2 * TEXT)
        _write(sheet, f"{category}: best of {len(ranked)} pictures", 0, top)
        _write(sheet, "worst", config.each * CELL + GAP, top)
        for column, index in enumerate(ranked[: config.each]):
            _place(sheet, scenes, index, ctr[index], column * CELL, top + TEXT)
        for column, index in enumerate(ranked[::-1][: config.each]):
            _place(sheet, scenes, index, ctr[index], (2 * config.each - 1 - column) * CELL + GAP, top + TEXT)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(config.out, quality=88)
    return config.out


def _place(sheet: Image.Image, scenes: Sequence[SceneRecord], index: int, ctr: float, x: int, y: int) -> None:
    picture = Image.fromarray(scenes[index].image())
    picture.thumbnail((CELL - 4, CELL - 4))
    sheet.paste(picture, (x + 2, y + 2))
    _write(sheet, f"{ctr:.2%}", x, y + CELL)


def _write(sheet: Image.Image, text: str, x: int, y: int) -> None:
    ImageDraw.Draw(sheet).text((x + 3, y + 1), text, fill="black", font=ImageFont.load_default(11))
