"""Label art: a word mark, the product's name and one motif, laid out like packaging. Pictures only, no Blender."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFont

from caig_scenes.colors import RGB, code, ink_on, lightness, mix

# Fonts come from PyPI packages (all under the SIL Open Font License), so that every machine sets the same text.
FONTS = {
    "serif": ("font_source_serif_pro", "SourceSerifPro-Semibold.ttf"),
    "italic": ("font_source_serif_pro", "SourceSerifPro-BoldIt.ttf"),
    "black serif": ("font_source_serif_pro", "SourceSerifPro-Black.ttf"),
    "round": ("font_fredoka_one", "FredokaOne-Regular.ttf"),
    "hand": ("font_amatic_sc", "AmaticSC-Bold.ttf"),
    "bold": ("font_manrope", "Manrope-ExtraBold.ttf"),
    "light": ("font_manrope", "Manrope-Light.ttf"),
    "text": ("font_manrope", "Manrope-Medium.ttf"),
}
MARKS = ("serif", "italic", "black serif", "round", "hand", "bold", "light")


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a label says and its colours: `paper` below, `ink` for words, `accent` and `second` for the motif."""

    brand: str
    name: str
    paper: RGB
    accent: RGB
    second: RGB
    motif: str
    mark: str

    @property
    def ink(self) -> RGB:
        """The accent where it reads on the paper, else near black or near white."""
        contrast = abs(lightness(self.accent) - lightness(self.paper))
        return self.accent if contrast > 45 else ink_on(self.paper)


