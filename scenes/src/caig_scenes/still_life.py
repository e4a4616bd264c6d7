"""Props made by hand: blocks, arches and podiums, books, towels, gifts, candles, balloons and vases."""

from __future__ import annotations

import math

from caig_scenes.colors import NAMED, RGB, mix, rgb, turn_hue, vary
from caig_scenes.materials import cloth, glossy, marble, material, matte, metallic, plastic, rock, wood
from caig_scenes.mood import Mood
from caig_scenes.shapes import ball, blades, box, cylinder, ring, sheet, tube, turned

METALS = ("d8b06a", "d5d7da", "c9825b")


def any_color(mood: Mood, share: float = 0.0) -> RGB:
    """Any named colour, mixed with the scene's own."""
    return vary(mix(rgb(mood.rng.choice(list(NAMED.values()))), mood.tone, share), mood.rng)


def balls(mood: Mood) -> None:
    tones = [mood.tone, turn_hue(mood.tone, 0, 1.3, 0.8), rgb(mood.rng.choice(METALS)), any_color(mood, 0.4)]
    for radius in [mood.between(0.14, 0.5) for _ in range(mood.rng.randrange(3, 8))]:
        for x, y in mood.spots(1, radius, near=0.05, far=1.6):
            made = mood.rng.choice([glossy, matte, metallic])(mood.rng.choice(tones))
            ball(radius, made, (x, y, radius), detail=40)


def arch(mood: Mood) -> None:
    """Arches, steps and slabs of plaster, as in a set builder's still life."""
    tone = mix(mood.tone, (0.9, 0.88, 0.84), mood.between(0.1, 0.5))
    made, x, y = matte(tone), mood.between(-0.7, 0.7), mood.between(1.9, 2.5)
    if mood.rng.random() < 0.6:
        radius, thick = mood.between(1.2, 1.7), mood.between(0.22, 0.4)
        for k in range(25):
            a = math.pi * k / 24
            box(
                (thick, 0.6, 0.24),
                made,
                (x + radius * math.cos(a), y, 0.9 + radius * math.sin(a) - 0.1),
                edge=0.01,
                turn=(0, -a, 0),
            )
        for side in (-1, 1):
            box((thick, 0.6, 1.0), made, (x + side * radius, y, 0), edge=0.01)
    else:
        turned(
            [(1.4, 0), (1.45, 0.02), (1.45, 0.3), (1.4, 0.32), (0, 0.32)], made, (x, y + 1.6, 1.8)
        ).rotation_euler = (math.pi / 2, 0, 0)
    for tall in (mood.between(0.3, 0.9), mood.between(0.2, 0.5)):
        radius = mood.between(0.35, 0.6)
        for sx, sy in mood.spots(1, radius, near=0.15, far=1.5):
            mood.rng.choice(
                [
                    lambda r, t, at: cylinder(r, t, matte(vary(tone, mood.rng)), at),
                    lambda r, t, at: box((r * 1.4, r * 1.4, t), matte(vary(tone, mood.rng)), at),
                ]
            )(radius, tall, (sx, sy, 0))


def books(mood: Mood) -> None:
    x, y = mood.side(0.8)
    z = 0.0
    for _ in range(mood.rng.randrange(2, 5)):
        thick, turn, cover = mood.between(0.14, 0.26), mood.between(-0.3, 0.3), matte(any_color(mood, 0.35), rough=0.6)
        wide, deep = mood.between(1.2, 1.5), mood.between(0.85, 1.0)
        box(
            (wide * 0.97, deep * 0.97, thick * 0.96),
            matte(rgb("f1ead8"), rough=0.95),
            (x, y - 0.02, z + thick * 0.02),
            edge=0.004,
            turn=(0, 0, turn),
        )
        for low in (z, z + thick - 0.03):
            box((wide, deep, 0.03), cover, (x, y, low), edge=0.006, turn=(0, 0, turn))
        z += thick
    if mood.rng.random() < 0.5:
        ring(0.2, 0.035, metallic(rgb(mood.rng.choice(METALS))), (x - 0.2, y, z + 0.04))
        ring(0.2, 0.035, metallic(rgb(mood.rng.choice(METALS))), (x + 0.24, y - 0.05, z + 0.04))


