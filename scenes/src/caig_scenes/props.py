"""Props by name: small things beside and behind the product. To add one: one entry in `PROPS`, and its phrases in the
vocabulary. Every one draws its own number, sizes, colours and arrangement."""

from __future__ import annotations

import math
from collections.abc import Callable

from caig_scenes import still_life
from caig_scenes.colors import rgb, shade, vary
from caig_scenes.materials import Pattern, clear, glossy, material, matte, rock, wood
from caig_scenes.mood import Mood
from caig_scenes.outdoors import foliage
from caig_scenes.shapes import ball, blades, box, cylinder, lump, sheet, tube, turned


def _petals(mood: Mood) -> None:
    tone = mood.pick("c9304a", "f0a0ac", "f6ecdf", "e86f7f", "f7d0d8")
    made = material(tone, rough=0.5, soft=0.5)
    for _ in range(mood.rng.randrange(24, 60)):
        a, r = mood.between(0, 6.3), mood.clear + mood.between(0.08, 2.2) ** 1.2
        size = mood.between(0.09, 0.17)
        ball(
            size,
            made,
            (r * math.cos(a), r * math.sin(a) * 0.8, 0.03),
            (1, 1.35, 0.14),
            (mood.between(-0.35, 0.35), mood.between(-0.35, 0.35), mood.between(0, 6)),
            detail=14,
        )


def _lemons(mood: Mood) -> None:
    """Citrus, whole and halved."""
    for _ in range(mood.rng.randrange(3, 7)):
        skin, flesh, tall = mood.rng.choice(
            [("f3cf2f", "f7e9a0", 1.25), ("f08a1c", "f7b55a", 1.0), ("8fb53a", "d4e49a", 1.1)]
        )
        radius = mood.between(0.26, 0.36)
        for x, y in mood.spots(1, radius, near=0.02, far=1.5):
            peel = material(
                rgb(skin),
                rough=0.4,
                coat=0.3,
                soft=0.3,
                pattern=Pattern(kind="noise", second=shade(rgb(skin), 0.85), scale=(14, 14, 14), bump=0.15),
            )
            if mood.rng.random() < 0.35:
                turn = (math.pi / 2 - 0.25, 0, mood.between(-0.5, 0.5))
                for r, deep, color in (
                    (radius, 0.1, rgb(skin)),
                    (radius * 0.94, 0.12, rgb("fbf3dc")),
                    (radius * 0.84, 0.13, rgb(flesh)),
                ):
                    cylinder(
                        r, deep, material(color, rough=0.25, soft=0.4, coat=0.5), (x, y, radius), edge=0.02
                    ).rotation_euler = turn
            else:
                ball(radius, peel, (x, y, radius), (tall, 1, 1), (0, 0, mood.between(0, 3)), detail=32)
    foliage(mood, (mood.rng.choice([-1, 1]) * (mood.clear + 0.5), 0.5, 0.1), 0.5, 8, ("4f7a2f",))


def _berries(mood: Mood) -> None:
    tones = mood.rng.choice([("b3152a", "d0303f"), ("2a2f6a", "3a3f86"), ("a81240", "6a1030"), ("b3152a", "2a2f6a")])
    made = [material(rgb(tone), rough=0.22, coat=0.7, soft=0.4) for tone in tones]
    for cx, cy in mood.spots(mood.rng.randrange(2, 5), 0.4, near=0.0, far=1.0):
        for _ in range(mood.rng.randrange(5, 12)):
            radius = mood.between(0.09, 0.15)
            ball(
                radius,
                mood.rng.choice(made),
                (cx + mood.rng.gauss(0, 0.22), cy + mood.rng.gauss(0, 0.18), radius * mood.rng.choice([1, 1, 1, 2.4])),
                detail=20,
            )
        blades(
            [
                ((cx, cy, 0.02), 0.16, 0.1, (mood.between(-0.4, 0.4), mood.between(-0.3, 0.3), mood.between(0, 3)))
                for _ in range(3)
            ],
            matte(rgb("4f7a2f")),
        )


def _plant(mood: Mood) -> None:
    x, y = mood.side(0.7, back=1.8)
    pot = mood.rng.choice(
        [matte(mood.pick("c56b43", "d8d2c6", "3a3c40")), glossy(still_life.any_color(mood, 0.4)), wood(mood.wood)]
    )
    turned([(0, 0), (0.34, 0), (0.48, 0.66), (0.5, 0.7), (0.44, 0.7), (0, 0.62)], pot, (x, y, 0))
    if mood.rng.random() < 0.5:
        foliage(mood, (x, y, 1.0), mood.between(0.8, 1.1), 60, ("4f7a3a", "3f6a34", "7a9f5a"), size=0.5)
    else:
        roots = [
            (
                (x, y, 0.6),
                mood.between(0.14, 0.22),
                mood.between(0.9, 1.9),
                (mood.between(-0.5, 0.5), mood.between(-0.4, 0.4), mood.between(0, 3.1)),
            )
            for _ in range(16)
        ]
        blades(roots, material(mood.pick("4f7a4a", "6a8f5a", "3f6a44"), rough=0.4, soft=0.2))


