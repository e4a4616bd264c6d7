"""Toys, fruit, vegetables, plants and sports things."""

from __future__ import annotations

import math

from caig_scenes.colors import RGB, mix, rgb, shade, vary
from caig_scenes.materials import Pattern, glossy, material, matte, rock
from caig_scenes.products.containers import shoulder
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import Material, ball, blades, box, cylinder, sheet, tube, turned


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