class Sheet:
    """A drawing in units of its own height, the origin in the middle of the front; drawn at twice the size."""

    def __init__(self, label: Label, aspect: float, height: int, face: float) -> None:
        self.label, self.unit, self.face = label, 2 * height, face
        self.width = max(1, round(self.unit * aspect))
        self.image = Image.new("RGB", (self.width, self.unit), f"#{code(label.paper)}")
        self.draw = ImageDraw.Draw(self.image)

    def at(self, *places: tuple[float, float]) -> list[tuple[float, float]]:
        return [(self.width / 2 + x * self.unit, self.unit / 2 + y * self.unit) for x, y in places]

    def span(self) -> float:
        """Half the width in units."""
        return self.width / self.unit / 2

    def polygon(self, places: list[tuple[float, float]], color: RGB) -> None:
        self.draw.polygon(self.at(*places), fill=f"#{code(color)}")

    def disc(self, x: float, y: float, radius: float, color: RGB, outline: float = 0.0) -> None:
        (low, high) = self.at((x - radius, y - radius), (x + radius, y + radius))
        paint = f"#{code(color)}"
        if outline:
            self.draw.ellipse([low, high], outline=paint, width=max(1, round(outline * self.unit)))
        else:
            self.draw.ellipse([low, high], fill=paint)

    def bar(self, top: float, bottom: float, color: RGB, left: float | None = None, right: float | None = None) -> None:
        left, right = -self.span() if left is None else left, self.span() if right is None else right
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], color)

    def text(self, words: str, y: float, height: float, color: RGB, face: str, wide: float | None = None) -> None:
        """One line centred on y, at most `wide` units wide (the face's width by default)."""
        wide = 0.86 * self.face if wide is None else wide
        size = height * self.unit
        size *= min(1.0, wide * self.unit / max(1.0, font(face, 100).getlength(words) * size / 100))
        (place,) = self.at((0, y))
        self.draw.text(place, words, font=font(face, max(6, round(size))), fill=f"#{code(color)}", anchor="mm")

    def finished(self) -> Image.Image:
        return self.image.resize((max(1, self.width // 2), self.unit // 2), Image.Resampling.LANCZOS)


@cache
def font(name: str, size: int) -> ImageFont.FreeTypeFont:
    package, file = FONTS[name]
    return ImageFont.truetype(Path(importlib.import_module(package).__file__ or "").parent / "files" / file, size)


def draw_label(
    label: Label, aspect: float, *, height: int = 320, face: float | None = None, seed: int = 0
) -> Image.Image:
    """The label as a picture of `height` pixels and width/height `aspect`. Words stay within the `face`, a width in
    heights around the middle: on a wrapped label that is what the camera sees."""
    sheet = Sheet(label, aspect, height, aspect if face is None else min(face, aspect))
    MOTIFS[label.motif](sheet, Random(f"{seed} {label.motif} {label.brand}"))
    return sheet.finished()


def _words(sheet: Sheet, y: float, size: float, color: RGB, small: RGB | None = None) -> None:
    """The word mark and the product's name below it."""
    label = sheet.label
    brand = label.brand if label.mark in ("italic", "round", "serif") else label.brand.upper()
    sheet.text(brand, y, size * (1.35 if label.mark == "hand" else 1), color, label.mark)
    sheet.text(label.name, y + size * 0.85, size * 0.34, small or color, "text")


def _band(sheet: Sheet, rng: Random) -> None:
    label, deep = sheet.label, rng.uniform(0.16, 0.26)
    sheet.bar(0.5 - deep, 0.5, label.accent)
    sheet.bar(-0.5, -0.44, label.accent)
    sheet.bar(0.485 - deep, 0.495 - deep, label.second)
    _words(sheet, -0.12, 0.2, label.ink)
    sheet.text(
        rng.choice(["NATURAL", "ORIGINAL", "PREMIUM", "FINEST QUALITY", "EST. 1924", "SMALL BATCH"]),
        0.5 - deep / 2,
        0.06,
        ink_on(label.accent),
        "bold",
    )


def _emblem(sheet: Sheet, rng: Random) -> None:
    label, size = sheet.label, min(0.2, sheet.face * 0.26)
    sheet.disc(0, -0.2, size, label.accent)
    icon = rng.choice(["sun", "leaf", "drop", "peak"])
    inner = label.paper if abs(lightness(label.paper) - lightness(label.accent)) > 25 else ink_on(label.accent)
    if icon == "sun":
        for k in range(12):
            a = k * math.pi / 6
            sheet.polygon(
                [
                    (0.75 * size * math.cos(a), -0.2 + 0.75 * size * math.sin(a)),
                    (0.35 * size * math.cos(a + 0.25), -0.2 + 0.35 * size * math.sin(a + 0.25)),
                    (0.35 * size * math.cos(a - 0.25), -0.2 + 0.35 * size * math.sin(a - 0.25)),
                ],
                inner,
            )
        sheet.disc(0, -0.2, size * 0.3, inner)
    elif icon == "leaf":
        _leaf(sheet, 0, -0.2 + size * 0.7, size * 1.4, -math.pi / 2, inner)
    elif icon == "drop":
        sheet.disc(0, -0.16, size * 0.42, inner)
        sheet.polygon([(-size * 0.4, -0.2), (size * 0.4, -0.2), (0, -0.2 - size * 0.75)], inner)
    else:
        sheet.polygon(
            [(-size * 0.7, -0.2 + size * 0.45), (-size * 0.15, -0.2 - size * 0.6), (size * 0.2, -0.2 + size * 0.45)],
            inner,
        )
        sheet.polygon(
            [(-size * 0.1, -0.2 + size * 0.45), (size * 0.3, -0.2 - size * 0.2), (size * 0.7, -0.2 + size * 0.45)],
            inner,
        )
    _words(sheet, 0.15, 0.17, label.ink)
    sheet.bar(0.44, 0.5, label.accent)


def _stripes(sheet: Sheet, rng: Random) -> None:
    label, step, slope = sheet.label, rng.uniform(0.1, 0.2), rng.choice([0.0, 0.35, 0.7])
    x = -sheet.span() - 1
    while x < sheet.span() + 1:
        sheet.polygon([(x, -0.5), (x + step / 2, -0.5), (x + step / 2 + slope, 0.5), (x + slope, 0.5)], label.accent)
        x += step
    half = min(0.46 * sheet.face, 0.5)
    sheet.bar(-0.24, 0.24, label.paper, -half, half)
    _words(sheet, -0.05, 0.18, label.ink)


def _shapes(sheet: Sheet, rng: Random) -> None:
    """Large overlapping cut-outs, as in modern coffee and snack packaging."""
    label = sheet.label
    tones = [label.accent, label.second, mix(label.accent, label.paper, 0.5)]
    for k in range(max(4, round(9 * sheet.span()))):
        x, y = (
            rng.uniform(-sheet.span(), sheet.span()),
            rng.choice([rng.uniform(0.12, 0.5), rng.uniform(0.2, 0.5), -0.46]),
        )
        radius = rng.uniform(0.1, 0.26)
        if rng.random() < 0.6:
            sheet.disc(x, y, radius, tones[k % 3])
        else:
            turn = rng.uniform(0, 6)
            sheet.polygon(
                [(x + radius * math.cos(turn + a), y + radius * math.sin(turn + a)) for a in (0, 1.6, 3.1, 4.7)],
                tones[k % 3],
            )
    sheet.bar(-0.3, 0.08, label.paper, -0.5 * sheet.face, 0.5 * sheet.face)
    _words(sheet, -0.16, 0.2, label.ink)


def _landscape(sheet: Sheet, rng: Random) -> None:
    label, wide = sheet.label, sheet.span()
    sheet.disc(rng.uniform(-0.2, 0.2) * sheet.face, 0.16, min(0.17, sheet.face * 0.2), label.second)
    for k, tone in enumerate(
        (mix(label.accent, label.paper, 0.55), mix(label.accent, label.paper, 0.25), label.accent)
    ):
        phase, base = rng.uniform(0, 6), 0.16 + 0.1 * k
        points = [
            (-wide + i * wide / 30, base + 0.06 * math.sin(phase + i * wide / 4) + 0.02 * math.sin(3 * phase + i))
            for i in range(61)
        ]
        sheet.polygon([*points, (wide, 0.5), (-wide, 0.5)], tone)
    _words(sheet, -0.27, 0.19, label.ink)


def _botanical(sheet: Sheet, rng: Random) -> None:
    label = sheet.label
    tones = [label.accent, mix(label.accent, label.paper, 0.4), label.second]
    for _ in range(max(14, round(44 * sheet.span()))):
        x, y = rng.uniform(-sheet.span(), sheet.span()), rng.choice([rng.uniform(-0.55, -0.3), rng.uniform(0.26, 0.55)])
        _leaf(sheet, x, y, rng.uniform(0.14, 0.26), rng.uniform(0, 6.3), rng.choice(tones))
    half = min(0.44 * sheet.face, 0.6)
    sheet.bar(-0.24, 0.24, label.paper, -half, half)
    _words(sheet, -0.05, 0.18, label.ink)


def _dots(sheet: Sheet, rng: Random) -> None:
    """A halftone that swells towards the bottom."""
    label, step = sheet.label, rng.uniform(0.07, 0.1)
    for row in range(int(0.62 / step)):
        y = 0.5 - row * step
        columns = int(2 * sheet.span() / step) + 2
        for column in range(columns):
            sheet.disc(
                -sheet.span() + (column + (row % 2) / 2) * step,
                y,
                step * 0.5 * max(0.0, 1 - row * step / 0.6),
                label.accent,
            )
    _words(sheet, -0.24, 0.2, label.ink)


def _split(sheet: Sheet, rng: Random) -> None:
    label, cut = sheet.label, rng.uniform(-0.08, 0.1)
    slope = rng.choice([0.0, 0.16]) * rng.choice([-1, 1])
    wide = sheet.span()
    sheet.polygon([(-wide, cut - slope * wide), (wide, cut + slope * wide), (wide, 0.5), (-wide, 0.5)], label.accent)
    sheet.text(
        label.brand.upper() if label.mark in ("bold", "light") else label.brand, cut - 0.22, 0.2, label.ink, label.mark
    )
    sheet.text(label.name, cut + 0.2, 0.085, ink_on(label.accent), "bold")
    sheet.text(
        rng.choice(["with love", "no. 7", "since 1987", "pure & simple", "made to share"]),
        cut + 0.31,
        0.07,
        ink_on(label.accent),
        "italic",
    )


def _plain(sheet: Sheet, rng: Random) -> None:
    """Quiet and expensive: a frame, a small mark, much air."""
    label = sheet.label
    half = min(0.42 * sheet.face, 0.5)
    (low, high) = sheet.at((-half, -0.4), (half, 0.4))
    sheet.draw.rectangle([low, high], outline=f"#{code(label.ink)}", width=max(2, round(0.008 * sheet.unit)))
    _words(sheet, -0.04, rng.uniform(0.13, 0.17), label.ink)
    sheet.bar(0.2, 0.208, label.ink, -0.12 * sheet.face, 0.12 * sheet.face)


def _leaf(sheet: Sheet, x: float, y: float, size: float, angle: float, color: RGB) -> None:
    """A pointed leaf from (x, y) towards `angle`."""
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    side = [(t, 0.24 * math.sin(math.pi * t) ** 0.8) for t in (0, 0.1, 0.25, 0.45, 0.65, 0.85, 1)]
    outline = [*side, *((t, -w) for t, w in reversed(side))]
    sheet.polygon(
        [(x + size * (t * along[0] + w * across[0]), y + size * (t * along[1] + w * across[1])) for t, w in outline],
        color,
    )


MOTIFS: dict[str, Callable[[Sheet, Random], None]] = {
    "band": _band, "emblem": _emblem, "stripes": _stripes, "shapes": _shapes, "landscape": _landscape,
    "botanical": _botanical, "dots": _dots, "split": _split, "plain": _plain,
}  # fmt: skip
