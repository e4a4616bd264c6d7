"""Straight edges of packages, put right where they were found ragged: white paper on white shows its edge barely."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
RAGGED = 4.0  # pixels that a straight edge may have strayed
LONG = 0.2  # of the product's longer side: shorter edges stay as they are
MOST_BOW = 1.0  # pixels; more is a curve


def straighten(mask: Mask) -> Mask:
    """Redraw long, nearly straight stretches of the outline of bool[H, W] as the straight lines that fit them best."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rows, columns = np.nonzero(mask)
    if not rows.size:
        return mask
    least = LONG * max(np.ptp(rows), np.ptp(columns))
    adds, cuts = np.zeros_like(mask), np.zeros_like(mask)
    for contour in contours:
        for stretch in _stretches(contour[:, 0].astype(np.float32)):
            if np.hypot(*(stretch[-1] - stretch[0])) >= least and not _on_border(stretch, mask.shape):
                _redraw(stretch, mask, adds, cuts)
    return (mask | adds) & ~cuts


def _stretches(points: Floats) -> list[Floats]:
    """The contour between the corners of a polygon that stays within RAGGED pixels of it."""
    corners = cv2.approxPolyDP(points[:, None], RAGGED, True)[:, 0]
    if len(corners) < 2:
        return []
    at = np.sort([int(np.abs(points - corner).sum(1).argmin()) for corner in corners])
    around = np.concatenate([points, points[: at[0] + 1]])
    ends = [*at, len(points) + at[0]]
    return [around[a : b + 1] for a, b in zip(ends[:-1], ends[1:], strict=True) if b - a > 2]


def _on_border(stretch: Floats, shape: tuple[int, ...]) -> bool:
    """Where the photo ends, its border is the edge."""
    x, y = np.median(stretch, 0)
    return min(x, y, shape[1] - 1 - x, shape[0] - 1 - y) < 2.5


def _redraw(stretch: Floats, mask: Mask, adds: Mask, cuts: Mask) -> None:
    """Fit a line to `stretch` and mark the pixels near it that it adds to and cuts from the mask."""
    start, way = stretch[0], stretch[-1] - stretch[0]
    length = float(np.hypot(*way))
    along, across = way / length, np.array([way[1], -way[0]], np.float32) / length
    t, u = (stretch - start) @ along, (stretch - start) @ across
    if abs(_robust_fit(t / length, u, 2)[2]) / 4 > MOST_BOW:
        return
    offset, slope, *_ = _robust_fit(t, u, 1)
    rows, columns = np.indices(mask.shape)
    x, y = columns - start[0], rows - start[1]
    position = x * along[0] + y * along[1]
    beyond = x * across[0] + y * across[1] - offset - slope * position  # > 0 on one side of the line
    inner = -1.0 if mask[(np.abs(beyond + 3) < 1) & _between(position, length)].mean() > 0.5 else 1.0
    near = _between(position, length) & (np.abs(beyond) <= RAGGED + 1)
    adds |= near & (beyond * inner > -0.5)  # contour points are the outermost pixels inside
    cuts |= near & (beyond * inner < -0.5)


def _between(position: Floats, length: float) -> Mask:
    return (position >= 1) & (position <= length - 1)


def _robust_fit(t: Floats, u: Floats, degree: int) -> Floats:
    """Polynomial u(t), lowest power first, by least squares with outliers weighted down (Cauchy, 0.7 pixels)."""
    design = np.stack([t**k for k in range(degree + 1)], 1)
    weight, solution = np.ones_like(u), np.zeros(degree + 1, np.float32)
    for _ in range(12):
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(design * root[:, None], u * root, rcond=None)[0]
        weight = 1 / (1 + ((u - design @ solution) / 0.7) ** 2)
    return solution
