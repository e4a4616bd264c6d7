"""Toys, fruit, vegetables, plants and sports things."""

from __future__ import annotations

import math

from caig_scenes.colors import RGB, mix, rgb, shade, vary
from caig_scenes.materials import Pattern, cloth, glossy, material, matte, metallic, plastic, rock, wood
from caig_scenes.products.containers import shoulder
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import Material, ball, blades, box, cylinder, ring, sheet, tube, turned


def fur(color: RGB) -> Material:
    fluff = Pattern(
        kind="noise", second=shade(color, 0.6), scale=(9, 9, 9), bump=0.9, inputs=(("Scale", 3), ("Detail", 8))
    )
    return material(color, rough=1.0, sheen=0.8, pattern=fluff)


def peel(color: RGB, second: RGB, *, fine: float = 1.2, bump: float = 0.04, soft: float = 0.25) -> Material:
    """Fruit skin: a slow change of colour and a fine relief."""
    tone = Pattern(
        kind="noise", second=second, scale=(fine, fine, fine), bump=bump, inputs=(("Scale", 2), ("Detail", 5))
    )
    return material(color, rough=0.32, coat=0.35, soft=soft, pattern=tone)


def group(look: Look, reach: float) -> list[tuple[float, float, float]]:
    """Places (x, y, size) for one big piece or a small heap."""
    if look.chance(0.4):
        return [(0, 0, 1.6)]
    return [(-reach, 0.1, 1.0), (reach, 0.18, 0.95), (0.02, -reach * 0.85, 1.05)]


@shape("apple")
def apple(look: Look) -> None:
    """Apples with their stalks."""
    red, turn = look.rng.choice([("c2282d", "e3b23c"), ("7fae2f", "b9cf52"), ("d9b02e", "d8552c")])
    for x, y, size in group(look, 0.62):
        r, z = 0.55 * size, 0.0
        outline = [
            (0, 0.1),
            (0.12, 0.02),
            (0.5, 0.08),
            (0.85, 0.45),
            (1.0, 0.95),
            (0.92, 1.4),
            (0.6, 1.68),
            (0.25, 1.68),
            (0.06, 1.5),
            (0, 1.45),
        ]
        turned(
            [(a * r, b * r) for a, b in _smooth(outline)],
            peel(vary(rgb(red), look.rng, 0.1), rgb(turn), fine=0.8, bump=0.01),
            (x, y, z),
        )
        tube([(x, y, 1.45 * r), (x + 0.05, y, 1.85 * r), (x + 0.12, y, 2.0 * r)], 0.025 * size, matte(rgb("4a2f1a")))
    _leaf_on(look, 0.1, 0.0)


@shape("citrus")
def citrus(look: Look) -> None:
    """Oranges, lemons or limes, one of them cut open."""
    skin, flesh, tall = look.rng.choice(
        [("f08a1c", "f7b04a", 1.0), ("f3cf2f", "f7e38a", 1.28), ("7fae2f", "cfe08a", 1.08), ("ee6a3a", "e8505a", 1.0)]
    )
    made = peel(rgb(skin), shade(rgb(skin), 0.85), fine=14, bump=0.12)
    for x, y, size in group(look, 0.6)[:2] if look.chance(0.6) else [(0, 0, 1.6)]:
        ball(0.55 * size, made, (x, y, 0.55 * size), (tall, 1, 1), (0, 0, look.pick(-0.5, 0.5)), detail=40)
    x, y = 0.55, -0.75
    for radius, tone, step in ((0.5, rgb(skin), 0.0), (0.465, rgb("fbf3dc"), 0.012), (0.42, rgb(flesh), 0.02)):
        cut = cylinder(
            radius,
            0.05 if step else 0.3,
            material(tone, rough=0.25, soft=0.4, coat=0.4),
            (x, y - step - (0.25 if step else 0), 0.5),
            edge=0.01 if step else 0.14,
        )
        cut.rotation_euler = (math.pi / 2, 0, 0)
    for k in range(9):
        a = 2 * math.pi * k / 9
        box((0.018, 0.012, 0.4), matte(rgb("fbf3dc")), (x, y - 0.322, 0.5), edge=0.0, turn=(0, a, 0))


