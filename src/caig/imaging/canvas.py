"""Laying the product out: its size and place on an empty canvas, never stretched."""

from __future__ import annotations

import re

import cv2
import numpy as np

from caig.errors import InputError
from caig.imaging.edges import product_edges
from caig.imaging.fill import extend
from caig.imaging.placing import PRESETS, out_of_the_way, product_size, usual_placement
from caig.types import Alpha, Box, Canvas, Cutout, Pixels, Placement, Size

MIN_SIDE, MAX_SIDE = 64, 2048
MIN_PRODUCT = 8  # pixels of the product's longer side


def parse_size(text: str) -> Size:
    """`"1024x768"` to (1024, 768); one number means a square, a preset such as `"4:5"` its usual size. Raises
    InputError."""
    if text.strip() in PRESETS:
        return PRESETS[text.strip()]
    match = re.fullmatch(r"\s*(\d{1,6})\s*(?:[xX×*]\s*(\d{1,6})\s*)?", text)
    if not match:
        raise InputError(
            "size",
            expected=f"WIDTHxHEIGHT such as 1024x1024, or one of {', '.join(PRESETS)}",
            got=repr(text),
            next_step="Write both sides in pixels.",
        )
    return check_size((int(match[1]), int(match[2] or match[1])))


def check_size(size: Size) -> Size:
    """Return `size` when both sides lie in 64 to 2048, else raise InputError."""
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise InputError(
            "size",
            expected=f"sides of {MIN_SIDE} to {MAX_SIDE} pixels",
            got=f"{size[0]}x{size[1]}",
            next_step="Choose a size in this range.",
        )
    return size


