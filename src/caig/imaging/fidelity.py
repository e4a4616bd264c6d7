"""How true the ad is to the photo: measured on the ad's pixels, not promised."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.clearance import unrest
from caig.imaging.compositing import core_mask
from caig.imaging.fill import extend
from caig.imaging.promises import broken
from caig.imaging.silhouette import box, extension
from caig.imaging.standing import LUMA, contact, surface_end
from caig.imaging.surface import matched
from caig.types import Canvas, Fidelity, Pixels

TOLERANCE = 4.0  # levels of grain and rounding that are no halo
REACH = 3  # pixels on either side of the outline


def measure(canvas: Canvas, ad: Pixels) -> Fidelity:
    """Compare `ad` u8[H, W, 3] with the laid-out photo."""
    core, product = core_mask(canvas.product), canvas.product
    area = int((product > 0.5).sum())
    sharpness, grain = matched(ad, product)
    found = Fidelity(
        core_exact=bool(np.array_equal(ad[core], canvas.image[core])),
        core_coverage=float((core & (product > 0.5)).sum() / area) if area else 0.0,
        halo=halo(canvas, ad),
        extension=extension(ad, product),
        box=box(ad, product),
        contact=contact(ad.astype(np.float32) @ LUMA / 255, product),
        overhang=surface_end(ad, product),
        sharpness=sharpness,
        grain=grain,
        unrest=None if canvas.clear is None else unrest(ad, canvas.clear),
    )
    return replace(found, broken=broken(found))


def halo(canvas: Canvas, ad: Pixels) -> float:
    """Light in the soft edge that neither side explains, mean over the edge, 0 to 1.

    An edge pixel mixes the product's colour just inside with the background's just outside, so its luminance lies
    between the two. What lies above both or below both, beyond 4 levels, is left from the old ground.
    """
    edge, inside, outside = _bands(canvas.product)
    if not edge.any():
        return 0.0
    light = ad.astype(np.float32) @ LUMA
    within = extend(light[..., None], inside)[..., 0]
    without = extend(light[..., None], outside)[..., 0]
    over = light - np.maximum(within, without)
    under = np.minimum(within, without) - light
    excess = np.maximum(np.maximum(over, under) - TOLERANCE, 0)
    return float(excess[edge].mean() / 255)


def psnr(first: Pixels, second: Pixels, where: NDArray[np.bool_]) -> float:
    """Peak signal-to-noise ratio in dB over the pixels `where`; 99 when equal."""
    difference = first[where].astype(np.float64) - second[where]
    error = float((difference**2).mean()) if difference.size else 0.0
    return 99.0 if error == 0 else min(99.0, 10 * np.log10(255**2 / error))


def _bands(alpha: NDArray[np.float32]) -> tuple[NDArray[np.bool_], ...]:
    """The edge (soft pixels and one on each side), the product just inside it, the ground just outside it."""
    solid, empty = (alpha >= 0.99).astype(np.uint8), (alpha <= 0.01).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    inner, outer = cv2.erode(solid, kernel, borderValue=1), cv2.erode(empty, kernel, borderValue=1)
    near = [cv2.dilate(side, kernel, iterations=REACH) > 0 for side in (solid, empty)]
    edge = (inner == 0) & (outer == 0) & near[0] & near[1]
    return edge, inner > 0, outer > 0
