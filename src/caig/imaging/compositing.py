"""The product into its background: core pixels untouched, the background adapts to the product, never the reverse."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.errors import InputError
from caig.types import Alpha, Canvas, Layers, Pixels

CORE = 0.99  # alpha from here on is the product itself
MOST_GAIN = 0.08  # the background's exposure moves by at most this
MOST_TINT = 0.04  # its white balance by at most this
MOST_GRAIN = 2.5  # levels
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
Floats = NDArray[Any]  # float32; cv2's own types say less


def core_mask(alpha: Alpha, erosion: int = 0) -> NDArray[np.bool_]:
    """Pixels that must equal the resized photo's bit by bit: alpha >= 0.99, eroded by `erosion` 0 to 2 pixels.

    The least erosion that removes halos is 0 here, because matting frees soft edges of the old ground.
    """
    core = (alpha >= CORE).astype(np.uint8)
    return cv2.erode(core, np.ones((3, 3), np.uint8), iterations=erosion, borderValue=1) > 0


def separate(canvas: Canvas, background: Pixels, *, shadow: bool = True) -> Layers:
    """Lay the product of `canvas` into `background` u8[H, W, 3] of the same size; same inputs, same layers.

    The layers: background in the product's light and grain, contact shadow, product. InputError when the sizes differ.
    """
    _same_size(canvas, background)
    ground = match_light(canvas, background.astype(np.float32) / 255)
    dark = contact_shadow(canvas, ground) if shadow else np.zeros(canvas.product.shape, np.float32)
    alpha = np.where(core_mask(canvas.product), 1, canvas.product)
    return Layers(
        background=_levels(ground * 255 + grain(canvas, background)),
        shadow=_levels(dark * 255),
        product=np.dstack([canvas.image, _levels(alpha * 255)]),
    )


def flatten(layers: Layers) -> Pixels:
    """Put the layers together: u8[H, W, 3], each layer over the one below, rounded.

    Blended in sRGB: alpha was estimated on sRGB values, so the old ground would give the photo back.
    """
    ground = _over(np.zeros((1, 1, 3), np.uint8), layers.shadow, layers.background)
    return _over(layers.product[..., :3], layers.product[..., 3], ground)


def match_light(canvas: Canvas, background: Floats) -> Floats:
    """Move the background's exposure and white balance a little towards the product's; sRGB values 0 to 1.

    Highlights (95th percentile) are compared; the white balance only counts when the product has near-neutral bright
    parts. Gains stay within 8 % (exposure) and 4 % (white balance).
    """
    product = canvas.image[core_mask(canvas.product)].astype(np.float32) / 255
    around = background[canvas.product < 0.01]
    if not len(product) or not len(around):
        return background
    exposure = _highlight(product @ LUMA) / max(_highlight(around @ LUMA), 0.05)
    gain = np.clip(exposure**0.2, 1 - MOST_GAIN, 1 + MOST_GAIN) * _tint(product, around)
    return np.clip(background * gain.astype(np.float32), 0, 1)


def contact_shadow(canvas: Canvas, background: Floats) -> Floats:
    """How much light a soft shadow under the product's base takes, f32[H, W] 0 to 1; none where the background,
    darker there than the surface around, already shows one."""
    base = _base(canvas.product)
    rows, columns = np.nonzero(base)
    if not rows.size:
        return np.zeros(canvas.product.shape, np.float32)
    wide, high = np.ptp(columns) + 1, _height(canvas.product)
    strength = _missing_shadow(canvas.product, background, base)
    tight = _smear(base, 0.015 * wide + 0.6, 0.008 * high + 0.6) * 0.55
    broad = _smear(base, 0.09 * wide + 1.5, 0.028 * high + 1.2) * 0.45
    ambient = _smear(base, 0.3 * wide + 2, 0.07 * high + 2) * 0.22
    return (strength * (1 - (1 - tight) * (1 - broad) * (1 - ambient))).astype(np.float32)


def grain(canvas: Canvas, background: Pixels) -> Floats:
    """Grey noise f32[H, W, 1] in levels that lifts a too smooth background to the product's grain.

    Its seed is a hash of the pictures.
    """
    core = core_mask(canvas.product, 2)
    missing = noise_level(canvas.image, core) ** 2 - noise_level(background, canvas.product < 0.01) ** 2
    sigma = min(float(np.sqrt(max(missing, 0.0))), MOST_GRAIN)
    digest = hashlib.sha256(canvas.image.tobytes() + background.tobytes()).digest()
    noise = np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "big")))
    return noise.standard_normal((*canvas.product.shape, 1), np.float32) * np.float32(sigma)


def noise_level(image: Pixels, where: NDArray[np.bool_]) -> float:
    """Standard deviation of the pixel noise in levels, from the flattest quarter of 7x7 patches inside `where`.

    The Laplacian mask of Immerkaer, Fast noise variance estimation, 1996.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6
    energy = cv2.blur(cv2.filter2D(grey, -1, kernel) ** 2, (7, 7))
    values = energy[cv2.erode(where.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0) > 0]
    quiet = np.percentile(values, 25) if values.size else 0.0
    return float(np.sqrt(max(quiet, 0.0)))  # blur's running sums can round below 0


