"""Formats and their usual placements, what scale means in each, and room for copy that the product keeps out of."""

from __future__ import annotations

from dataclasses import replace

from caig.errors import InputError
from caig.types import Box, Placement, Size

PRESETS = {  # the sizes that ad platforms ask for under these names
    "1:1": (1080, 1080),
    "4:5": (1080, 1350),
    "9:16": (1080, 1920),
    "16:9": (1920, 1080),
    "1.91:1": (1200, 628),
    "medium-rectangle": (300, 250),
    "leaderboard": (728, 90),
    "skyscraper": (160, 600),
    "billboard": (970, 250),
}
SIDES = {
    "top": Box(x=0, y=0, w=1, h=0.3),
    "bottom": Box(x=0, y=0.75, w=1, h=0.25),
    "left": Box(x=0, y=0, w=0.4, h=1),
    "right": Box(x=0.6, y=0, w=0.4, h=1),
}
BANNER = 2.0  # longer side over shorter side, from which on a format is a banner
MOST_LENGTH = 0.5  # of a banner's length that a product takes up
GAP = 0.02  # of the canvas's shorter side between product and copy
SMALLEST = 0.6  # of the wanted scale: so far a product shrinks to make room for copy


def usual_placement(size: Size) -> Placement:
    """The placement where none is asked for: half the shorter side; larger in banners, which have little of it."""
    width, height = size
    if width > BANNER * height:
        return Placement(scale=0.8, x=0.5, y=0.92)
    if height > BANNER * width:
        return Placement(scale=0.6, x=0.5, y=0.75)
    return Placement()


def product_size(shape: tuple[int, int], size: Size, scale: float) -> float:
    """Factor by which a product of `shape` (W, H) in pixels is enlarged at `scale` on a canvas of `size` (W, H)."""
    wide, high = shape
    width, height = size
    if width > BANNER * height:
        return min(scale * height / high, MOST_LENGTH * width / wide)
    if height > BANNER * width:
        return min(scale * width / wide, MOST_LENGTH * height / high)
    return scale * min(size) / max(shape)


def out_of_the_way(shape: tuple[int, int], size: Size, placement: Placement, clear: Box) -> Placement:
    """The placement nearest to `placement` at which a product of `shape` (W, H) stays out of `clear`.

    It moves along one side of the canvas; where it fits nowhere it shrinks, to 60 % of its scale at least. Raises
    InputError when that is not enough.
    """
    scale = placement.scale
    while scale >= SMALLEST * placement.scale:
        factor = product_size(shape, size, scale)
        moves = _moves((shape[0] * factor, shape[1] * factor), size, replace(placement, scale=scale), clear)
        if moves:
            return min(moves, key=lambda to: abs(to.x - placement.x) * size[0] + abs(to.y - placement.y) * size[1])
        scale *= 0.95
    raise InputError(
        "keep-clear",
        expected="room for the product beside it",
        got=f"none at scale {placement.scale:g}",
        next_step="Keep less clear or lower the scale.",
    )


def _moves(product: tuple[float, float], size: Size, at: Placement, clear: Box) -> list[Placement]:
    """`at` itself where it is free, else the four moves that just leave `clear`, as far as they stay on the canvas."""
    (wide, high), (width, height) = product, size
    left, top, right, bottom = pixels_of(clear, size)
    gap = GAP * min(size)
    x = min(max(at.x * width, wide / 2), width - wide / 2)
    y = min(max(at.y * height, high), height)
    if x + wide / 2 <= left or x - wide / 2 >= right or y <= top or y - high >= bottom:
        return [replace(at, x=x / width, y=y / height)]
    to = [(left - gap - wide / 2, y), (right + gap + wide / 2, y), (x, top - gap), (x, bottom + gap + high)]
    fits = [(x, y) for x, y in to if wide / 2 <= x <= width - wide / 2 and high <= y <= height]
    return [replace(at, x=x / width, y=y / height) for x, y in fits]


def parse_clear(text: str) -> Box:
    """`"top"` or `"0.1,0.1,0.4,0.3"` (x, y, width, height over the canvas's sides) to a box. Raises InputError."""
    if text.strip() in SIDES:
        return SIDES[text.strip()]
    try:
        x, y, w, h = (float(part) for part in text.split(","))
    except ValueError:
        x = y = w = h = float("nan")
    if not (0 <= x and 0 <= y and 0 < w and 0 < h and x + w <= 1 + 1e-9 and y + h <= 1 + 1e-9):
        raise InputError(
            "keep-clear",
            expected=f"{', '.join(SIDES)}, or X,Y,W,H within 0 to 1, such as 0,0,1,0.3",
            got=repr(text),
            next_step="X,Y is the top left corner, W,H the size, over the canvas's width and height.",
        )
    return Box(x=x, y=y, w=w, h=h)


def pixels_of(box: Box, size: Size) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of the box on a canvas of `size` (W, H)."""
    width, height = size
    left, top = round(box.x * width), round(box.y * height)
    return left, top, max(left + 1, round((box.x + box.w) * width)), max(top + 1, round((box.y + box.h) * height))
