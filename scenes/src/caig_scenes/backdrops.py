"""Backdrops by name: what is behind. To add one: one entry in `BACKDROPS`, and its phrases in the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from caig_scenes import outdoors
from caig_scenes.colors import NAMED, mix, rgb, shade, vary
from caig_scenes.floors import WALL, wall
from caig_scenes.materials import Pattern, cloth, glossy, glow, material, matte, metallic, wood
from caig_scenes.mood import DARK, Mood, Seen
from caig_scenes.outdoors import foliage
from caig_scenes.shapes import Material, ball, box, cylinder, panel, ring, sheet, tube, turned


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """`build` sets it up and says what is seen beyond; before a `table` backdrop the floor is a table with an edge; a
    `sweep` lets a plain floor rise into the wall instead of the wall itself."""

    build: Callable[[Mood], Seen]
    table: bool = False
    sweep: bool = False


def _paint(mood: Mood) -> Material:
    """Painted plaster."""
    rough = Pattern(
        kind="noise", second=shade(mood.tone, 0.93), scale=(0.8, 0.8, 0.8), bump=0.05, inputs=(("Detail", 6),)
    )
    return material(mood.tone, rough=0.85, pattern=rough)


def _plain(mood: Mood) -> Seen:
    wall(_paint(mood))
    return mood.tone, 0.6


def _gradient(mood: Mood) -> Seen:
    """A pool of light on the wall behind the product."""
    halo = Pattern(
        kind="halo",
        second=mix(mood.tone, (1, 1, 1), 0.45),
        scale=(0.2, 0.2, 0.2),
        offset=(mood.between(-0.2, 0.2), mood.between(0.9, 1.2), 0),
        ramp=(0.0, 0.8),
    )
    wall(material(shade(mood.tone, 0.6), rough=0.9, emit=0.25, pattern=halo))
    return mood.tone, 0.6


def _curtain(mood: Mood) -> Seen:
    tone = mood.rng.choice([mood.tone, mood.pick("5a1020", "10254a", "e8ded0", "b9a08a", "2f4a40", "d8c8d0")])
    fold, phase = mood.between(1.8, 3.2), mood.between(0, 6)
    rows = []
    for z in (-4, 1, 4, 9):
        rows.append(
            [
                (
                    x,
                    WALL - 0.2 + 0.24 * math.sin(fold * x + phase + 0.1 * z) + 0.1 * math.sin(2.7 * fold * x + z * 0.2),
                    z,
                )
                for x in [-11 + 22 * i / 320 for i in range(321)]
            ]
        )
    sheet(rows, material(tone, rough=0.7, sheen=0.8))
    return tone, 0.4


def _masonry(
    mood: Mood, tones: tuple[str, ...], joint: str, *, scale: float, rough: float, bump: float, coat: float = 0.0
) -> Seen:
    tone = vary(mood.pick(*tones), mood.rng, 0.1)
    stones = Pattern(kind="brick", second=rgb(joint), bump=bump, inputs=(("Scale", scale), ("Mortar Size", 0.02)))
    wall(material(tone, rough=rough, coat=coat, pattern=stones))
    return tone, 0.5


def _tiles(mood: Mood) -> Seen:
    seen = _masonry(
        mood,
        ("eef2f0", "8fb8b4", "e6d8c4", "6f97a8", "d8a890", "f4efe6"),
        "c9c6c0",
        scale=mood.between(0.7, 1.1),
        rough=0.12,
        bump=0.4,
        coat=0.8,
    )
    if mood.rng.random() < 0.6:
        x = mood.rng.choice([-1, 1]) * mood.between(1.6, 3)
        box((3.2, 0.6, 0.1), wood(mood.wood), (x, WALL - 0.3, mood.between(1.9, 2.4)))
        _ornaments(mood, x - 1.3, x + 1.3, WALL - 0.35, 2.35)
    return seen


def _brick(mood: Mood) -> Seen:
    return _masonry(
        mood,
        ("8a4630", "a3563a", "6f3a2c", "c9b8a8", "e0dcd6"),
        "8f8880",
        scale=mood.between(0.9, 1.3),
        rough=0.95,
        bump=0.8,
    )


def _window(mood: Mood) -> Seen:
    """A bright window with a view, its curtains drawn aside."""
    wall(_paint(mood), away=WALL + 0.4)
    x, wide, low, high = mood.between(-1.5, 1.5), mood.between(3.2, 4.6), 0.3, mood.between(4.2, 5.2)
    sky, ground = mood.rng.choice([("cfe6fb", "9fc27a"), ("fbe6c4", "c9a878"), ("e8f0f8", "b9ccd8")])
    panel(wide, high, glow(rgb(sky), 2.4), (x, WALL + 0.3, low + high / 2))
    panel(wide, high * 0.4, glow(rgb(ground), 1.1), (x, WALL + 0.29, low + high * 0.2))
    for _ in range(9):
        ball(
            mood.between(0.3, 0.7),
            glow(vary(rgb(ground), mood.rng, 0.3), 0.8),
            (x + mood.between(-0.5, 0.5) * wide, WALL + 0.28, low + high * mood.between(0.2, 0.5)),
            (1, 0.02, 0.9),
        )
    frame = matte(rgb(mood.rng.choice(["f4f2ee", "e8e0d4", "2a2a2c"])))
    for k in range(3):
        box((0.12, 0.14, high), frame, (x + wide * (k - 1) / 2, WALL + 0.2, low))
    for z in (low, low + high * 0.55, low + high):
        box((wide + 0.1, 0.16, 0.12), frame, (x, WALL + 0.2, z))
    sheer = material(rgb("f6f2ea"), rough=0.9, soft=0.4)
    for side in (-1, 1):
        edge = x + side * (wide / 2 + 0.2)
        sheet(
            [
                [(edge + 0.9 * (i / 40 - 0.5), WALL - 0.05 + 0.1 * math.sin(i * 0.9), z) for i in range(41)]
                for z in (-4.0, 6.5)
            ],
            sheer,
        )
    return mood.tone, 0.5


def _ornaments(mood: Mood, left: float, right: float, y: float, z: float) -> None:
    """Books, vases, bowls and plants on a board from left to right."""
    x = left
    while x < right:
        kind = mood.rng.choice(["books", "books", "vase", "bowl", "plant", "box", "gap"])
        tone = mix(vary(rgb(mood.rng.choice(list(NAMED.values()))), mood.rng), (0.6, 0.55, 0.5), 0.35)
        wide = mood.between(0.35, 0.7)
        if kind == "books":
            wide = 0.0
            for _ in range(mood.rng.randrange(3, 7)):
                thick, tall = mood.between(0.08, 0.16), mood.between(0.6, 0.95)
                box(
                    (thick, 0.5, tall),
                    matte(vary(mix(tone, rgb(mood.rng.choice(list(NAMED.values()))), 0.4), mood.rng)),
                    (x + wide, y, z),
                )
                wide += thick + 0.01
        elif kind == "vase":
            turned(
                [(0, 0), (0.14, 0), (0.26, 0.3), (0.12, 0.62), (0.15, 0.75), (0, 0.7)],
                mood.rng.choice([glossy(tone), matte(tone)]),
                (x + 0.2, y, z),
            )
        elif kind == "bowl":
            turned([(0, 0), (0.16, 0), (0.36, 0.26), (0.34, 0.26), (0, 0.06)], glossy(tone), (x + 0.3, y, z))
        elif kind == "plant":
            turned([(0, 0), (0.2, 0), (0.26, 0.36), (0, 0.33)], matte(tone), (x + 0.25, y, z))
            foliage(mood, (x + 0.25, y, z + 0.5), 0.4, 26, ("4f7a3a", "6a8f4a"))
        elif kind == "box":
            box((wide, 0.5, mood.between(0.25, 0.5)), matte(tone), (x + wide / 2, y, z))
        x += wide + mood.between(0.1, 0.45)


def _shelf(mood: Mood) -> Seen:
    wall(_paint(mood))
    boards = wood(mood.wood)
    for z in (0.2, 1.9, 3.6):
        box((13, 0.8, 0.1), boards, (0, WALL - 0.4, z))
        _ornaments(mood, -6, 6, WALL - 0.4, z + 0.1)
    return mood.tone, 0.5


def _room(mood: Mood) -> Seen:
    """A lived-in room: sofa, lamp, picture and plant, far enough to blur."""
    wall(_paint(mood), away=WALL + 3)
    side, sofa = (
        mood.rng.choice([-1, 1]),
        cloth(mix(mood.tone, mood.pick("8f9f9a", "c98f78", "6f7f96", "d8c8b4"), 0.7), weave=12),
    )
    y = WALL + 1.6
    box((5.6, 1.6, 1.1), sofa, (side * 1.2, y, -2.4), edge=0.2)
    box((5.6, 0.6, 2.3), sofa, (side * 1.2, y + 0.8, -2.4), edge=0.25)
    for k in range(3):
        box(
            (1.0, 0.4, 0.9),
            cloth(mood.pick("e7b98a", "d8d0c4", "7f97a8", "b9604a", "e0c46a")),
            (side * 1.2 - 1.7 + 1.6 * k + mood.between(-0.3, 0.3), y + 0.2, -1.2),
            edge=0.15,
            turn=(0.2, mood.between(-0.2, 0.2), 0),
        )
    lamp_x = -side * mood.between(2.4, 3.2)
    cylinder(0.04, 4.5, metallic(rgb("b08a50")), (lamp_x, y, -3))
    turned([(0.75, 1.4), (0.5, 2.3)], material(rgb("ffe2b0"), emit=3.0), (lamp_x, y, 0))
    picture = panel(
        1.9, 1.5, matte(mood.pick("e8dccb", "c98f78", "7f97a8")), (side * mood.between(0.5, 1.8), WALL + 2.9, 2.6)
    )
    box((2.1, 0.08, 1.7), wood(shade(mood.wood, 0.6)), (picture.location.x, WALL + 2.96, 1.75))
    foliage(mood, (-lamp_x * 1.25, y, 0.2), 1.4, 70, ("4f7a3a", "3f6a34", "6a8f4a"), size=0.4)
    return mood.tone, 0.5


def _neon(mood: Mood) -> Seen:
    wall(material(mood.pick("0c0a18", "14101c", "0a1220"), rough=0.5), away=7)
    tones = mood.rng.choice(
        [("ff2fa0", "2fb4ff"), ("a040ff", "2fffd0"), ("ff5a3a", "ff2fa0", "8f5aff"), ("2fb4ff", "4f6bff", "c0f0ff")]
    )
    kind = mood.rng.choice(["lines", "rings", "frame", "lines"])
    if kind == "rings":
        for k in range(mood.rng.randrange(1, 4)):
            ring(
                mood.between(1.1, 1.6) + 0.5 * k,
                0.05,
                glow(rgb(tones[k % len(tones)]), 9),
                (mood.between(-0.4, 0.4), 5.5, 1.9),
                (math.pi / 2, 0, 0),
            )
    elif kind == "frame":
        for k in range(3):
            w, h, y = 1.7 + 0.6 * k, 2.9 + 0.5 * k, 4 + 1.2 * k
            tube([(-w, y, 0), (-w, y, h), (w, y, h), (w, y, 0)], 0.045, glow(rgb(tones[k % len(tones)]), 9))
    else:
        for _ in range(mood.rng.randrange(5, 10)):
            x, y, tall, lean = (
                mood.between(-4.5, 4.5),
                mood.between(3.5, 6.8),
                mood.between(1.5, 4),
                mood.rng.choice([0, 0, 0.8]),
            )
            tube(
                [(x, y, mood.between(0, 1.5)), (x + lean * tall, y, tall + 1)],
                0.05,
                glow(rgb(mood.rng.choice(tones)), 9),
            )
    return DARK


def _pastel(mood: Mood) -> Seen:
    """A candy-coloured wall with a rainbow, clouds, bunting or dots."""
    tone = mood.pick("f9d9dc", "d6ebf5", "fdf0cf", "dcefdc", "e7ddf3", "fbe3d0")
    wall(matte(tone, rough=0.9))
    candy = ["f4a6b0", "9fd0ec", "f9d777", "a8dcc3", "c9b0e6", "f7b48a"]
    mood.rng.shuffle(candy)
    kind, x = mood.rng.choice(["rainbow", "bunting", "dots", "clouds"]), mood.between(-1.6, 1.6)
    if kind == "rainbow":
        for k in range(4):
            ring(1.5 + 0.32 * k, 0.16, matte(rgb(candy[k])), (x, WALL - 0.2, 0.6), (math.pi / 2, 0, 0))
    elif kind == "bunting":
        for k in range(14):
            flag_x = -5.6 + 0.85 * k
            z = 3.6 + 0.05 * (k - 6.5) ** 2 * 0.35
            sheet(
                [
                    [(flag_x - 0.36, WALL - 0.15, z), (flag_x + 0.36, WALL - 0.15, z)],
                    [(flag_x - 0.01, WALL - 0.15, z - 0.75), (flag_x + 0.01, WALL - 0.15, z - 0.75)],
                ],
                matte(rgb(candy[k % 6])),
            )
    else:
        for k in range(16 if kind == "dots" else 5):
            cx, cz = mood.between(-5, 5), mood.between(1, 5)
            for j in range(1 if kind == "dots" else 4):
                made = matte(rgb(candy[k % 6]) if kind == "dots" else (0.95, 0.95, 0.96))
                ball(mood.between(0.25, 0.5), made, (cx + 0.42 * j, WALL - 0.1, cz + 0.12 * (j % 2)), (1, 0.15, 1))
    return tone, 0.7


BACKDROPS = {
    "plain": Backdrop(build=_plain),
    "gradient": Backdrop(build=_gradient, sweep=True),
    "curtain": Backdrop(build=_curtain, table=True),
    "tiles": Backdrop(build=_tiles, table=True),
    "brick": Backdrop(build=_brick, table=True),
    "window": Backdrop(build=_window, table=True),
    "shelf": Backdrop(build=_shelf, table=True),
    "room": Backdrop(build=_room, table=True),
    "sea": Backdrop(build=outdoors.sea),
    "sky": Backdrop(build=outdoors.sky),
    "hills": Backdrop(build=outdoors.hills),
    "foliage": Backdrop(build=outdoors.woods),
    "bokeh": Backdrop(build=outdoors.bokeh, table=True),
    "neon": Backdrop(build=_neon),
    "city": Backdrop(build=outdoors.city, table=True),
    "pastel": Backdrop(build=_pastel, table=True),
}