def _levels(values: Floats) -> NDArray[np.uint8]:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _over(upper: Pixels, alpha: NDArray[np.uint8], lower: Pixels) -> Pixels:
    """`upper` with opacity `alpha` over `lower`, in whole levels."""
    share = alpha[..., None].astype(np.uint16)
    return ((upper * share + lower * (255 - share) + 127) // 255).astype(np.uint8)


def _same_size(canvas: Canvas, background: Pixels) -> None:
    if background.shape != canvas.image.shape:
        raise InputError(
            "background",
            expected=f"{canvas.image.shape[1]}x{canvas.image.shape[0]} pixels, RGB",
            got="x".join(map(str, background.shape[1::-1])),
            next_step="Paint at the canvas's size.",
        )


def _highlight(values: Floats) -> float:
    return float(np.percentile(values, 95))


def _tint(product: Floats, around: Floats) -> Floats:
    """Per-channel gain towards the white of the product's near-neutral highlights; 1 when there are none."""
    spread = product.max(1) - product.min(1)
    neutral = product[(spread < 0.06) & (product.min(1) > 0.6)]
    if len(neutral) < 0.02 * len(product):
        return np.ones(3, np.float32)
    bright = around[around @ LUMA >= _highlight(around @ LUMA)]
    wanted = (neutral.mean(0) / neutral.mean()) / (bright.mean(0) / max(float(bright.mean()), 1e-3) + 1e-3)
    return np.clip(wanted**0.15, 1 - MOST_TINT, 1 + MOST_TINT).astype(np.float32)


def _height(alpha: Alpha) -> int:
    rows = np.flatnonzero((alpha > 0.5).any(1))
    return int(rows[-1] - rows[0] + 1) if rows.size else 0


def _base(alpha: Alpha) -> NDArray[np.bool_]:
    """The foot of the product: the lowest pixels of the columns that end near the lowest row."""
    inside = alpha > 0.5
    if not inside.any():
        return inside
    lowest = alpha.shape[0] - 1 - np.argmax(inside[::-1], 0)
    lowest = np.where(inside.any(0), lowest, -1)
    reach = max(2, round(0.07 * _height(alpha)))
    foot = (lowest >= 0) & (lowest > lowest.max() - reach)
    thick = max(1, round(0.02 * _height(alpha)))
    rows = np.arange(alpha.shape[0])[:, None]
    return inside & foot & (rows > lowest - thick)


def _smear(base: NDArray[np.bool_], across: float, down: float) -> Floats:
    """Blur the base line into a lying ellipse, 1 where it is darkest."""
    spread = cv2.GaussianBlur(base.astype(np.float32), (0, 0), sigmaX=across, sigmaY=down)
    return spread / max(float(spread.max()), 1e-6)


def _missing_shadow(alpha: Alpha, background: Floats, base: NDArray[np.bool_]) -> float:
    """1 when the ground touching the base is as bright as the surface further away, 0 when it is 20 % darker."""
    near, far = _surroundings(alpha, base)
    if near.sum() < 4 or far.sum() < 4:
        return 1.0
    light = background @ LUMA
    ratio = float(np.median(light[near])) / max(float(np.median(light[far])), 1e-3)
    return float(np.clip((ratio - 0.80) / 0.15, 0, 1))


def _surroundings(alpha: Alpha, base: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Ground right at the base, and the surface at its sides and before it, both outside the product."""
    rows, columns = np.nonzero(base)
    high = _height(alpha)
    y, x = np.indices(alpha.shape)
    ground = alpha < 0.05
    touching = cv2.dilate(base.astype(np.uint8), np.ones((2 * max(2, high // 30) + 1,) * 2, np.uint8)) > 0
    level = (y >= rows.min()) & (y <= rows.max() + max(4, high // 6))
    beside = np.abs(x - columns.mean()) > 0.5 * np.ptp(columns) + 0.12 * high
    before = y > rows.max() + max(3, high // 12)
    return touching & ground & (y >= rows.min()), ground & level & (beside | before)