def towel(mood: Mood) -> None:
    tone = vary(mood.pick("f4f0e8", "a9c4c0", "d8b0a0", "8fa3b3", "e8d8c0"), mood.rng)
    made = cloth(tone, weave=50)
    x, y = mood.side(0.8, back=1.2)
    if mood.rng.random() < 0.5:
        for dx, z in ((-0.32, 0.3), (0.32, 0.3), (0.0, 0.83)):
            for k in range(3):
                roll = cylinder(0.31 - 0.1 * k, 1.3 + 0.01 * k, made, (x + dx, y + 0.6 + 0.005 * k, z), edge=0.04)
                roll.rotation_euler = (math.pi / 2, 0, 0)
    else:
        for k in range(mood.rng.randrange(2, 5)):
            box((1.3, 1.0, 0.22), made, (x, y, 0.22 * k), edge=0.1, turn=(0, 0, mood.between(-0.06, 0.06)))


def gifts(mood: Mood) -> None:
    papers = [mood.pick("b3202c", "1f5a3a", "f4ecdc", "22345f", "d8b06a", "e8c4c0") for _ in range(3)]
    for side in sorted((mood.between(0.5, 1.0) for _ in range(mood.rng.randrange(2, 6))), reverse=True):
        for x, y in mood.spots(1, side * 0.62, near=0.0, far=1.8, front=0.0):
            tall, turn = side * mood.between(0.6, 1.1), (0, 0, mood.between(-0.7, 0.7))
            ribbon = material(mood.pick("d8b06a", "f4f0e8", "b3202c"), rough=0.25, metal=0.3)
            box((side, side, tall), material(mood.rng.choice(papers), rough=0.4), (x, y, 0), edge=0.015, turn=turn)
            box((side * 0.16, side * 1.02, tall * 1.01), ribbon, (x, y, 0), edge=0.003, turn=turn)
            box((side * 1.02, side * 0.16, tall * 1.01), ribbon, (x, y, 0), edge=0.003, turn=turn)
            for k in (-1, 1):
                ring(
                    side * 0.14,
                    0.025,
                    ribbon,
                    (x + k * side * 0.14, y, tall + side * 0.08),
                    (math.pi / 2, 0, 0),
                    (1.2, 0.8, 1.5),
                )


def candles(mood: Mood) -> None:
    wax = material(mood.pick("f4ead6", "e8dcc8", "b3202c", "d8c0a4"), rough=0.5, soft=0.7)
    for tall in [mood.between(0.35, 1.4) for _ in range(mood.rng.randrange(2, 6))]:
        radius = mood.between(0.12, 0.24)
        for x, y in mood.spots(1, radius, near=0.15, far=1.5, front=0.0):
            cylinder(radius, tall, wax, (x, y, 0.03), edge=0.03)
            cylinder(radius * 1.6, 0.04, metallic(rgb("d8b06a")), (x, y, 0))
            ball(0.05, material((1.0, 0.5, 0.14), emit=18), (x, y, tall + 0.13), (1, 1, 2.2))


def balloons(mood: Mood) -> None:
    tones = ["f4a6b0", "9fd0ec", "f9d777", "a8dcc3", "c9b0e6", "f0725c"]
    for _ in range(mood.rng.randrange(4, 9)):
        x, y, z = (
            mood.rng.choice([-1, 1]) * (mood.clear + mood.between(0.4, 2.0)),
            mood.between(1.2, 3.4),
            mood.between(0.9, 3.2),
        )
        radius = mood.between(0.34, 0.52)
        made = mood.rng.choice([glossy(rgb(mood.rng.choice(tones))), metallic(rgb("e8c49a"), rough=0.18)])
        ball(radius, made, (x, y, z), (1, 1, 1.18), detail=32)
        turned([(0.05, 0), (0.015, 0.06), (0, 0.06)], made, (x, y, z - radius * 1.18 - 0.05), sides=12)
        tube([(x, y, z - radius * 1.2), (x + 0.06, y, z / 2), (x - 0.04, y, 0)], 0.008, matte((0.9, 0.9, 0.9)))


def blocks(mood: Mood) -> None:
    tones = ["e8553a", "f3c43a", "4f8fd0", "5fae6a", "f4a6b0"]
    for size in [mood.between(0.36, 0.55) for _ in range(mood.rng.randrange(4, 9))]:
        for x, y in mood.spots(1, size * 0.7, near=0.0, far=1.6):
            tone = rgb(mood.rng.choice(tones))
            made = mood.rng.choice([plastic(tone), wood(mix(rgb("d8b48a"), tone, 0.5)), wood(rgb("d8b48a"))])
            box((size, size, size), made, (x, y, 0), edge=0.05, turn=(0, 0, mood.between(0, 1.5)))
            if mood.rng.random() < 0.3:
                box(
                    (size * 0.9, size * 0.9, size * 0.9),
                    plastic(rgb(mood.rng.choice(tones))),
                    (x, y, size),
                    edge=0.05,
                    turn=(0, 0, mood.between(0, 1.5)),
                )


