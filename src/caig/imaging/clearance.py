"""Space that is kept clear for copy: where it lies, how calm it is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.errors import InputError
from caig.imaging.standing import LUMA
from caig.types import Box, Pixels, Size

SIDES = {
    "top": Box(x=0, y=0, w=1, h=0.3),
    "bottom": Box(x=0, y=0.75, w=1, h=0.25),
    "left": Box(x=0, y=0, w=0.4, h=1),
    "right": Box(x=0.6, y=0, w=0.4, h=1),
}


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


def unrest(image: Pixels, box: Box) -> float:
    """How restless u8[H, W, 3] is inside the box: the deviation of its luminance (0 to 1) from the plane that fits it
    best; 0 is one smooth gradient. The box's shorter side is averaged down to 64 pixels, so that grain does not count.
    """
    left, top, right, bottom = pixels_of(box, (image.shape[1], image.shape[0]))
    light = (image[top:bottom, left:right].astype(np.float32) @ LUMA) / 255
    factor = min(1.0, 64 / min(light.shape))
    size = tuple(max(2, round(length * factor)) for length in light.shape[::-1])
    light = np.asarray(cv2.resize(light, size, interpolation=cv2.INTER_AREA))
    return float((light - _plane(light)).std())


def _plane(values: NDArray) -> NDArray:
    y, x = np.indices(values.shape, np.float32)
    terms = np.stack([np.ones(values.size), x.ravel(), y.ravel()], 1)
    return (terms @ np.linalg.lstsq(terms, values.ravel(), rcond=None)[0]).reshape(values.shape)
