"""The surface at the product's base beside the product itself: is it as sharp, and as grainy?"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.standing import base_of, height_of
from caig.types import Alpha, Pixels

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
REACH = 0.4  # of the product's longer side: so far from its base the surface is looked at
FLAT = 0.5  # levels: below this a place has no detail, sharp or soft


def surface_of(alpha: Alpha) -> Mask:
    """Ground around the product's base: within 40 % of its longer side, not above the base, clear of the soft edge."""
    base = base_of(alpha)
    if not base.any():
        return base
    rows, columns = np.nonzero(base)
    long = max(height_of(alpha), int(np.ptp(columns)) + 1)
    close = cv2.distanceTransform((~base).astype(np.uint8), cv2.DIST_L2, 5) < max(REACH * long, 6)
    free = cv2.erode((alpha < 0.01).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return close & free & (np.arange(len(alpha))[:, None] >= rows.min())


def sharpness(image: Pixels | Floats, where: Mask) -> float:
    """Fine detail over coarse detail of `image` [H, W, 3] in levels inside `where`: what a blur takes away first.

    Root mean square of grey minus its Gaussian of deviation 1, over that of the Gaussian of 1 minus that of 3, half a
    level added to both so that an even surface counts as 1. Contrast cancels out.
    """
    grey = cv2.cvtColor(np.clip(image, 0, 255).astype(np.float32), cv2.COLOR_RGB2GRAY)
    once, thrice = cv2.GaussianBlur(grey, (0, 0), 1.0), cv2.GaussianBlur(grey, (0, 0), 3.0)
    return (_rms(grey - once, where) + FLAT) / (_rms(once - thrice, where) + FLAT)


def noise_level(image: Pixels, where: Mask) -> float:
    """Standard deviation of the pixel noise in levels, from the flattest quarter of 7x7 patches inside `where`.

    The Laplacian mask of Immerkaer, Fast noise variance estimation, 1996.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    energy = cv2.blur(cv2.filter2D(grey, -1, kernel) ** 2, (7, 7))
    values = energy[cv2.erode(where.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0) > 0]
    quiet = np.percentile(values, 25) if values.size else 0.0
    return float(np.sqrt(max(quiet, 0.0)))  # blur's running sums can round below 0


def matched(image: Pixels, product: Alpha) -> tuple[float, float]:
    """(sharpness, grain) of the surface at the base of the product over the product's own; 1 is a match."""
    ground, own = surface_of(product), _inner(product)
    if ground.sum() < 64 or own.sum() < 64:
        return 1.0, 1.0
    grain = (noise_level(image, ground) + FLAT) / (noise_level(image, own) + FLAT)
    return sharpness(image, ground) / sharpness(image, own), grain


def _inner(alpha: Alpha) -> Mask:
    return cv2.erode((alpha > 0.99).astype(np.uint8), np.ones((7, 7), np.uint8), borderValue=0) > 0


def _rms(values: Floats, where: Mask) -> float:
    return float(np.sqrt(np.mean(values[where] ** 2))) if where.any() else 0.0
