"""Toys and sports things."""

from __future__ import annotations

import math

from caig_scenes.colors import RGB, mix, rgb, shade
from caig_scenes.materials import Pattern, cloth, glossy, material, matte, metallic, plastic, wood
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import Material, ball, box, cylinder, ring, sheet, turned


def fur(color: RGB) -> Material:
    fluff = Pattern(
        kind="noise", second=shade(color, 0.6), scale=(9, 9, 9), bump=0.9, inputs=(("Scale", 3), ("Detail", 8))
    )
    return material(color, rough=1.0, sheen=0.8, pattern=fluff)


def _face(look: Look, z: float, y: float, apart: float = 0.15) -> None:
    """Two eyes and a nose."""
    for side in (-1, 1):
        ball(0.05, glossy(rgb("141416")), (side * apart, y, z))
    ball(0.07, glossy(rgb("2a1a18")), (0, y - 0.12, z - 0.14), (1.2, 0.8, 0.8))


@shape("teddy bear")
def teddy_bear(look: Look) -> None:
    """A sitting bear."""
    made, pale = fur(look.main), fur(mix(look.main, rgb("f6e6cc"), 0.75))
    ball(0.56, made, (0, 0, 0.6), (1, 0.86, 1.05))
    ball(0.38, pale, (0, -0.26, 0.6), (0.9, 0.6, 1))
    ball(0.44, made, (0, -0.06, 1.42), (1.06, 0.95, 0.95))
    ball(0.2, pale, (0, -0.42, 1.32), (1.1, 0.8, 0.85))
    _face(look, 1.52, -0.45)
    for side in (-1, 1):
        ball(0.16, made, (side * 0.34, 0, 1.78), (1, 0.6, 1))
        ball(0.1, pale, (side * 0.34, -0.08, 1.77), (1, 0.5, 1))
        ball(0.19, made, (side * 0.52, -0.26, 0.82), (0.8, 0.9, 1.45), (0.5, side * 0.35, 0))
        ball(0.25, made, (side * 0.4, -0.46, 0.22), (0.9, 1.25, 0.88))
        ball(0.15, pale, (side * 0.42, -0.74, 0.24), (1, 0.35, 1))
    if look.chance(0.6):
        bow = cloth(look.accent)
        for side in (-1, 1):
            ball(0.15, bow, (side * 0.14, -0.46, 1.04), (1.1, 0.5, 0.8), (0, side * 0.4, 0))


@shape("bunny")
def bunny(look: Look) -> None:
    """A sitting bunny with long ears."""
    made, pale = fur(look.main), fur(mix(look.main, rgb("fbeee6"), 0.8))
    ball(0.5, made, (0, 0, 0.55), (1, 0.9, 1.08))
    ball(0.36, pale, (0, -0.24, 0.52), (0.85, 0.6, 1))
    ball(0.4, made, (0, -0.08, 1.26), (1.02, 0.95, 0.95))
    ball(0.16, pale, (0, -0.42, 1.16), (1.25, 0.7, 0.8))
    _face(look, 1.34, -0.41)
    for side in (-1, 1):
        ball(0.14, made, (side * 0.2, 0, 1.86), (0.95, 0.55, 2.9), (0, side * 0.18, 0))
        ball(0.09, pale, (side * 0.2, -0.06, 1.84), (0.9, 0.4, 2.9), (0, side * 0.18, 0))
        ball(0.16, made, (side * 0.42, -0.3, 0.68), (0.75, 0.9, 1.4), (0.6, 0, 0))
        ball(0.22, made, (side * 0.34, -0.46, 0.17), (0.85, 1.5, 0.75))


@shape("toy car")
def toy_car(look: Look) -> None:
    """A chunky car in side view."""
    made = look.rng.choice([glossy(look.main), wood(mix(rgb("c9995c"), look.main, 0.4))])
    box((1.9, 0.85, 0.45), made, (0, 0, 0.24), edge=0.18)
    box((1.05, 0.78, 0.48), made, (0.1, 0, 0.6), edge=0.2)
    glass = glossy(rgb("a9cfe6"))
    for x in (-0.14, 0.34):
        box((0.36, 0.8, 0.24), glass, (x, 0, 0.74), edge=0.06)
    for x in (-0.58, 0.58):
        for y in (-0.42, 0.42):
            for radius, wide, tone in ((0.28, 0.2, "232326"), (0.15, 0.23, "e8e4da")):
                wheel = cylinder(radius, wide, plastic(rgb(tone)), (x, y + wide / 2, 0.28), edge=0.05)
                wheel.rotation_euler = (math.pi / 2, 0, 0)
    for y in (-0.25, 0.25):
        ball(0.09, glossy(rgb("fbf0c8")), (-0.93, y, 0.5), (0.5, 1, 1))