def parse_position(text: str) -> tuple[float, float]:
    """`"0.5,0.8"` to (0.5, 0.8): the product's centre over the width, its base over the height. Raises InputError."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = float("nan")
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(
            "position",
            expected="X,Y with both from 0 to 1, such as 0.5,0.8",
            got=repr(text),
            next_step="X is the product's centre over the width, Y its base over the height.",
        )
    return x, y


def lay_out(cutout: Cutout, size: Size, placement: Placement | None = None, clear: Box | None = None) -> Canvas:
    """Place `cutout` on an empty canvas of `size` (width, height), out of the space `clear`.

    The product is what has alpha > 0.5; `Placement` says what its scale means. None: the format's usual placement.
    Colours are continued outside the product. Raises InputError when it would not lie on the canvas.
    """
    check_size(size)
    placement = placement or usual_placement(size)
    left, top, right, bottom = product_box(cutout.alpha)
    shape = right - left, bottom - top
    _check_scale(size, placement)
    if clear:
        placement = out_of_the_way(shape, size, placement, clear)
    image, alpha = _to_length(cutout, product_size(shape, size, placement.scale) * max(shape))
    left, top = _corner(product_box(alpha), size, placement)
    canvas_image, canvas_alpha = _paste(image, alpha, size, left, top)
    edges = product_edges(canvas_image, canvas_alpha)
    return Canvas(image=canvas_image, product=canvas_alpha, edges=edges, placement=placement, clear=clear)


def on_white(cutout: Cutout, side: int, margin: float = 0.05) -> Pixels:
    """The product centred on a white square, u8[side, side, 3]: what models see; `margin` of it stays free."""
    image, alpha = _to_length(cutout, side * (1 - 2 * margin))
    left, top, right, bottom = product_box(alpha)
    corner = (side - left - right) // 2, (side - top - bottom) // 2
    colours, weight = _paste(image, alpha, (side, side), *corner)
    white = colours * weight[..., None] + 255 * (1 - weight[..., None])
    return np.clip(white + 0.5, 0, 255).astype(np.uint8)


def product_box(alpha: Alpha) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of alpha > 0.5. Raises InputError when there is no product."""
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    if not rows.size:
        raise InputError(
            "cut-out", expected="a product", got="nothing with alpha above 0.5", next_step="Give another mask or photo."
        )
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def resize(image: Pixels, alpha: Alpha, factor: float) -> tuple[Pixels, Alpha]:
    """Scale by `factor`, both sides alike, with premultiplied alpha: area averages down, bicubic up.

    Colours outside the product are continued from inside; a soft edge keeps its width in pixels when enlarged.
    """
    height, width = alpha.shape
    size = max(1, round(width * factor)), max(1, round(height * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    premultiplied = cv2.resize(image.astype(np.float32) * alpha[..., None], size, interpolation=how)
    weight = cv2.resize(alpha.astype(np.float32), size, interpolation=how)
    straight = premultiplied / np.maximum(weight, 1e-3)[..., None]  # bicubic overshoot is in both, so it cancels
    colours = extend(np.clip(straight, 0, 255), np.clip(weight * 8 - 0.5, 0, 1))
    return np.clip(colours + 0.5, 0, 255).astype(np.uint8), _crisp(np.clip(weight, 0, 1).astype(np.float32), factor)


def _crisp(alpha: Alpha, factor: float) -> Alpha:
    """Undo the widening of soft edges by enlargement; wide translucent areas stay as they are."""
    if factor <= 1.2:
        return _snap(alpha)
    reach = np.ones((2 * round(2 * factor) + 1,) * 2, np.uint8)
    edge = (cv2.dilate(alpha, reach) > 0.95) & (cv2.erode(alpha, reach, borderValue=0) < 0.05)
    return _snap(np.where(edge, np.clip(0.5 + (alpha - 0.5) * min(factor, 4), 0, 1), alpha))


def _snap(alpha: Alpha) -> Alpha:
    return np.where(alpha > 0.992, 1, np.where(alpha < 0.008, 0, alpha)).astype(np.float32)


def _to_length(cutout: Cutout, length: float) -> tuple[Pixels, Alpha]:
    """Resize so that the product's longer side is `length` pixels; soft edges may take a second round."""
    factor = length / _longer(cutout.alpha)
    image, alpha = resize(cutout.image, cutout.alpha, factor)
    if abs(_longer(alpha) - length) > 1:
        image, alpha = resize(cutout.image, cutout.alpha, factor * length / _longer(alpha))
    return image, alpha


def _longer(alpha: Alpha) -> int:
    left, top, right, bottom = product_box(alpha)
    return max(right - left, bottom - top)


def _check_scale(size: Size, placement: Placement) -> None:
    lowest = MIN_PRODUCT / min(size)
    if not lowest <= placement.scale <= 1:
        raise InputError(
            "scale",
            expected=f"{lowest:.3g} to 1 on this canvas",
            got=f"{placement.scale:g}",
            next_step="It is the product's longer side over the canvas's shorter side.",
        )


def _corner(box: tuple[int, int, int, int], size: Size, placement: Placement) -> tuple[int, int]:
    """Where the resized cut-out's top left corner goes, so that its product stands at the placement."""
    wide, high = box[2] - box[0], box[3] - box[1]
    left = _inside("x", placement.x * size[0] - wide / 2, wide, size[0], wide / 2)
    top = _inside("y", placement.y * size[1] - high, high, size[1], high)
    return left - box[0], top - box[1]


def _inside(name: str, start: float, length: int, room: int, anchor: float) -> int:
    """Round `start` to a pixel that keeps the product on the canvas; two pixels of rounding are forgiven."""
    if start < -2 or start + length > room + 2 or length > room:
        low, high = anchor / room, (room - length + anchor) / room
        raise InputError(
            f"position {name}",
            expected=f"{low:.3f} to {high:.3f} for a product of this size",
            got=f"{(start + anchor) / room:g}",
            next_step=f"Change {name} or lower the scale.",
        )
    return min(max(round(start), 0), room - length)


def _paste(image: Pixels, alpha: Alpha, size: Size, left: int, top: int) -> tuple[Pixels, Alpha]:
    """Copy onto an empty canvas; what sticks out of it (soft margin only) is cut off. Colours continue outwards."""
    width, height = size
    canvas, weight = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    rows, columns = (
        slice(max(top, 0), min(top + alpha.shape[0], height)),
        slice(max(left, 0), min(left + alpha.shape[1], width)),
    )
    part = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    canvas[rows, columns], weight[rows, columns] = image[part], alpha[part]
    return canvas, weight