def _stones(mood: Mood) -> None:
    tones = [mood.pick("8f8880", "6a6864", "b9b0a2", "e4ded2", "3a3b3d") for _ in range(3)]
    made = [mood.rng.choice([rock(tone, scale=6, bump=0.15), matte(tone, rough=0.6)]) for tone in tones]
    for radius in sorted((mood.between(0.1, 0.42) for _ in range(mood.rng.randrange(5, 12))), reverse=True):
        for x, y in mood.spots(1, radius, near=0.0, far=1.7):
            lump(
                radius,
                mood.rng.choice(made),
                (x, y, radius * 0.5),
                lambda: mood.between(-0.12, 0.12),
                (1.2, 1, 0.6),
                (0, 0, mood.between(0, 3)),
            )
    if mood.rng.random() < 0.35:
        x, y, z = *mood.side(0.4), 0.0
        for radius in (0.42, 0.32, 0.23):
            lump(radius, made[0], (x, y, z + radius * 0.42), lambda: mood.between(-0.05, 0.05), (1.15, 1, 0.44))
            z += radius * 0.8


def _leaves(mood: Mood) -> None:
    tones = mood.rng.choice([("3f7a34", "5f9a3f"), ("8fae8a", "6f9478"), ("4f7a5a", "2f5a3a"), ("b08a3a", "c0602a")])
    for x, y in mood.spots(mood.rng.randrange(4, 9), 0.35, near=0.0, far=1.6):
        foliage(mood, (x, y, 0.08), mood.between(0.45, 0.8), 9, tones, size=0.6)


def _flowers(mood: Mood) -> None:
    """Stems with daisies, poppies or balls of blossom, in the ground or in a vase."""
    tones = mood.rng.choice(
        [
            ("f4f0ea", "f7d0d8"),
            ("e86f7f", "f4a6b0"),
            ("f3d250", "f7f3e4"),
            ("9f7fc8", "c9b0e6"),
            ("e8553a", "f08a4a"),
            ("7f9fe0", "e8ecfa"),
        ]
    )
    stem, heart = matte(rgb("4f7a3a")), matte(rgb("e0a52f"))
    petals = [material(rgb(tone), rough=0.6, soft=0.5) for tone in tones]
    places = [
        (x, y, mood.between(0.3, 1.1))
        for x, y in mood.spots(mood.rng.randrange(8, 16), 0.16, near=0.0, far=1.8, front=-0.6)
    ]
    for x, y, z in places:
        size, made = mood.between(0.15, 0.26), mood.rng.choice(petals)
        lean = mood.between(-0.12, 0.12)
        tube([(x, y, 0), (x + lean / 2, y, z / 2), (x + lean, y, z)], 0.014, stem)
        blades(
            [((x, y, 0), 0.06, z * 0.5, (mood.between(-0.25, 0.25), mood.between(-0.1, 0.1), 0.3)) for _ in range(2)],
            stem,
        )
        count = mood.rng.choice([5, 8, 11])
        for k in range(count):
            a = 2 * math.pi * k / count
            ball(
                size * 0.55,
                made,
                (x + lean + 0.5 * size * math.cos(a), y - 0.02, z + 0.5 * size * math.sin(a)),
                (1, 0.25, 2.4 / count + 0.12),
                (0, -a, 0),
                detail=10,
            )
        ball(size * 0.24, heart, (x + lean, y - 0.06, z), (1, 0.6, 1), detail=12)


def _ice(mood: Mood) -> None:
    made = material((0.9, 0.96, 1.0), rough=0.06, glass=0.85, coat=0.5)
    for size in [mood.between(0.3, 0.55) for _ in range(mood.rng.randrange(6, 14))]:
        for x, y in mood.spots(1, size * 0.6, near=-0.05, far=1.6, front=-0.8):
            box(
                (size, size, size),
                made,
                (x, y, 0),
                edge=0.08,
                turn=(mood.between(-0.25, 0.25), mood.between(-0.25, 0.25), mood.between(0, 3)),
            )
    _drops(mood)


def _drops(mood: Mood) -> None:
    """Drops of water on the ground."""
    made = clear((0.97, 0.99, 1.0))
    for _ in range(mood.rng.randrange(25, 60)):
        a, r, size = mood.between(0, 6.3), mood.clear + mood.between(0.06, 1.9), mood.between(0.02, 0.07)
        ball(size, made, (r * math.cos(a), r * math.sin(a), size * 0.2), (1.2, 1.2, 0.5), detail=12)


