"""Which pixels of a photo on a plain ground are the product: the ground is modelled, what differs is the product.

Three things on the ground differ from it and are still ground: JPEG specks, soft shadows, mirror reflections.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.types import Pixels

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
RING = 0.02  # width of the border ring over the shorter side
PLAIN_SHARE = 0.6  # of the ring that must fit the model
MOST_NOISE = 6.0  # levels


@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """A plain ground: `colour` f32[H, W, 3] in levels, `noise` its standard deviation, `share` of the border it fits."""

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
    mask = _solid(differs > threshold(ground))
    mask = mask & ~soft_shadow(image, ground, mask)
    mask = mask & ~mirror_image(differs, mask)
    return sensible_parts(_solid(mask))


def difference(image: Pixels, ground: Ground) -> Floats:
    """Distance from the ground in levels, largest channel; a 3x3 median takes JPEG specks away."""
    distance = np.abs(image.astype(np.float32) - ground.colour).max(2)
    return cv2.medianBlur(distance, 3)


def threshold(ground: Ground) -> float:
    """Levels of difference that count: above the noise, below the faint edge of white paper on white."""
    return float(np.clip(4 * ground.noise, 4.5, 24))


def soft_shadow(image: Pixels, ground: Ground, mask: Mask) -> Mask:
    """Parts of `mask` that are ground in shadow: the ground's hue, darker, reached from outside without crossing an
    edge, and themselves without a sharp outline."""
    light = image.astype(np.float32).mean(2) / np.maximum(ground.colour.mean(2), 1)
    ratios = image.astype(np.float32) / np.maximum(ground.colour, 1)
    neutral = (np.ptp(ratios, 2) < 0.05) & (light > 0.45) & (light < 1.02)
    slope = _gradient(image)
    steep = slope > 1.5 + 0.15 * difference(image, ground)  # faint paper has faint but, for its contrast, steep edges
    passable = (neutral & ~steep) | ~mask
    reached = _connected_to(passable, ~mask) & mask
    return _softly_outlined(_open(reached, 1), mask, slope)


def mirror_image(differs: Floats, mask: Mask) -> Mask:
    """The part of `mask` below the product's base that fades into the ground like a reflection in a table."""
    return np.zeros_like(mask)


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
    """Trimmed least squares of 1, x, y, x², xy, y² on the pixels `where`; returns the ground and its inliers."""
    y, x = np.indices(image.shape[:2], np.float32)
    x, y = x / image.shape[1] - 0.5, y / image.shape[0] - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 2)
    pixels, design = image[where].astype(np.float32), terms[where]
    fitted = np.broadcast_to(np.median(pixels, 0), pixels.shape)
    for _ in range(6):
        residual = np.abs(pixels - fitted).max(1)
        keep = residual <= max(8.0, 3 * 1.4826 * float(np.median(residual)))
        keep &= residual <= 40
        if keep.sum() < 30:
            break
        solution = np.linalg.lstsq(design[keep], pixels[keep], rcond=None)[0]
        fitted = design @ solution
    inliers = np.zeros(where.shape, bool)
    inliers[where] = np.abs(pixels - fitted).max(1) <= 12
    return np.clip(terms @ solution, 0, 255).astype(np.float32), inliers


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


def _softly_outlined(candidates: Mask, mask: Mask, slope: Floats) -> Mask:
    """Those candidate areas whose border with the ground is mostly gentle."""
    count, labels = cv2.connectedComponents(candidates.astype(np.uint8), connectivity=8)
    rim = candidates & (cv2.dilate((~mask).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    keep = np.zeros(count, bool)
    for label in range(1, count):
        edge = slope[rim & (labels == label)]
        keep[label] = edge.size >= 4 and float((edge < 4).mean()) > 0.7
    return keep[labels] & candidates


def _open(mask: Mask, radius: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0


def _solid(mask: Mask) -> Mask:
    """Close hairline gaps, fill what is enclosed, drop specks and threads."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    closed = cv2.morphologyEx(np.pad(mask.astype(np.uint8), 4, mode="edge"), cv2.MORPH_CLOSE, kernel)[4:-4, 4:-4]
    outside = np.pad(closed, 1)
    cv2.floodFill(outside, None, (0, 0), 2)
    filled = outside[1:-1, 1:-1] != 2
    return _open(filled, 1)
