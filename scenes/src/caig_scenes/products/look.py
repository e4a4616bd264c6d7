"""What all shapes share: the colours and label art of one product, drawn from its record alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import bpy
from PIL import Image

from caig_scenes.colors import CREAM, GOLD, NAMED, SILVER, WHITE, companion, mix, rgb, vary
from caig_scenes.labels import MARKS, MOTIFS, Label, draw_label

Shape = Callable[["Look"], None]
SHAPES: dict[str, Shape] = {}


def shape(name: str) -> Callable[[Shape], Shape]:
    """Register a shape under `name`."""

    def register(build_it: Shape) -> Shape:
        SHAPES[name] = build_it
        return build_it

    return register


class Look:
    """The design of one product: `main` is the colour its title names; the rest is chosen to go with it."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.rng = Random(f"look {record['seed']} {record['id']}")
        self.main = vary(rgb(NAMED[record["color"]]), self.rng, 0.08)
        self.accent = companion(self.main, self.rng)
        self.second = companion(self.main, self.rng)
        self.light = rgb(self.rng.choice([CREAM, WHITE, WHITE]))
        self.metal = rgb(self.rng.choice([GOLD, SILVER, SILVER, "c9825b"]))
        self.motif = self.rng.choice(list(MOTIFS))
        self.mark = self.rng.choice(MARKS)

    def pick(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def art(
        self, aspect: float, *, face: float | None = None, light: bool | None = None, height: int = 320
    ) -> Image.Image:
        """The label of this product. On `light` paper the main colour is the accent, else it is the paper itself."""
        light = self.chance(0.4) if light is None else light
        label = Label(
            brand=self.record["brand"],
            name=self.record["noun"],
            paper=self.light if light else self.main,
            accent=self.main if light else self.accent,
            second=self.second if light else mix(self.main, self.light, 0.5),
            motif=self.motif,
            mark=self.mark,
        )
        return draw_label(label, aspect, face=face, height=height, seed=self.record["seed"])


def build(record: Mapping[str, Any]) -> list[bpy.types.Object]:
    """Build the product of `record` at the origin; return its objects."""
    before = set(bpy.data.objects)
    SHAPES[record["shape"]](Look(record))
    return [thing for thing in bpy.data.objects if thing not in before]
