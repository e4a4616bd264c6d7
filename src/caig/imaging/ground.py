"""Which pixels of a photo on a plain ground are the product: the ground is modelled, what differs is the product.

Three things on the ground differ from it and are still ground: JPEG specks, soft shadows, mirror reflections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.outline import straighten
from caig.imaging.reflection import mirror_image
from caig.types import Pixels

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
RING = 0.02  # width of the border ring over the shorter side
PLAIN_SHARE = 0.6  # of the ring that must fit the model
MOST_NOISE = 6.0  # levels
LEAST = 4.5  # levels of difference that an even area needs: white paper on white has 7, JPEG blocks up to 4
STRONG = 30.0  # levels of difference that JPEG ringing does not reach


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A plain ground: `colour` f32[H, W, 3] in levels, `noise` its deviation, `share` of the border it fits."""

    colour: Floats
    noise: float
    share: float

    @property
    def plain(self) -> bool:
        """Whether the border is uniform enough to trust."""
        return self.share >= PLAIN_SHARE and self.noise <= MOST_NOISE


def model_ground(image: Pixels) -> Ground:
    """Fit a smooth (quadratic) colour to the photo's border, robust to a product that touches it."""
    ring = _ring(image.shape[:2])
    ground, inliers = _fit(image, ring)
    noise = _spread((image.astype(np.float32) - ground)[inliers])
    return Ground(colour=ground, noise=noise, share=float(inliers.sum() / ring.sum()))


def segment(image: Pixels, ground: Ground) -> Mask:
    """bool[H, W], True = product: differs from the ground, holes filled, specks, shadows and reflections removed."""
    differs = difference(image, ground)
    mask = _solid(_evidence(differs, threshold(ground)))
    mask = mask & ~soft_shadow(image, ground, mask)
    mask = mask & ~mirror_image(differs, mask)
    mask = _even_outline(mask, differs > STRONG)
    mask = sensible_parts(_solid(straighten(mask) | (mask & (differs > 2 * STRONG))))
    return mask & ~through_holes(differs, mask, ground)


def difference(image: Pixels, ground: Ground) -> Floats:
    """Distance from the ground in levels, largest channel; a 3x3 median takes JPEG specks away."""
    distance = np.abs(image.astype(np.float32) - ground.colour).max(2)
    return cv2.medianBlur(distance, 3)


def threshold(ground: Ground) -> float:
    """Levels of difference that count: above the noise, below the faint edge of white paper on white."""
    return float(np.clip(4 * ground.noise, LEAST, 24))


def soft_shadow(image: Pixels, ground: Ground, mask: Mask) -> Mask:
    """Parts of `mask` that are ground in shadow: the ground's hue, darker, reached from outside without crossing an
    edge, and themselves without a sharp outline."""
    light = image.astype(np.float32).mean(2) / np.maximum(ground.colour.mean(2), 1)
    ratios = image.astype(np.float32) / np.maximum(ground.colour, 1)
    neutral = (np.ptp(ratios, 2) < 0.05) & (light > 0.45) & (light < 1.02)
    differs = difference(image, ground)
    slope = _gradient(image)
    steep = slope > 1.5 + 0.15 * differs  # faint paper has faint but, for its contrast, steep edges
    passable = (neutral & ~steep) | ~mask
    reached = _connected_to(passable, ~mask) & mask
    shadow = _ramps(_open(reached, 1), mask, differs)
    return shadow | (_grow(shadow, 4) & mask & neutral & (slope < 12))  # its darkest part, at the contact


def through_holes(differs: Floats, mask: Mask, ground: Ground) -> Mask:
    """Enclosed areas where the ground shows through, as in a mug's handle: broad, as even as the ground itself, and
    with a sharp rim all around, which blown-out highlights do not have."""
    like = mask & (differs <= max(1.0, 3 * ground.noise))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(_open(like, 2).astype(np.uint8), connectivity=4)
    holes = np.zeros_like(mask)
    for label in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= max(0.01 * mask.sum(), 40))[1:]:
        area = labels == label
        rim = _grow(area, 5) & ~_grow(area, 4)
        if np.percentile(differs[rim], 15) > STRONG:
            holes |= _grow(area, 2) & (differs <= threshold(ground))
    return holes


def faint_remainder(image: Pixels, ground: Ground, mask: Mask) -> float:
    """Area that differs from the ground too faintly to be cut out, over the area of `mask`: product that is lost.

    Areas with a darker heart are shadows, and in the lowest quarter they end: neither counts.
    """
    differs = difference(image, ground)
    rows = np.flatnonzero(mask.any(1))
    faint = _open((differs > max(1.2, 4 * ground.noise)) & ~_grow(mask, 2), 2)
    faint[int(rows[0] + 0.75 * np.ptp(rows)) :] = False
    count, labels = cv2.connectedComponents(faint.astype(np.uint8), connectivity=8)
    darkest = np.zeros(count, np.float32)
    np.maximum.at(darkest, np.asarray(labels, np.int64).ravel(), differs.ravel())
    return float((faint & (np.take(darkest, np.asarray(labels, np.int64)) < 3 * threshold(ground))).sum() / mask.sum())


