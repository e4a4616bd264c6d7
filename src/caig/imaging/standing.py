"""Whether the product stands on something: the shadow where it touches, and the surface that it touches."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.fill import extend
from caig.imaging.silhouette import to_lab
from caig.types import Alpha, Pixels

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
LEAST_CONTACT = 0.08  # nine of ten products lifted off their ground in renders show less
LOOK = 192  # longer side in pixels of the picture in which the surface's end is looked for
NEAR, FAR = 0.02, (0.1, 0.3)  # of the product's longer side: of 36 tried, these part standing from lifted best
EDGE = 12.0  # CIELAB units between what is above and below the end of a surface


def contact(light: Floats, product: Alpha) -> float:
    """How much darker the ground right at the product's base is than the surface around it: 1 - near / far, at most 1,
    0 or less where there is no shadow; 0 where none of it can be seen. `light` f32[H, W] in 0 to 1."""
    near, far = surroundings(product)
    if near.sum() < 4 or far.sum() < 4:
        return 0.0
    return 1 - float(np.median(light[near])) / max(float(np.median(light[far])), 1e-3)


def surface_end(ad: Pixels, product: Alpha) -> float | None:
    """How far below the product's base the surface's far end lies, in product heights; negative: above, so that the
    product stands on the surface; positive: it hangs before what is behind the surface. None where no end is seen.

    The end is the strongest level step between what is above and below it, on both sides of the product. What the
    product hides is filled from around it.
    """
    factor = LOOK / max(product.shape)
    size = tuple(max(8, round(length * factor)) for length in product.shape[::-1])
    alpha = cv2.resize(product, size, interpolation=cv2.INTER_AREA)
    lab = to_lab(cv2.resize(ad, size, interpolation=cv2.INTER_AREA))  # pyright: ignore
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    if not rows.size:
        return None
    high, reach = np.ptp(rows) + 1, max(4, np.ptp(columns) // 2)
    hidden = cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    lab = np.where(hidden[..., None], extend(lab, ~hidden), lab)
    left = lab[:, max(columns[0] - reach, 0) : columns[0] + 1]
    right = lab[:, columns[-1] : columns[-1] + 1 + reach]
    steps = np.minimum(_steps(left, max(3, high // 8)), _steps(right, max(3, high // 8)))
    row = int(np.argmax(steps))
    return float((row - rows[-1]) / high) if steps[row] > EDGE else None


def base_of(alpha: Alpha) -> Mask:
    """The foot of the product: the lowest pixels of the columns that end near the lowest row."""
    inside = alpha > 0.5
    if not inside.any():
        return inside
    lowest = alpha.shape[0] - 1 - np.argmax(inside[::-1], 0)
    lowest = np.where(inside.any(0), lowest, -1)
    reach = max(2, round(0.07 * height_of(alpha)))
    foot = (lowest >= 0) & (lowest > lowest.max() - reach)
    thick = max(1, round(0.02 * height_of(alpha)))
    rows = np.arange(alpha.shape[0])[:, None]
    return inside & foot & (rows > lowest - thick)


def height_of(alpha: Alpha) -> int:
    """Rows from the product's top to its base."""
    rows = np.flatnonzero((alpha > 0.5).any(1))
    return int(rows[-1] - rows[0] + 1) if rows.size else 0


def surroundings(alpha: Alpha) -> tuple[Mask, Mask]:
    """Ground within 2 % of the product's longer side of its base, and the surface 10 to 30 % of it away from the
    product; both outside the product, not above its base."""
    base = base_of(alpha)
    if not base.any():
        return base, base
    rows, columns = np.nonzero(base)
    long = max(height_of(alpha), int(np.ptp(columns)) + 1)
    level = (alpha < 0.05) & (np.arange(len(alpha))[:, None] >= rows.min())
    away = cv2.distanceTransform((alpha < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    touching = cv2.distanceTransform((~base).astype(np.uint8), cv2.DIST_L2, 5) <= max(NEAR * long, 2.5)
    around = (away > FAR[0] * long) & (away < FAR[1] * long)
    around[round(rows.max() + FAR[1] * long) + 1 :] = False
    return touching & level, around & level


def _steps(strip: Floats, reach: int) -> Floats:
    """f[H]: CIELAB distance between the mean colours of the `reach` rows above and below each row of `strip`."""
    profile = strip.mean(1)
    total = np.concatenate([np.zeros((1, 3)), np.cumsum(profile, 0)])
    steps = np.zeros(len(profile), np.float32)
    rows = np.arange(reach, len(profile) - reach)
    above, below = (total[rows] - total[rows - reach]) / reach, (total[rows + reach] - total[rows]) / reach
    steps[rows] = np.linalg.norm(below - above, axis=1)
    return steps
