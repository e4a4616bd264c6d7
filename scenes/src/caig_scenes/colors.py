"""Colours as linear RGB in 0..1, the way Cycles wants them, written as sRGB hex, the way designers do."""

from __future__ import annotations

import colorsys
from random import Random

RGB = tuple[float, float, float]

# The names stand in product titles, so they are words that shoppers use.
NAMED = {
    "crimson": "b3202c", "coral": "f0725c", "amber": "e79a2b", "lemon": "f3d250", "olive": "7d8442",
    "emerald": "1f7a55", "teal": "1c7c86", "sky blue": "7fb8e6", "navy": "22345f", "violet": "7a56a8",
    "rose": "e69aa6", "ivory": "f1e8d4", "white": "f4f4f2", "charcoal": "34363b",
    "chocolate": "5b3a2b", "mint": "a8dcc3",
}  # fmt: skip
CREAM, WHITE, BLACK = "f6efe0", "f7f7f5", "1d1d20"
GOLD, SILVER, COPPER, STEEL = "d8b06a", "d5d7da", "c9825b", "9ea3a8"


def rgb(code: str) -> RGB:
    """Linear RGB of an sRGB hex code such as "f0725c"."""
    return tuple(_linear(int(code[i : i + 2], 16) / 255) for i in (0, 2, 4))  # type: ignore[return-value]


def code(color: RGB) -> str:
    """The sRGB hex code of a linear colour."""
    return "".join(f"{round(255 * _display(min(max(x, 0.0), 1.0))):02x}" for x in color)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`share` of `second`, the rest of `first`."""
    return tuple(a + (b - a) * share for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def shade(color: RGB, factor: float) -> RGB:
    """Darker (factor < 1) or lighter, clipped to 0..1."""
    return tuple(min(1.0, x * factor) for x in color)  # type: ignore[return-value]


def vary(color: RGB, rng: Random, amount: float = 0.12) -> RGB:
    """A neighbour of `color`: every channel scaled by 1 ± amount."""
    return tuple(min(1.0, x * rng.uniform(1 - amount, 1 + amount)) for x in color)  # type: ignore[return-value]


def turn_hue(color: RGB, turn: float, saturation: float, value: float) -> RGB:
    """Hue turned by `turn` of the circle, saturation and display value scaled."""
    h, s, v = colorsys.rgb_to_hsv(*(_display(x) for x in color))
    r, g, b = colorsys.hsv_to_rgb((h + turn) % 1, min(1.0, s * saturation), min(1.0, v * value))
    return _linear(r), _linear(g), _linear(b)


def lightness(color: RGB) -> float:
    """CIE L* in 0..100."""
    y = 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def ink_on(color: RGB) -> RGB:
    """Near white or near black, whichever reads on `color`."""
    return rgb(BLACK) if lightness(color) > 58 else rgb(CREAM)


def companion(color: RGB, rng: Random) -> RGB:
    """A second colour that goes with `color`: complement, neighbour, tint, shade or neutral."""
    choice = rng.choice(["complement", "neighbour", "tint", "shade", "neutral", "neutral"])
    if choice == "neutral":
        return rgb(rng.choice([CREAM, WHITE, BLACK, "e8dccb", GOLD]))
    turn = {"complement": 0.5, "neighbour": rng.choice([-0.09, 0.09])}.get(choice, 0.0)
    return turn_hue(color, turn, {"tint": 0.35}.get(choice, 0.9), {"tint": 1.6, "shade": 0.5}.get(choice, 1.0))


def _linear(x: float) -> float:
    return x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4


def _display(x: float) -> float:
    return 12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055