@shape("stacking rings")
def stacking_rings(look: Look) -> None:
    """Wooden rings on a peg, a baby's first toy."""
    tones = [look.main, rgb("e79a2b"), rgb("7fb8e6"), look.accent, rgb("a8dcc3"), rgb("f0725c")]
    cylinder(0.62, 0.1, wood(rgb("c9995c")), edge=0.04)
    z = 0.1
    for k in range(5):
        thick = 0.17 - 0.008 * k
        ring(0.5 - 0.065 * k, thick, plastic(tones[k]), (0, 0, z + thick))
        z += 2 * thick * 0.93
    ball(0.19, plastic(tones[5]), (0, 0, z + 0.12))


@shape("building blocks")
def building_blocks(look: Look) -> None:
    """A little tower of wooden blocks."""
    tones = [look.main, rgb("f3d250"), rgb("7fb8e6"), look.accent, rgb("f0725c")]
    for k, (x, y, z) in enumerate([(-0.32, 0, 0), (0.34, 0.02, 0), (0.02, 0, 0.6)]):
        box((0.58, 0.58, 0.58), plastic(tones[k]), (x, y, z), edge=0.05, turn=(0, 0, look.pick(-0.15, 0.15)))
    turned([(0.36, 1.2), (0.02, 1.75), (0, 1.76)], plastic(tones[3]))
    ball(0.24, plastic(tones[4]), (-0.55, -0.55, 0.24))


@shape("ball")
def sports_ball(look: Look) -> None:
    """A football or basketball."""
    if look.chance(0.5):
        ball(
            0.85,
            material(
                look.main,
                rough=0.5,
                pattern=Pattern(
                    kind="voronoi", second=shade(look.main, 0.8), scale=(9, 9, 9), ramp=(0.1, 0.8), bump=0.2
                ),
            ),
            (0, 0, 0.85),
            detail=64,
        )
        for turn in ((0, 0, 0), (math.pi / 2, 0, 0.5), (math.pi / 2, 0, 2.07)):
            ring(0.848, 0.014, matte(rgb("1d1d20")), (0, 0, 0.85), turn)
    else:
        ball(0.85, plastic(look.light), (0, 0, 0.85), detail=64)
        golden = (1 + math.sqrt(5)) / 2
        for x, y, z in (
            [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
            + [(s, t * golden, 0) for s in (-1, 1) for t in (-1, 1)]
            + [(t * golden, 0, s) for s in (-1, 1) for t in (-1, 1)]
        ):
            reach = 0.845 / math.sqrt(x * x + y * y + z * z)
            patch = cylinder(
                0.25, 0.03, plastic(look.main), (x * reach * 0.98, y * reach * 0.98, 0.85 + z * reach * 0.98), edge=0.01
            )
            patch.rotation_euler = (0, math.acos(z * reach / 0.845), math.atan2(y, x))


@shape("dumbbell")
def dumbbell(look: Look) -> None:
    """A dumbbell lying on its hexagonal heads."""
    head = look.rng.choice([matte(look.main, rough=0.5), plastic(look.main)])
    for x in (-0.72, 0.72):
        made = turned(
            [(0, -0.24), (0.42, -0.24), (0.46, -0.18), (0.46, 0.18), (0.42, 0.24), (0, 0.24)],
            head,
            (x, 0, 0.4),
            sides=6,
        )
        made.rotation_euler = (0, math.pi / 2, 0)
    grip = cylinder(0.12, 1.1, metallic(rgb("b9bcc2"), rough=0.3), (-0.55, 0, 0.4))
    grip.rotation_euler = (0, math.pi / 2, 0)


@shape("yoga mat")
def yoga_mat(look: Look) -> None:
    """A rolled mat standing with its strap."""
    made = matte(look.main, rough=0.9)
    spiral = [
        ((0.14 + 0.05 * t / (2 * math.pi)) * math.cos(t), (0.14 + 0.05 * t / (2 * math.pi)) * math.sin(t))
        for t in [0.3 * i for i in range(104)]
    ]
    sheet([[(x, y, 0) for x, y in spiral], [(x, y, 1.9) for x, y in spiral]], made)
    cylinder(0.38, 1.885, made, (0, 0, 0.005), edge=0.01)
    for z in (0.55, 1.35):
        cylinder(0.405, 0.08, matte(look.accent), (0, 0, z), edge=0.01)
