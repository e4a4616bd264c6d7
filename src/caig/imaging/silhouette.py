"""What was painted around the product's silhouette: a continuation of it, or a box of its old ground.

Both are measured at one size, the product's longer side being `SIDE` pixels, so that the numbers mean the same on every
canvas.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.fill import extend
from caig.types import Alpha, Pixels

Floats = NDArray[Any]  # float32; cv2's own types say less
Mask = NDArray[np.bool_]
SIDE = 128  # pixels of the product's longer side while it is measured
TOUCHED = 0.02  # alpha of the softest pixel that still shows the product
RIM = 2  # pixels at the outline that belong to neither side
BAND = 8  # width of the band in which a continuation is looked for
FAR = ((14, 34), (36, 60))  # where the ground is its own: pixels from the outline; near, and beyond long continuations
CONTRAST = 14.0  # CIELAB units between product and ground from which a continuation can be told from ground
LIKENESS = 0.4  # of the way from the product's colour to the ground's
MARGIN = 30  # pixels around the product in which a box's edges are looked for
EVEN = 4.5  # CIELAB units: three quarters of a box's own ground deviate less
STEP = 6.0  # CIELAB units that a box's edge has


def extension(ad: Pixels, product: Alpha) -> float:
    """Share 0 to 1 of the band around the product that carries its silhouette on: outside, yet in the product's colour.

    A pixel of `ad` u8[H, W, 3] in the band counts when it is much nearer to the colour of the product just inside than
    to that of the ground further out, when these two differ, and when a chain of such pixels leads to the outline.
    Darker ground at the base is a shadow and does not count. Only the largest such patch counts; 0 without a product.
    """
    picture, alpha = at_side(ad, product)
    inside = alpha > 0.5
    if not inside.any() or inside.all():
        return 0.0
    away = cv2.distanceTransform((alpha < TOUCHED).astype(np.uint8), cv2.DIST_L2, 5)
    lab = to_lab(picture)
    near = nearest(lab, inside & (cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) > RIM))
    return max(_carried_on(lab, near, away, inside, ring) for ring in FAR)


def _carried_on(lab: Floats, near: Floats, away: Floats, inside: Mask, ring: tuple[int, int]) -> float:
    """`extension` against the ground in one ring around the product, `away` pixels from its outline."""
    there = (away > ring[0]) & (away < ring[1])
    if not there.any():
        return 0.0
    far = extend(lab, there)
    band = (away > RIM) & (away <= BAND)
    apart = np.linalg.norm(near - far, axis=2)
    like = band & (apart > CONTRAST) & (np.linalg.norm(lab - near, axis=2) < LIKENESS * apart)
    like &= ~_shaded(lab, far, inside)
    touching = (away > RIM) & (away <= RIM + 1.5) & like
    return _largest(like, touching) / max(int(band.sum()), 1)


def box(ad: Pixels, product: Alpha) -> float:
    """How clearly an upright box of one colour stands around the product, 0 to 1: the share of its edge that shows, on
    the weakest of the three sides that show best (the fourth may lie on the floor); 0 where nothing surrounds it.

    A side is a straight upright or level line outside the product, a step of at least 6 CIELAB units, with an even
    colour between it and the product.
    """
    picture, alpha = at_side(ad, product)
    inside = alpha > TOUCHED
    if not inside.any():
        return 0.0
    lab = cv2.GaussianBlur(to_lab(picture), (3, 3), 0)
    found = [_side(turned, mask) for turned, mask in _turns(lab, inside)]
    return float(sorted(found)[1])


def at_side(image: Pixels, alpha: Alpha) -> tuple[Pixels, Alpha]:
    """The product, its longer side `SIDE` pixels, with all of its surroundings that are looked at."""
    rows, columns = np.flatnonzero((alpha > 0.5).any(1)), np.flatnonzero((alpha > 0.5).any(0))
    if not rows.size:
        return image, alpha
    factor = SIDE / max(np.ptp(rows) + 1, np.ptp(columns) + 1)
    reach = round((FAR[-1][1] + 4) / factor)
    part = (
        slice(max(rows[0] - reach, 0), rows[-1] + 1 + reach),
        slice(max(columns[0] - reach, 0), columns[-1] + 1 + reach),
    )
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    size = tuple(max(8, round(length * factor)) for length in alpha[part].shape[::-1])
    return cv2.resize(image[part], size, interpolation=how), cv2.resize(alpha[part], size, interpolation=how)  # pyright: ignore


def to_lab(picture: Pixels) -> Floats:
    """u8[H, W, 3] sRGB to CIELAB f32[H, W, 3]: L 0 to 100."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def nearest(values: Floats, known: Mask) -> Floats:
    """`values` [H, W, C] everywhere taken from the nearest `known` pixel, of which 5x5 are averaged first."""
    if not known.any():
        return values
    weight = cv2.blur(known.astype(np.float32), (5, 5))[..., None]
    smooth = cv2.blur(values * known[..., None], (5, 5)) / np.maximum(weight, 1e-6)
    kind = cv2.DIST_LABEL_PIXEL
    _, labels = cv2.distanceTransformWithLabels((~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=kind)
    table = np.zeros((int(labels.max()) + 1, values.shape[2]), np.float32)
    table[labels[known]] = smooth[known]
    return table[labels]


def _shaded(lab: Floats, far: Floats, inside: Mask) -> Mask:
    """Ground in shadow in the lowest fifth of the product and below: darker than the ground, in its hue."""
    rows = np.flatnonzero(inside.any(1))
    low = np.arange(len(lab))[:, None] > rows[-1] - 0.2 * len(rows)
    share = np.clip(lab[..., :1] / np.maximum(far[..., :1], 1), 0, 1)
    hue = np.linalg.norm(lab[..., 1:] - share * far[..., 1:], axis=2)
    return low & (lab[..., 0] < far[..., 0]) & (hue < 8)


def _largest(like: Mask, touching: Mask) -> float:
    """Pixels of the largest patch of `like` that holds some of `touching`."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(like.astype(np.uint8), connectivity=4)
    found = np.unique(labels[touching])
    return float(stats[found[found > 0], cv2.CC_STAT_AREA].max(initial=0))


def _turns(lab: Floats, inside: Mask) -> list[tuple[Floats, Mask]]:
    """The picture turned so that each of the four sides of the product comes to lie above it."""
    return [(np.rot90(lab, k), np.rot90(inside, k)) for k in range(4)]


def _side(lab: Floats, inside: Mask) -> float:
    """The best level line above the product: the share of the product's width on which it is a step, with evenness."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    top, wide = rows[0], slice(columns[0], columns[-1] + 1)
    best = 0.0
    for row in range(max(3, top - MARGIN), top - 3):
        step = np.linalg.norm(lab[row + 2, wide] - lab[row - 2, wide], axis=1)
        between = lab[row + 2 : top - 1, wide]
        off = np.linalg.norm(between - np.median(between, (0, 1)), axis=2)
        best = max(best, float((step > STEP).mean()) * float(np.percentile(off, 75) < EVEN if off.size else False))
    return best
