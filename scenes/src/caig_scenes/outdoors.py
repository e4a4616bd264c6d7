"""What is behind a scene outdoors or in the dark: sea, sky, hills, woods, and lights out of focus."""

from __future__ import annotations

import math

from caig_scenes.colors import RGB, mix, rgb, vary
from caig_scenes.floors import wall
from caig_scenes.materials import Pattern, glow, material, matte
from caig_scenes.mood import DARK, Mood, Seen
from caig_scenes.shapes import blades, box, cylinder, panel, sheet, tube, turned


def foliage(
    mood: Mood,
    centre: tuple[float, float, float],
    reach: float,
    count: int,
    tones: tuple[str, ...],
    *,
    size: float = 0.5,
) -> None:
    """A ball of leaves."""
    for tone in tones:
        roots = []
        for _ in range(count // len(tones)):
            a, up, r = mood.between(0, 6.3), mood.between(-0.6, 1), reach * mood.between(0.2, 1)
            x, y = r * math.cos(a), r * math.sin(a)
            roots.append(
                (
                    (centre[0] + x * 0.6, centre[1] + y * 0.6, centre[2] + r * up * 0.5),
                    size * reach * mood.between(0.35, 0.7),
                    size * reach * (up + 0.4),
                    (size * x * 1.6, size * y * 1.6, a + math.pi / 2),
                )
            )
        blades(roots, material(vary(rgb(tone), mood.rng), rough=0.5, soft=0.25))


def _horizon(mood: Mood, low: RGB, high: RGB, strength: float, *, cloudy: bool = True) -> None:
    """A far sky from the colour at the horizon to the one above, with some clouds."""
    steps = [0.0, 3.0, 7.0, 12.0, 20.0, 34.0]
    for k in range(len(steps) - 1):
        middle = (k + 0.5) / (len(steps) - 1)
        tone = mix(low, high, middle**0.7)
        veil = Pattern(
            kind="noise",
            second=mix(tone, (1, 1, 1), 0.75 if cloudy else 0.1),
            scale=(0.05, 0.16, 0.1),
            offset=(mood.between(0, 9), 0, 0),
            ramp=(0.45, 0.75),
            inputs=(("Scale", 1.2), ("Detail", 6)),
        )
        tall = steps[k + 1] - steps[k]
        panel(130, tall, material(tone, rough=1.0, emit=strength, pattern=veil), (0, 58, steps[k] + tall / 2 - 1.5))


def sea(mood: Mood) -> Seen:
    low, high, water = mood.rng.choice(
        [
            ("dfeffa", "6fb0e6", "2f8fae"),
            ("ffe0b8", "8fb8dc", "3a7f96"),
            ("ffc48a", "e88f86", "5a6f96"),
            ("e8f4f6", "9fd0e8", "4fb0b8"),
        ]
    )
    _horizon(mood, rgb(low), rgb(high), 0.75)
    waves = Pattern(
        kind="noise",
        second=mix(rgb(water), (1, 1, 1), 0.35),
        scale=(0.5, 2.2, 1),
        ramp=(0.5, 0.8),
        bump=0.7,
        inputs=(("Scale", 1.1), ("Detail", 7)),
    )
    sheet(
        [[(-60, 6.5, 0.25), (60, 6.5, 0.25)], [(-60, 57, 0.3), (60, 57, 0.3)]],
        material(rgb(water), rough=0.12, coat=0.6, pattern=waves),
    )
    for k in range(3):
        foam = [(-9 + 0.6 * i, 6.5 + 1.3 * k + 0.25 * math.sin(i * 0.7 + k), 0.3) for i in range(31)]
        tube(foam, 0.05, matte((0.9, 0.93, 0.95)))
    return rgb(low), 0.8


def sky(mood: Mood) -> Seen:
    low, high = mood.rng.choice(
        [("eaf3fb", "5f9fe0"), ("ffe6cc", "8fb0dc"), ("dcecf6", "8fc0ea"), ("ffd8c4", "b0a0d0")]
    )
    _horizon(mood, rgb(low), rgb(high), 0.8)
    return rgb(low), 0.8


def hills(mood: Mood) -> Seen:
    """Ranges of hills, paler with distance."""
    low, high, near = mood.rng.choice(
        [("f2ead8", "8fb8dc", "4f6f4a"), ("ffd9b0", "a89fc8", "5a4f6a"), ("e4eef4", "86b4dc", "3f5f6f")]
    )
    _horizon(mood, rgb(low), rgb(high), 0.75)
    for k in range(4):
        phase, y = mood.between(0, 6), 14 + 9 * k
        tone = mix(rgb(near), rgb(low), 0.2 + 0.2 * k)
        tops = [
            (
                -45 + 1.5 * i,
                y,
                1.2
                + 1.5 * k
                + (1.0 + 0.5 * k)
                * (math.sin(0.21 * i + phase) + 0.4 * math.sin(0.63 * i + 2 * phase) + 0.12 * math.sin(2.1 * i)),
            )
            for i in range(61)
        ]
        sheet([[(x, y, -3) for x, _, _ in tops], tops], matte(tone, emit=0.25))
    return rgb(low), 0.8


def woods(mood: Mood) -> Seen:
    """Trunks and leaves before a wood out of focus."""
    tones = mood.rng.choice(
        [("4f7a2f", "7fa53f", "3a6426"), ("6f8f3a", "a3b04a", "4f6f2a"), ("3f6f4a", "5f9a5f", "2f5a3a")]
    )
    for _ in range(mood.rng.randrange(2, 6)):
        x, y = mood.rng.choice([-1, 1]) * mood.between(1.2, 6), mood.between(5, 11)
        turned(
            [(mood.between(0.2, 0.4), -1), (mood.between(0.15, 0.3), 9)],
            matte(mood.pick("4a3a2a", "6a5540", "3a3028")),
            (x, y, 0),
            sides=16,
        )
    for _ in range(mood.rng.randrange(16, 26)):
        x, y, z = mood.between(-6, 6), mood.between(4, 9), mood.between(0.0, 4.6)
        foliage(mood, (x, y, z), mood.between(0.7, 1.3), 24, tones, size=0.45)
    for _ in range(9):
        light_disc(
            mood,
            mix(rgb("fff3c4"), rgb(tones[1]), mood.between(0.2, 0.8)),
            mood.between(0.15, 0.45),
            0.35,
            (mood.between(-6, 6), 9.5, mood.between(0.5, 6)),
        )
    return mood.rng.choice(["forest", "courtyard", "forest"]), mood.between(1.4, 2.2)


def light_disc(mood: Mood, color: RGB, radius: float, opacity: float, at: tuple[float, float, float]) -> None:
    """One light out of focus: an even disc with a brighter rim, as lenses draw it."""
    disc = cylinder(radius, 0.004, glow(color, mood.between(1.5, 4), opacity), at, edge=0.0)
    disc.rotation_euler = (math.pi / 2, 0, 0)
    disc.visible_diffuse = disc.visible_shadow = False


def bokeh(mood: Mood) -> Seen:
    """Large bright lights out of focus before the dark."""
    base = mood.pick("14131c", "1c120e", "0e1a22", "2a1020", "10201a", "3a2416")
    wall(matte(base), away=9)
    schemes = (
        ("ffd08a", "ffb45a", "ffe6c0"),
        ("ffd08a", "ff8f8f", "fff0d8"),
        ("8fd0ff", "c0a0ff", "ffffff"),
        ("ffd08a", "8fe0a0", "ff7f7f", "8fb8ff"),
    )
    tones, size = mood.rng.choice(schemes), mood.between(0.8, 1.5)
    for _ in range(mood.rng.randrange(32, 60)):
        y = mood.between(4.5, 8.5)
        light_disc(
            mood,
            vary(rgb(mood.rng.choice(tones)), mood.rng),
            size * mood.between(0.12, 0.42),
            mood.between(0.35, 0.8),
            (mood.between(-6, 6), y, mood.between(-0.3, 5.6)),
        )
    return DARK


def city(mood: Mood) -> Seen:
    """A street at dusk: dark fronts, lit windows, lamps out of focus."""
    low, high = mood.rng.choice([("d88f7a", "34406a"), ("5a6a96", "141a34"), ("e8b48a", "5a6a9a")])
    _horizon(mood, rgb(low), rgb(high), 0.6, cloudy=False)
    x = -11.0
    while x < 11:
        wide, tall, y = mood.between(1.2, 2.4), mood.between(3, 8), mood.between(9, 13)
        box((wide, 1, tall), matte(mood.pick("20242e", "2c2a30", "1a2028")), (x, y, 0), edge=0.0)
        for _ in range(14):
            panel(
                0.16,
                0.24,
                glow(mood.pick("ffd9a0", "ffe8c8", "ffc070"), mood.between(1, 4)),
                (x + mood.between(-0.42, 0.42) * wide, y - 0.52, mood.between(0.3, 0.95) * tall),
            )
        x += wide + mood.between(0.0, 0.4)
    for _ in range(20):
        light_disc(
            mood,
            mood.pick("ffd08a", "ff8f5a", "ffe6c0", "ff5a5a", "8fd0ff"),
            mood.between(0.12, 0.36),
            mood.between(0.4, 0.8),
            (mood.between(-6, 6), mood.between(5, 8), mood.between(0.1, 2.6)),
        )
    return rgb(high), 0.5
