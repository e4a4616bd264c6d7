"""Floors by name: what the product stands on. To add one: one entry in `FLOORS`, and its phrases in the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import bpy

from caig_scenes.colors import mix, rgb, shade, vary
from caig_scenes.materials import Pattern, cloth, marble, material, matte, rock, wood
from caig_scenes.mood import Mood
from caig_scenes.shapes import Material, blades, box, panel, sheet

WALL = 5.2  # where a wall stands behind the product
TABLE_END = 2.9


@dataclass(frozen=True, kw_only=True)
class Floor:
    """`made` gives the material; `relief` is the height of dunes around the product, `grass` sows blades on it."""

    made: Callable[[Mood], Material]
    relief: float = 0.0
    grass: bool = False


def _tiles(mood: Mood) -> Material:
    tone = vary(mood.pick("e9eceb", "8fb3b3", "d8c0a4", "f2efe8", "5f7a86", "c98f78"), mood.rng)
    grid = Pattern(
        kind="brick",
        second=mix(tone, (0.6, 0.6, 0.6), 0.6),
        bump=0.25,
        inputs=(("Scale", 1.0), ("Brick Width", 0.95), ("Row Height", 0.95), ("Mortar Size", 0.018)),
    )
    return material(tone, rough=0.1, coat=0.8, pattern=grid)


def _marble(mood: Mood) -> Material:
    stone, vein = mood.rng.choice(
        [("f4f2ee", "a9a7a6"), ("f4f1ea", "c3a878"), ("202226", "b9b4a8"), ("3f5f58", "d8e0d4"), ("e8d3cc", "b5827a")]
    )
    return marble(rgb(stone), rgb(vein))


def _plaid(mood: Mood) -> Material:
    tone = mood.pick("b3302c", "2f5f9a", "3f8a4a", "e0a52f", "2a2c33")
    squares = Pattern(
        kind="checker", second=rgb("f6f1e6"), ramp=(0.49, 0.51), inputs=(("Scale", mood.between(2.2, 3.4)),)
    )
    return material(tone, rough=0.95, sheen=0.3, pattern=squares)


def _water(mood: Mood) -> Material:
    tone = mood.pick("9fc4d8", "6fa3c0", "b8d0d8", "4f7f9a")
    waves = Pattern(
        kind="noise",
        second=shade(tone, 0.8),
        scale=(1.4, 2.2, 1),
        bump=mood.between(0.1, 0.3),
        inputs=(("Scale", 1.5), ("Detail", 2)),
    )
    return material(tone, rough=0.03, metal=0.25, coat=1.0, pattern=waves)


def _velvet(mood: Mood) -> Material:
    tone = mood.pick("5a1020", "10254a", "0f3d30", "3a1246", "7a2a3a", "1d1d22")
    folds = Pattern(
        kind="noise", second=shade(tone, 0.55), scale=(0.7, 0.9, 1), bump=0.7, inputs=(("Scale", 1.2), ("Detail", 2))
    )
    return material(tone, rough=0.75, sheen=1.0, pattern=folds)


def _sand(mood: Mood) -> Material:
    tone = vary(mood.pick("e2c79c", "d4b58a", "f0dfc2"), mood.rng, 0.06)
    grains = Pattern(
        kind="noise",
        second=shade(tone, 0.8),
        scale=(5, 7, 5),
        bump=0.4,
        inputs=(("Scale", 3), ("Detail", 9), ("Roughness", 0.7)),
    )
    return material(tone, rough=1.0, pattern=grains)


def _snow(mood: Mood) -> Material:
    grains = Pattern(
        kind="noise", second=rgb("dce8f6"), scale=(2, 2, 2), bump=0.3, inputs=(("Scale", 2), ("Detail", 8))
    )
    return material(rgb("f6f9fc"), rough=0.6, soft=0.3, pattern=grains)


FLOORS = {
    "plain": Floor(made=lambda mood: material(mood.tone, rough=mood.between(0.25, 0.7))),
    "marble": Floor(made=_marble),
    "wood": Floor(made=lambda mood: wood(mood.wood, bump=0.06, across=mood.between(0.5, 1.0))),
    "tile": Floor(made=_tiles),
    "sand": Floor(made=_sand, relief=0.14),
    "moss": Floor(
        made=lambda mood: rock(mood.pick("5f7d2f", "4a6b2a", "6f8f3f"), scale=4, bump=1.0), relief=0.1, grass=True
    ),
    "fabric": Floor(
        made=lambda mood: cloth(mood.pick("e3d9c9", "c9bfc6", "8f9fae", "efe9dd", "b7a48c", "a9b39a"), weave=26)
    ),
    "snow": Floor(made=_snow, relief=0.16),
    "water": Floor(made=_water),
    "gloss": Floor(made=lambda mood: material(rgb("0c0c10"), rough=mood.between(0.03, 0.14), coat=1.0)),
    "stone": Floor(
        made=lambda mood: rock(mood.pick("8f887d", "5f5e5c", "a8927a", "3f4145", "b9aa94"), scale=1.6, bump=0.6)
    ),
    "concrete": Floor(made=lambda mood: rock(mood.pick("a9a8a5", "8f8f8e", "bdb9b2"), scale=0.9, bump=0.08)),
    "check": Floor(made=_plaid, relief=0.03),
    "velvet": Floor(made=_velvet, relief=0.08),
}


def wall(made: Material, *, away: float = WALL) -> None:
    panel(44, 26, made, (0, away, 7))


def lay_floor(name: str, mood: Mood, *, table: bool, sweep: bool) -> None:
    """Lay the floor: a table with an edge, a paper sweep that rises into the wall, or open ground."""
    floor = FLOORS[name]
    made = floor.made(mood)
    if table:
        box((16, TABLE_END + 7, 0.3), made, (0, (TABLE_END - 7) / 2, -0.3), edge=0.04)
        box((30, 14, 0.1), matte(shade(mood.wood, 0.6)), (0, 8, -4.2), edge=0.0)
    elif sweep:
        bend = [(WALL - 2 + 2 * math.sin(a), 2 - 2 * math.cos(a)) for a in [math.pi / 2 * i / 12 for i in range(13)]]
        sheet([[(-14, y, z), (14, y, z)] for y, z in [(-9, 0), *bend, (WALL, 9)]], made)
    else:
        _ground(floor, made, mood)
    if floor.grass:
        _sow(mood)


def _ground(floor: Floor, made: bpy.types.Material, mood: Mood) -> None:
    """Open ground, level under the product."""
    steps, phase = 70, [mood.between(0, 6) for _ in range(4)]

    def height(x: float, y: float) -> float:
        away = min(1.0, max(0.0, math.hypot(x, y) - mood.clear - 0.1) / 1.5)
        wave = (
            math.sin(1.3 * x + phase[0]) * math.cos(0.9 * y + phase[1])
            + 0.5 * math.sin(2.9 * x - 1.7 * y + phase[2])
            + 0.25 * math.sin(6.1 * y + 2 * x + phase[3])
        )
        return floor.relief * away * (wave + 0.15 * max(0.0, y))

    grid = [[(-14 + 28 * i / steps, -9 + 22 * k / steps) for i in range(steps + 1)] for k in range(steps + 1)]
    sheet([[(x, y, height(x, y) if floor.relief else 0.0) for x, y in row] for row in grid], made)
    if not floor.relief:
        sheet([[(-60, 12, -0.02), (60, 12, -0.02)], [(-60, 60, -0.02), (60, 60, -0.02)]], made)


def _sow(mood: Mood) -> None:
    """Grass and herbs: short around and before the product, taller behind it."""
    for tone in ("5f8a2f", "7fa53f", "46702a"):
        roots = []
        for _ in range(1100):
            x, y = mood.between(-5, 5), mood.between(-2.5, 6)
            if math.hypot(x, y) < mood.clear + 0.12:
                continue
            tall = mood.between(0.06, 0.16) if y < mood.clear + 0.2 else mood.between(0.1, 0.35)
            roots.append(
                (
                    (x, y, -0.02),
                    mood.between(0.015, 0.035),
                    tall,
                    (mood.between(-0.1, 0.1), mood.between(-0.1, 0.1), mood.between(0, 3.1)),
                )
            )
        blades(roots, material(vary(rgb(tone), mood.rng), rough=0.6, soft=0.2))