def pampas(mood: Mood) -> None:
    """Dried grasses in a vase."""
    x, y = mood.side(0.6, back=1.8)
    tone = mix(mood.tone, rgb("e8dccb"), 0.5)
    turned(
        [(0, 0), (0.26, 0), (0.42, 0.35), (0.36, 0.7), (0.14, 0.95), (0.18, 1.05), (0, 1.0)],
        mood.rng.choice([matte(tone), glossy(tone), rock(tone, scale=8, bump=0.1)]),
        (x, y, 0),
    )
    plume = material(mood.pick("e8d8bc", "d8bfa0", "f0e4d4"), rough=1.0, sheen=0.6, soft=0.3)
    for _ in range(mood.rng.randrange(5, 9)):
        dx, dy, tall = mood.between(-0.7, 0.7), mood.between(-0.4, 0.4), mood.between(1.9, 2.8)
        tube(
            [(x, y, 0.9), (x + dx * 0.5, y + dy * 0.5, tall * 0.65), (x + dx, y + dy, tall)],
            0.014,
            matte(rgb("c9a878")),
        )
        roots = []
        for k in range(46):
            t = 0.62 + 0.38 * k / 46
            roots.append(
                (
                    (x + dx * t, y + dy * t, tall * t),
                    0.03,
                    mood.between(0.05, 0.22),
                    (mood.between(-0.16, 0.16), mood.between(-0.1, 0.1), mood.between(0, 3)),
                )
            )
        blades(roots, plume)


def drapery(mood: Mood) -> None:
    """A length of silk or linen, thrown behind the product in soft folds."""
    tone = mood.rng.choice(
        [mix(mood.tone, (0.95, 0.93, 0.9), 0.4), mood.tone, mood.pick("f0e8dc", "d8b8b0", "8f9f8a", "5a1020")]
    )
    phase, x0 = [mood.between(0, 6) for _ in range(3)], mood.between(-0.5, 0.5)
    rows = []
    for k in range(31):
        y = mood.clear + 0.35 + 2.6 * k / 30
        lift = max(0.0, (k - 14) / 16) ** 1.6 * 1.8
        rows.append(
            [
                (
                    x0 + -3 + 6 * i / 90,
                    y + 0.12 * math.sin(0.5 * i / 3 + phase[0]),
                    0.05
                    + lift
                    + (0.09 + 0.1 * lift) * (1 + math.sin(i * 0.33 + phase[1] + 0.1 * k))
                    + 0.05 * (1 + math.sin(i * 0.71 - 0.16 * k + phase[2])),
                )
                for i in range(91)
            ]
        )
    sheet(rows, material(tone, rough=0.45, sheen=0.8))


def podium(mood: Mood) -> None:
    """The podium itself is laid under the product; around it stand one or two lower ones."""
    made = matte(mix(mood.tone, (0.9, 0.88, 0.86), mood.between(0.1, 0.5)), rough=0.5)
    for radius in [mood.between(0.4, 0.8) for _ in range(mood.rng.randrange(0, 3))]:
        for x, y in mood.spots(1, radius, near=0.1, far=1.2, front=0.3):
            cylinder(radius, mood.between(0.15, 1.0), made, (x, y, 0), edge=0.03)


def lay_podium(mood: Mood, height: float, radius: float) -> None:
    """A round, stepped or square podium of `height` under the product."""
    tone = mix(mood.tone, (0.92, 0.9, 0.88), mood.between(0.0, 0.6))
    made = mood.rng.choice(
        [
            matte(tone, rough=0.5),
            marble(rgb("f4f2ee"), rgb("b9b6b4"), rough=0.15),
            material(tone, rough=0.15, coat=0.6),
            wood(mood.wood),
        ]
    )
    kind = mood.rng.choice(["round", "steps", "square", "rock"])
    if kind == "rock":
        stone = rock(mood.pick("8f887d", "5f5e5c", "b9aa94"), scale=2, bump=0.5)
        turned(
            [
                (radius * 1.1, 0),
                (radius * 1.12, height * 0.4),
                (radius * 1.0, height * 0.97),
                (radius * 0.97, height),
                (0, height),
            ],
            stone,
            sides=11,
        )
    elif kind == "square":
        box((2 * radius, 2 * radius, height), made, edge=0.03, turn=(0, 0, mood.between(-0.4, 0.4)))
    else:
        cylinder(radius, height, made, edge=0.03)
        if kind == "steps":
            cylinder(radius * 1.35, height * 0.5, made, edge=0.03)