def _shells(mood: Mood) -> None:
    """Scallops, snails and starfish."""
    for x, y in mood.spots(mood.rng.randrange(3, 8), 0.24, near=0.0, far=1.6, front=-0.8):
        tone, size = mood.pick("f4e4d4", "f0c8b4", "e8b8a8", "fbf3ea", "d8a888"), mood.between(0.16, 0.3)
        kind, turn = mood.rng.choice(["scallop", "snail", "star"]), mood.between(0, 6.3)
        made = material(tone, rough=0.4, coat=0.3, soft=0.3)
        if kind == "star":
            arms = [
                (
                    math.cos(turn + math.pi * k / 5) * size * (1.5 if k % 2 == 0 else 0.5),
                    math.sin(turn + math.pi * k / 5) * size * (1.5 if k % 2 == 0 else 0.5),
                )
                for k in range(11)
            ]
            sheet(
                [[(x + a, y + b, 0.02) for a, b in arms], [(x, y, 0.14)] * len(arms)],
                matte(mood.pick("d8824a", "c9604a", "e0a86a")),
            )
        elif kind == "snail":
            for k in range(9):
                ball(
                    size * 0.8**k,
                    made,
                    (
                        x + 0.16 * k * math.cos(turn) * size * 2,
                        y + 0.16 * k * math.sin(turn) * size * 2,
                        size * 0.8**k * 0.9,
                    ),
                    (1, 1, 0.95),
                    detail=16,
                )
        else:
            fan = [
                (math.cos(turn + 0.25 * k) * size * 1.3, math.sin(turn + 0.25 * k) * size * 1.3, 0.05 + 0.035 * (k % 2))
                for k in range(11)
            ]
            sheet(
                [
                    [(x, y, 0.06)] * 11,
                    [(x + a * 0.6, y + b * 0.6, c + 0.14) for a, b, c in fan],
                    [(x + a, y + b, c - 0.03) for a, b, c in fan],
                ],
                made,
            )


def _beans(mood: Mood) -> None:
    """Coffee beans, nuts or almonds, strewn in heaps."""
    tone, size = mood.rng.choice([("3a1f10", 0.08), ("a9693a", 0.1), ("c9975a", 0.11)])
    made = [material(vary(rgb(tone), mood.rng, 0.2), rough=0.4, coat=0.2) for _ in range(2)]
    for cx, cy in mood.spots(mood.rng.randrange(2, 4), 0.5, near=-0.1, far=1.0, front=-0.7):
        for _ in range(mood.rng.randrange(18, 34)):
            ball(
                size,
                mood.rng.choice(made),
                (cx + mood.rng.gauss(0, 0.26), cy + mood.rng.gauss(0, 0.2), size * mood.rng.choice([0.6, 0.6, 1.3])),
                (1.35, 0.9, 0.62),
                (mood.between(-0.4, 0.4), mood.between(-0.4, 0.4), mood.between(0, 6)),
                detail=12,
            )


def _pinecones(mood: Mood) -> None:
    """Cones and twigs of fir."""
    made, green = matte(mood.pick("6a4a30", "8a6544", "5a3c28")), ("2f5a3a", "3f6a4a")
    for x, y in mood.spots(mood.rng.randrange(2, 5), 0.35, near=0.0, far=1.4):
        size, lie = mood.between(0.7, 1.0), mood.between(0, 3)
        for level in range(7):
            reach = 0.24 * size * math.sin(math.pi * (level + 1.2) / 9)
            for k in range(8):
                a = 2 * math.pi * (k + level * 0.5) / 8 + lie
                ball(
                    0.1 * size,
                    made,
                    (x + reach * math.cos(a), y + reach * math.sin(a), 0.08 + 0.085 * size * level),
                    (1, 0.7, 0.35),
                    (0, -0.5, a),
                    detail=10,
                )
    for x, y in mood.spots(mood.rng.randrange(2, 4), 0.5, near=0.0, far=1.6):
        turn = mood.between(0, 6.3)
        needles = [
            (
                (x + 0.05 * k * math.cos(turn), y + 0.05 * k * math.sin(turn), 0.08),
                0.018,
                mood.between(0.02, 0.16),
                (mood.between(-0.28, 0.28), mood.between(-0.28, 0.28), mood.between(0, 3)),
            )
            for k in range(-14, 15)
            for _ in range(4)
        ]
        blades(needles, matte(mood.pick(*green)))


def _nothing(mood: Mood) -> None:
    """An empty set."""


PROPS: dict[str, Callable[[Mood], None]] = {
    "": _nothing,
    "podium": still_life.podium,
    "balls": still_life.balls,
    "arch": still_life.arch,
    "petals": _petals,
    "lemons": _lemons,
    "berries": _berries,
    "plant": _plant,
    "books": still_life.books,
    "stones": _stones,
    "towel": still_life.towel,
    "leaves": _leaves,
    "flowers": _flowers,
    "gifts": still_life.gifts,
    "candles": still_life.candles,
    "ice": _ice,
    "balloons": still_life.balloons,
    "blocks": still_life.blocks,
    "shells": _shells,
    "pampas": still_life.pampas,
    "beans": _beans,
    "pinecones": _pinecones,
    "drapery": still_life.drapery,
    "drops": _drops,
}
