"""Turned things of the home: candles, vases, mugs, cups and kettles."""

from __future__ import annotations

import math

from caig_scenes.colors import COPPER, STEEL, mix, rgb
from caig_scenes.materials import clear, glossy, material, matte, metallic
from caig_scenes.products.containers import shoulder, wrap
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import ball, cylinder, tube, turned


@shape("candle jar")
def candle_jar(look: Look) -> None:
    """Scented candle in a glass, burning."""
    radius, height = look.pick(0.52, 0.64), look.pick(1.0, 1.25)
    wax = look.rng.choice([rgb("f4ead6"), mix(look.main, (1, 1, 1), 0.5)])
    cylinder(radius * 0.95, height * 0.78, material(wax, rough=0.5, soft=0.8), (0, 0, 0.04))
    glass = look.rng.choice([clear((0.95, 0.97, 0.97)), material(look.main, rough=0.08, coat=1.0)])
    turned([(0, 0), (radius, 0), (radius, height), (radius * 0.965, height), (radius * 0.965, height * 0.8)], glass)
    wrap(look, radius, height * 0.16, height * 0.62, light=look.chance(0.7))
    flame(0, 0, height * 0.82)


@shape("pillar candle")
def pillar_candle(look: Look) -> None:
    """Bare wax pillars, one or three, on a dish."""
    made = material(mix(look.main, (1, 0.97, 0.9), 0.35), rough=0.45, soft=0.8)
    places = [(0, 0, 1.3)] if look.chance(0.4) else [(-0.42, 0.05, 1.55), (0.32, 0.3, 1.15), (0.22, -0.4, 0.75)]
    for x, y, height in places:
        cylinder(0.45 if len(places) == 1 else 0.34, height, made, (x, y, 0.06), edge=0.05)
        flame(x, y, height + 0.04)
    cylinder(
        0.95 if len(places) > 1 else 0.7,
        0.07,
        look.rng.choice([metallic(look.metal), glossy(look.light), matte(rgb("3a3a3d"))]),
        edge=0.03,
    )


def flame(x: float, y: float, z: float) -> None:
    """A wick and its flame."""
    tube([(x, y, z - 0.06), (x, y, z + 0.1)], 0.014, matte(rgb("1d1d20")))
    ball(0.055, material((1.0, 0.5, 0.14), emit=12), (x, y, z + 0.2), (1, 1, 2.3))


@shape("vase")
def vase(look: Look) -> None:
    """A studio-pottery vase."""
    belly, neck = look.pick(0.5, 0.72), look.pick(0.16, 0.3)
    made = look.rng.choice([glossy(look.main), matte(look.main), matte(look.light), metallic(rgb(COPPER), rough=0.3)])
    turned(
        [
            (0, 0),
            (0.34, 0),
            *shoulder(0.34, belly, 0.02, look.pick(0.6, 0.9)),
            *shoulder(belly, neck, 0.95, 1.45),
            (neck * 0.95, 1.7),
            (neck * 1.35, 1.85),
            (neck * 1.2, 1.85),
            (neck * 0.8, 1.7),
            (0, 1.6),
        ],
        made,
    )


@shape("mug")
def mug(look: Look) -> None:
    """A ceramic mug with a handle at its side."""
    radius, height, foot = look.pick(0.55, 0.64), look.pick(1.05, 1.3), look.pick(0.7, 1.0)
    made = look.rng.choice([glossy(look.main), matte(look.main)])
    inside = look.rng.choice([glossy(look.light), made])
    turned([(0, 0), (radius * foot * 0.92, 0), (radius * foot, 0.06), (radius, height * 0.45), (radius, height)], made)
    turned(
        [
            (radius, height),
            (radius * 0.97, height + 0.02),
            (radius * 0.93, height),
            (radius * 0.9, height * 0.5),
            (0, 0.2),
        ],
        inside,
    )
    handle = [
        (radius * 0.93 + 0.36 * math.sin(t), 0, height * 0.52 + height * 0.28 * math.cos(t))
        for t in [math.pi * i / 14 for i in range(15)]
    ]
    tube(handle, 0.07, made)
    turned(
        [(0, height * 0.86), (radius * 0.93, height * 0.86)],
        glossy(rgb(look.rng.choice(["2a1408", "5b3318", "8a4a1c"]))),
    )
    if look.chance(0.55) and foot > 0.85:
        wrap(look, radius, height * 0.46, height * 0.92, light=False, rough=0.2)


@shape("cup and saucer")
def cup_and_saucer(look: Look) -> None:
    """A wide cup on its saucer."""
    made, edge = glossy(look.main), glossy(look.light)
    turned([(0, 0.02), (0.5, 0.02), (0.95, 0.14), (0.94, 0.17), (0.48, 0.06), (0, 0.06)], made)
    turned([(0, 0.08), (0.28, 0.08), (0.32, 0.14), *shoulder(0.32, 0.62, 0.16, 0.75)], made)
    turned([(0.62, 0.75), (0.59, 0.76), (0.5, 0.4), (0, 0.25)], edge)
    tube(
        [(0.58 + 0.24 * math.sin(t), 0, 0.48 + 0.18 * math.cos(t)) for t in [math.pi * i / 12 for i in range(13)]],
        0.05,
        made,
    )
    turned([(0, 0.66), (0.56, 0.66)], glossy(rgb(look.rng.choice(["5b3318", "c99a68", "8a4a1c"]))))


@shape("kettle")
def kettle(look: Look) -> None:
    """A stove kettle with an arched handle."""
    made = look.rng.choice([glossy(look.main), metallic(rgb(STEEL)), matte(look.main)])
    turned([(0, 0), (0.72, 0), (0.78, 0.08), *shoulder(0.78, 0.34, 0.3, 1.05), (0.3, 1.1), (0, 1.14)], made)
    tube([(-0.6, 0, 0.5), (-0.9, 0, 0.75), (-1.05, 0, 1.0)], 0.09, made)
    tube(
        [(0.55 * math.cos(t), 0, 0.95 + 0.65 * math.sin(t)) for t in [0.15 + 2.85 * i / 16 for i in range(17)]],
        0.05,
        look.rng.choice([matte(rgb("8a5a30")), matte(rgb("232326"))]),
    )
    ball(0.1, matte(rgb("232326")), (0, 0, 1.2))
