"""Cutting the product out of its photo: a mask, else the photo's alpha, else a plain ground.

Soft edges get alpha and foreground colours of their own, so that no light of the old ground comes along.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.errors import CutoutError, InputError, MissingExtraError
from caig.imaging.fill import extend
from caig.imaging.ground import Ground, faint_remainder, model_ground, segment
from caig.imaging.reading import Photo
from caig.types import Alpha, Cutout, Pixels

METHODS = ("auto", "plain-ground", "rembg")
LONGEST = 2560  # a canvas has at most 2048 a side: more photo than this is averaged down first
SEARCHED = 1024  # longer side at which a product is looked for on a plain ground
MARGIN = 3  # pixels kept around the product
LEAST, MOST = 0.005, 0.98  # share of the photo that a product can cover
MOST_LOST = 0.08  # of the product's area: more than JPEG blocks, less than a lid
CONTRAST = 25.0  # levels between product and ground at which colours and outline count alike for alpha
NOISE = 0.06  # of alpha: what JPEG ringing makes of full and empty pixels
Floats = NDArray[Any]  # float32; cv2's own types say less
NEXT = "Give a mask with --mask FILE (white on the product) or a PNG with a transparent ground."


def cut_out(photo: Photo, mask: Alpha | None = None, method: str = "auto", name: str = "photo") -> Cutout:
    """Cut the product out and crop to it.

    `mask` f32[H, W] (1 = product) wins over the photo's alpha, which wins over segmentation of a plain ground;
    `method` "plain-ground" or "rembg" overrides alpha. Raises CutoutError when no trustworthy cut-out can be made,
    MissingExtraError when rembg is not installed.
    """
    if method not in METHODS:
        raise InputError(
            "method", expected=f"one of {', '.join(METHODS)}", got=repr(method), next_step="Choose one of these."
        )
    photo, mask = _workable(photo, mask)
    if mask is not None:
        cutout = _from_mask(photo.image, mask, "mask", name)
    elif method == "rembg":
        cutout = _from_mask(photo.image, _rembg_mask(photo.image), "rembg", name)
    elif photo.alpha is not None and method == "auto":
        cutout = _from_alpha(photo.image, photo.alpha, name)
    else:
        cutout = _from_ground(photo.image, name)
    return _crop(cutout)


def _from_ground(image: Pixels, name: str) -> Cutout:
    """Find the product on a small version of the photo, then its soft edge at full size."""
    height, width = image.shape[:2]
    shrink = max(1.0, max(height, width) / SEARCHED)
    size = round(width / shrink), round(height / shrink)
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    ground = model_ground(small)
    if not ground.plain:
        got = f"a border of which {ground.share:.0%} fits one smooth colour (noise {ground.noise:.1f} levels)"
        raise CutoutError(name, expected="a product on a plain ground", got=got, next_step=NEXT)
    found = segment(small, ground)
    _trust(found, name)
    _complete(small, ground, found, name)
    inside = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    colour = cv2.resize(ground.colour, (width, height), interpolation=cv2.INTER_LINEAR)
    share = soft_share(image, inside, colour, round(shrink))
    share = np.where(_pinholes(share), np.float32(1), share)
    alpha = np.clip((share - NOISE) / (1 - 2 * NOISE), 0, 1).astype(np.float32)
    return Cutout(image=foreground(image, share, colour), alpha=_snap(alpha), source="plain-ground")


def _from_mask(image: Pixels, mask: Alpha, source: str, name: str) -> Cutout:
    if mask.shape != image.shape[:2]:
        raise CutoutError(
            name,
            expected=f"a mask of {image.shape[1]}x{image.shape[0]} pixels",
            got=f"{mask.shape[1]}x{mask.shape[0]}",
            next_step="Make the mask from the photo itself.",
        )
    _enough(mask, name)
    hard = ((mask > 0.02) & (mask < 0.98)).mean() < 1e-4
    alpha = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.7), np.float32) if hard else mask
    ground = extend(image, ~_grown(mask >= 0.02, 1))
    return Cutout(image=foreground(image, alpha, ground), alpha=_snap(alpha), source=source)


def _from_alpha(image: Pixels, alpha: Alpha, name: str) -> Cutout:
    """Cut-outs made elsewhere often carry their old ground in the soft edge: there the inside colour goes on."""
    _enough(alpha, name)
    solid = alpha >= 0.99
    near = cv2.dilate(solid.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    going_on = extend(image, solid if solid.any() else alpha > 0.5)
    replace = (near & ~solid) | (alpha < 0.02)
    colours = np.where(replace[..., None], going_on, image)
    return Cutout(image=_to_pixels(colours), alpha=_snap(alpha), source="alpha")


def soft_share(image: Pixels, inside: NDArray[np.bool_], ground: Floats, reach: int = 1) -> Alpha:
    """The product's share f32[H, W] in each pixel, 0 to 1, near the binary mask `inside`, which is good to `reach`.

    Where product and ground differ in colour, it is the share of the product's colour in the mixture; where they
    hardly differ (white on white), it follows the smoothed outline.
    """
    sure, away = _shrunk(inside, 2 * reach), ~_grown(inside, reach)
    across = extend(image, sure) - ground
    contrast = (across**2).sum(2)
    mixed = ((image.astype(np.float32) - ground) * across).sum(2) / np.maximum(contrast, 1)
    outline = (_smooth_outline(inside, reach) - 0.5) * 1.6 + 0.35
    weight = contrast / (contrast + CONTRAST**2)
    share = np.clip(weight * mixed + (1 - weight) * outline, 0, 1)
    return np.where(sure, 1, np.where(away, 0, share)).astype(np.float32)


def foreground(image: Pixels, alpha: Alpha, ground: NDArray) -> Pixels:
    """The product's own colours u8[H, W, 3]: photo = alpha x product + (1 - alpha) x ground, solved for the product.

    The inside colour goes on into the soft edge and is corrected by what it leaves unexplained (Forte, Approximate
    fast foreground colour estimation, 2021, with a known ground).
    """
    solid = alpha >= 0.99
    first = extend(image, solid if solid.any() else alpha > 0.5)
    share = alpha[..., None]
    rest = image - share * first - (1 - share) * ground
    colours = np.where(solid[..., None], image, first + share**2 * rest)
    return _to_pixels(colours)


def _smooth_outline(inside: NDArray[np.bool_], reach: int) -> Floats:
    padded = np.pad(inside.astype(np.float32), 4 * reach, mode="edge")
    return cv2.GaussianBlur(padded, (0, 0), float(reach))[4 * reach : -4 * reach, 4 * reach : -4 * reach]


def _complete(image: Pixels, ground: Ground, inside: NDArray[np.bool_], name: str) -> None:
    """Refuse a product of which a good part is as pale as the ground."""
    lost = faint_remainder(image, ground, inside)
    if lost > MOST_LOST:
        raise CutoutError(
            name,
            expected="a product that stands out from its ground",
            next_step=NEXT,
            got=f"one of which an area of {lost:.0%} hardly differs from it",
        )


def _pinholes(share: Alpha) -> NDArray[np.bool_]:
    """Small enclosed gaps, where white print near the outline looks like the ground."""
    frame = np.pad((share <= 0.5).astype(np.uint8), 1, constant_values=1)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(frame, connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < max(40, 0.002 * share.sum())
    small[labels[0, 0]] = small[0] = False
    return np.take(small, np.asarray(labels, np.int64))[1:-1, 1:-1]


def _trust(inside: NDArray[np.bool_], name: str) -> None:
    """Refuse masks that no product on a plain ground gives."""
    _enough(inside.astype(np.float32), name)
    sides = [inside[0], inside[-1], inside[:, 0], inside[:, -1]]
    touching = sum(int(side.sum()) for side in sides) / sum(side.size for side in sides)
    if touching > 0.45:
        raise CutoutError(
            name,
            expected="a product inside its photo",
            next_step=NEXT,
            got=f"something that touches {touching:.0%} of the border",
        )


def _enough(alpha: Alpha, name: str) -> None:
    share = float((alpha > 0.5).mean())
    if not LEAST <= share <= MOST:
        raise CutoutError(
            name,
            expected=f"a product on {LEAST:.1%} to {MOST:.0%} of the photo",
            got=f"one on {share:.2%}",
            next_step=NEXT,
        )


def _crop(cutout: Cutout) -> Cutout:
    rows, columns = (np.flatnonzero((cutout.alpha > 0).any(axis)) for axis in (1, 0))
    part = (
        slice(max(rows[0] - MARGIN, 0), rows[-1] + 1 + MARGIN),
        slice(max(columns[0] - MARGIN, 0), columns[-1] + 1 + MARGIN),
    )
    return Cutout(
        image=np.ascontiguousarray(cutout.image[part]),
        alpha=np.ascontiguousarray(cutout.alpha[part]),
        source=cutout.source,
    )


def _workable(photo: Photo, mask: Alpha | None) -> tuple[Photo, Alpha | None]:
    """Average very large photos down, with their alpha and mask."""
    height, width = photo.image.shape[:2]
    factor = LONGEST / max(height, width)
    if factor >= 1 or (mask is not None and mask.shape != (height, width)):
        return photo, mask
    size = round(width * factor), round(height * factor)

    def smaller(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), plane.dtype)

    alpha = None if photo.alpha is None else smaller(photo.alpha)
    return Photo(image=smaller(photo.image), alpha=alpha, notes=photo.notes), None if mask is None else smaller(mask)


def _rembg_mask(image: Pixels) -> Alpha:
    try:
        import rembg  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError("rembg", "rembg") from None
    return np.asarray(rembg.remove(image, only_mask=True)).astype(np.float32) / np.float32(255)


def _shrunk(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Erode by `radius`, from the photo's border too: where an outline runs into it, nothing is sure."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0


def _grown(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def _snap(alpha: Alpha) -> Alpha:
    return np.where(alpha > 0.98, 1, np.where(alpha < 0.02, 0, alpha)).astype(np.float32)


def _to_pixels(colours: NDArray) -> Pixels:
    return np.clip(colours + 0.5, 0, 255).astype(np.uint8)