def sensible_parts(mask: Mask) -> Mask:
    """Keep the largest part and every other of at least 2 % of its area: several fruits are one product."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.isin(labels, np.flatnonzero(areas >= max(0.02 * areas.max(), 1))) & mask if count > 1 else mask


def _ring(shape: tuple[int, ...]) -> Mask:
    width = max(2, round(RING * min(shape)))
    ring = np.ones(shape, bool)
    ring[width:-width, width:-width] = False
    return ring


def _fit(image: Pixels, where: Mask) -> tuple[Floats, Mask]:
    """Ground colour from the pixels `where`: constant when that fits most of them, else quadratic in x and y.

    Trimmed least squares of 1, x, y, x², xy, y²; returns the ground everywhere and the pixels it fits.
    """
    y, x = np.indices(image.shape[:2], np.float32)
    x, y = x / image.shape[1] - 0.5, y / image.shape[0] - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 2)
    pixels = image[where].astype(np.float32)
    flat = _trimmed(terms[where][:, :1], pixels)
    curved = _trimmed(terms[where], pixels)
    solution = flat if _fitting(flat, terms[where], pixels, 3).mean() >= PLAIN_SHARE else curved
    inliers = np.zeros(where.shape, bool)
    inliers[where] = _fitting(solution, terms[where], pixels, 12)
    return np.clip(terms[..., : len(solution)] @ solution, 0, 255).astype(np.float32), inliers


def _trimmed(design: Floats, pixels: Floats) -> Floats:
    """Least squares on the pixels that fit the last round; the first round starts from the median colour."""
    solution = np.zeros((design.shape[1], 3), np.float32)
    solution[0] = np.median(pixels, 0)
    for _ in range(8):
        residual = np.abs(pixels - design @ solution).max(1)
        keep = residual <= np.clip(4 * float(np.median(residual)), 3, 40)
        if keep.sum() < 30:
            break
        solution = np.linalg.lstsq(design[keep], pixels[keep], rcond=None)[0]
    return solution


def _fitting(solution: Floats, design: Floats, pixels: Floats, tolerance: float) -> Mask:
    return np.abs(pixels - design[:, : len(solution)] @ solution).max(1) <= tolerance


def _spread(residual: Floats) -> float:
    return float(1.4826 * np.median(np.abs(residual))) if residual.size else 255.0


def _gradient(image: Pixels) -> Floats:
    """Steepest channel's slope in levels a pixel."""
    smooth = cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32)
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, dx, dy, ksize=3) / 8 for dx, dy in ((1, 0), (0, 1))]
    return np.hypot(*slopes).max(2)


def _connected_to(passable: Mask, seeds: Mask) -> Mask:
    _, labels = cv2.connectedComponents(passable.astype(np.uint8), connectivity=4)
    touched = np.unique(labels[seeds & passable])
    return np.isin(labels, touched[touched > 0])


def _ramps(candidates: Mask, mask: Mask, differs: Floats) -> Mask:
    """Those candidate areas that reach down to the base and rise slowly from the ground: at their rim they differ far
    less than at their heart.

    White paper on white reaches its full (small) difference within a pixel or two, so it is no ramp.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(candidates.astype(np.uint8), connectivity=8)
    rows = np.flatnonzero(mask.any(1))
    low = rows[0] + 0.75 * np.ptp(rows) if rows.size else 0
    rim = candidates & _grow(~mask, 2)
    keep = np.zeros(count, bool)
    for label in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= 0.001 * mask.sum())[1:]:
        area = labels == label
        edge = differs[rim & area]
        gentle = edge.size >= 4 and float(np.median(edge)) < 0.4 * np.percentile(differs[area], 90)
        keep[label] = gentle and np.flatnonzero(area.any(1))[-1] >= low
    return np.take(keep, np.asarray(labels, np.int64)) & candidates


def _shrink(mask: Mask, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0


def _grow(mask: Mask, radius: int) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * radius + 1,) * 2, np.uint8)) > 0


def _open(mask: Mask, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    padded = np.pad(mask.astype(np.uint8), 2 * radius, mode="edge")  # a product may go on beyond the photo
    return cv2.morphologyEx(padded, cv2.MORPH_OPEN, kernel)[2 * radius : -2 * radius, 2 * radius : -2 * radius] > 0


def _evidence(differs: Floats, least: float) -> Mask:
    """Where a pixel is product: it differs strongly, borders on such a pixel, or lies in a broad, evenly faint area.

    JPEG ringing around a dark product differs as much as white paper on white, but in narrow specks.
    """
    beside = _grow(differs > 2 * STRONG, 1)
    share = cv2.GaussianBlur((~beside).astype(np.float32), (0, 0), 1.5)
    mean = cv2.GaussianBlur(differs * ~beside, (0, 0), 1.5) / np.maximum(share, 0.02)
    even = ~beside & (mean > least) & (differs > 0.7 * least)
    broad = _connected_to(even, _shrink(even, 3))
    blurred = cv2.GaussianBlur(np.minimum(differs, 4 * least), (0, 0), 2.0)
    bridged = _close(broad, 7) & (blurred > 0.7 * least)  # print near the outline splits the paper around it
    return (differs > STRONG) | broad | bridged | (beside & (differs > least))


def _even_outline(mask: Mask, strong: Mask) -> Mask:
    """Even out the outline where it rests on faint differences; strong ones, and nooks between them, stay as found."""
    padded = np.pad(mask.astype(np.float32), 8, mode="edge")
    smooth = cv2.GaussianBlur(padded, (0, 0), 2.0)[8:-8, 8:-8] > 0.5
    return (smooth & (mask | ~_grow(strong, 2))) | (mask & strong)


def _close(mask: Mask, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    padded = np.pad(mask.astype(np.uint8), 2 * radius)
    return cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel)[2 * radius : -2 * radius, 2 * radius : -2 * radius] > 0


def _solid(mask: Mask) -> Mask:
    """Close hairline gaps, fill what is enclosed, drop specks and threads."""
    outside = np.pad(_close(mask, 1).astype(np.uint8), 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    return _open(outside[1:-1, 1:-1] != 2, 1)
