"""The mirror image that a shiny table shows below a product: found by its fading, and cut off at the product's base."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
STEP, JUMP = 3, 40.0  # the base: so many levels within so many rows
LEAST_LIGHT = 25.0  # levels that a reflection has below the base
LEAST_COLUMNS = 0.6  # of the product's columns that must show the mirror image


def mirror_image(differs: Floats, mask: Mask) -> Mask:
    """The part of `mask` below the base that is a reflection; empty when there is none.

    `differs` f32[H, W] is the distance from the ground in levels. In a column with a reflection it drops at the base,
    goes on weaker, and fades out instead of ending at an edge.
    """
    columns = np.flatnonzero(mask.sum(0) > 24)
    bases = np.array([_base_row(differs[:, x], mask[:, x]) for x in columns])
    shown = bases >= 0
    if not columns.size or shown.mean() < LEAST_COLUMNS:
        return np.zeros_like(mask)
    line = np.interp(np.arange(mask.shape[1]), columns[shown], _smooth(bases[shown]))
    return mask & (np.arange(mask.shape[0])[:, None] > line)


def _base_row(column: Floats, inside: Mask) -> int:
    """The last product row of a column with a reflection below, else -1.

    Going up from the lowest row, the reflection grows gently; the base is the first steep step.
    """
    rows = np.flatnonzero(inside)
    bottom, span = int(rows[-1]), int(rows[-1] - rows[0])
    profile = column[bottom - int(0.4 * span) : bottom + 1]
    steps = profile[:-STEP] - profile[STEP:]
    steep = np.flatnonzero(steps > JUMP)
    if not steep.size:
        return -1
    near = np.arange(max(0, steep[-1] - STEP), steep[-1] + 1)
    start = int(near[np.argmax(steps[near])])
    rest, above = profile[start + STEP :], float(profile[start])
    third = len(rest) // 3
    if third < max(2, span // 60) or rest[:third].mean() > 0.75 * above or rest[:third].mean() < LEAST_LIGHT:
        return -1
    fades = rest[-third:].mean() < 0.4 * rest[:third].mean()
    return bottom - len(profile) + 1 + start + STEP // 2 if fades else -1


def _smooth(bases: NDArray[np.int64]) -> Floats:
    """Median over 9 neighbouring columns."""
    padded = cv2.copyMakeBorder(bases.astype(np.float32)[None], 0, 0, 4, 4, cv2.BORDER_REPLICATE)[0]
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), 1).astype(np.float32)