@shape("pear")
def pear(look: Look) -> None:
    """Pears."""
    tone = look.rng.choice(["b7b13a", "d0b84a", "9a3a2a", "86a03a"])
    for x, y, size in group(look, 0.55):
        r = 0.5 * size
        outline = [
            (0, 0.05),
            (0.4, 0.03),
            (0.85, 0.4),
            (1.0, 0.85),
            (0.85, 1.35),
            (0.52, 1.85),
            (0.4, 2.25),
            (0.28, 2.45),
            (0, 2.48),
        ]
        turned(
            [(a * r, b * r) for a, b in _smooth(outline)],
            peel(rgb(tone), shade(rgb(tone), 0.7), fine=3, bump=0.03),
            (x, y, 0),
        )
        tube([(x, y, 2.4 * r), (x + 0.06, y, 2.85 * r)], 0.028 * size, matte(rgb("4a2f1a")))


@shape("bananas")
def bananas(look: Look) -> None:
    """A hand of bananas lying on its side."""
    for k in range(4):
        turn = -0.3 + 0.2 * k
        points = [
            (
                0.95 * math.cos(t) * (1 - 0.02 * k),
                -0.3 + 0.24 * k + turn * 0.2,
                0.16 + 0.55 * (1 + math.sin(t)) * (0.9 + 0.07 * k),
            )
            for t in [math.pi * 1.12 + 0.95 * math.pi * 0.82 * i / 18 for i in range(19)]
        ]
        rows = [
            [
                (x + 0.19 * w * math.cos(a) * 0.4, y + 0.19 * w * math.sin(a), z + 0.19 * w * math.cos(a))
                for a in [2 * math.pi * i / 10 for i in range(10)]
            ]
            for (x, y, z), w in zip(
                points, [0.25, 0.5, 0.75, 0.92, *[1.0] * 10, 0.95, 0.85, 0.6, 0.36, 0.3], strict=True
            )
        ]
        sheet(rows, peel(rgb("f0c93a"), rgb("d9a92a"), fine=2, bump=0.01), closed=True)


@shape("tomatoes")
def tomatoes(look: Look) -> None:
    """Ripe tomatoes with green stars."""
    tone = look.rng.choice(["d2261c", "e2521c", "e8b22a"])
    for x, y, size in group(look, 0.6):
        r = 0.56 * size
        ball(r, material(rgb(tone), rough=0.15, coat=0.8, soft=0.3), (x, y, r * 0.84), (1, 1, 0.84), detail=40)
        star = [
            (
                (x, y, r * 1.6),
                0.13 * size,
                0.03,
                (0.32 * size * math.cos(a), 0.32 * size * math.sin(a), a + math.pi / 2),
            )
            for a in [2 * math.pi * k / 6 for k in range(6)]
        ]
        blades(star, matte(rgb("3f7a2a")))
        tube([(x, y, r * 1.58), (x + 0.04, y, r * 1.85)], 0.03, matte(rgb("3f7a2a")))


@shape("aubergine")
def aubergine(look: Look) -> None:
    """An aubergine or a courgette standing with its cap up, and a small one."""
    tone = look.rng.choice(["2c1236", "3a1a44", "2f6a2a"])
    for x, y, size in ((0, 0, 1.0), (0.62, -0.25, 0.7))[: look.rng.choice([1, 2])]:
        outline = [(0, 0), (0.3, 0.02), (0.5, 0.3), (0.52, 0.65), (0.42, 1.15), (0.3, 1.55), (0.2, 1.72), (0, 1.74)]
        turned(
            [(a * size, b * size) for a, b in _smooth(outline)], material(rgb(tone), rough=0.12, coat=1.0), (x, y, 0)
        )
        turned(
            [
                (0.27 * size, 1.58 * size),
                (0.2 * size, 1.76 * size),
                (0.07 * size, 1.82 * size),
                (0.06 * size, 2.0 * size),
                (0, 2.0 * size),
            ],
            matte(rgb("5a8a3a")),
            (x, y, 0),
        )


def _smooth(points: list[tuple[float, float]], steps: int = 5) -> list[tuple[float, float]]:
    """A Catmull-Rom curve through `points`."""
    padded = [points[0], *points, points[-1]]
    curve = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for k in range(steps):
            t = k / steps
            curve.append(
                tuple(
                    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t**3)
                    for p, q, r, s in zip(a, b, c, d, strict=True)
                )
            )
    return [(max(0.0, r), z) for r, z in [*curve, points[-1]]]


def _leaf_on(look: Look, x: float, y: float) -> None:
    blades([((x + 0.4, y - 0.7, 0.02), 0.2, 0.12, (0.45, -0.15, look.pick(0.5, 1.5)))], matte(rgb("4f8a34")))


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


@shape("succulent")
def succulent(look: Look) -> None:
    """A rosette in a glazed pot."""
    pot = look.rng.choice([glossy(look.main), matte(look.main), matte(rgb("c56b43"))])
    turned([(0, 0), (0.44, 0), (0.6, 0.75), (0.62, 0.8), (0.56, 0.8), (0.5, 0.7), (0, 0.68)], pot)
    green = rgb(look.rng.choice(["6a9a5a", "8fb89a", "5a8a6a", "9aa86a"]))
    for level, (count, lean, size) in enumerate([(9, 1.15, 0.34), (8, 0.8, 0.3), (6, 0.45, 0.24), (3, 0.15, 0.16)]):
        for k in range(count):
            a = 2 * math.pi * (k + level * 0.4) / count
            reach = size * math.sin(lean)
            ball(
                size,
                material(mix(green, rgb("d88a9a"), 0.12 * level), rough=0.5, soft=0.3),
                (reach * math.cos(a), reach * math.sin(a), 0.8 + size * math.cos(lean) * 0.9 + 0.03 * level),
                (0.5, 0.22, 1),
                (0, lean, a),
            )


@shape("cactus")
def cactus(look: Look) -> None:
    """A ribbed cactus with a flower."""
    turned(
        [(0, 0), (0.4, 0), (0.54, 0.6), (0.58, 0.62), (0.58, 0.78), (0.5, 0.78), (0.46, 0.7), (0, 0.68)],
        look.rng.choice([matte(rgb("c56b43")), glossy(look.main)]),
    )
    made = material(rgb("4f8050"), rough=0.6, soft=0.2)
    for k in range(10):
        a = 2 * math.pi * k / 10
        ball(0.3, made, (0.14 * math.cos(a), 0.14 * math.sin(a), 1.2), (0.62, 0.5, 1.9), (0, 0, a))
    for k in range(8):
        a = 2 * math.pi * k / 8
        ball(
            0.1,
            material(rgb("e6699a"), rough=0.5),
            (0.09 * math.cos(a), 0.09 * math.sin(a), 1.8),
            (0.45, 0.3, 1.1),
            (0, 0.5, a),
        )


@shape("orchid")
def orchid(look: Look) -> None:
    """A flowering stem in a pot."""
    turned([(0, 0), (0.32, 0), *shoulder(0.32, 0.42, 0.02, 0.5), (0.4, 0.55), (0, 0.5)], glossy(look.light))
    leaves = [
        ((0, 0, 0.5), 0.22, 0.25, (0.7 * math.cos(a), 0.5 * math.sin(a), a + math.pi / 2)) for a in (0.2, 2.6, 3.6, 5.4)
    ]
    blades(leaves, matte(rgb("3f6f34")))
    stem = [(0.02 * k + 0.0016 * k**2.4, 0, 0.5 + 0.15 * k - 0.0012 * k**2.6) for k in range(11)]
    tube(stem, 0.022, matte(rgb("5a7a3a")))
    petal = material(mix(look.main, (1, 1, 1), 0.25), rough=0.5, soft=0.4)
    for x, _, z in stem[5:]:
        for k in range(5):
            a = 2 * math.pi * k / 5 + 0.3
            ball(0.15, petal, (x + 0.13 * math.cos(a), -0.1, z + 0.13 * math.sin(a)), (1.0, 0.2, 0.7), (0, -a, 0))
        ball(0.05, matte(rgb("e8c22e")), (x, -0.17, z))


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


@shape("bowl")
def bowl(look: Look) -> None:
    """Stacked bowls in two glazes."""
    for k, made in enumerate(
        [glossy(look.main), look.rng.choice([glossy(look.light), matte(look.accent)])][: look.rng.choice([1, 2])]
    ):
        z = 0.28 * k
        turned(
            [
                (0, z),
                (0.34, z),
                (0.36, z + 0.06),
                *shoulder(0.4, 0.92, z + 0.08, z + 0.62)[2:],
                (0.9, z + 0.66),
                (0.8, z + 0.45),
                (0.4, z + 0.16),
                (0, z + 0.13),
            ],
            made,
        )


@shape("bread")
def bread(look: Look) -> None:
    """A floured loaf with cuts."""
    crust = rock(rgb("b8722f"), scale=2.5, bump=0.35)
    ball(0.9, crust, (0, 0, 0.42), (1.15, 0.72, 0.55), detail=48)
    for k in range(3):
        ball(
            0.34,
            matte(rgb("ecd3a4"), rough=0.95),
            (-0.5 + 0.5 * k, -0.12, 0.83 - 0.07 * abs(k - 1)),
            (0.22, 1.15, 0.22),
            (0, 0, 0.5),
        )
