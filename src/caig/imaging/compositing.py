"""The product into its background: core pixels untouched, the background adapts to the product, never the reverse."""

from __future__ import annotations

import hashlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.errors import InputError
from caig.imaging.standing import LEAST_CONTACT, LUMA, base_of, contact, height_of
from caig.imaging.surface import noise_level
from caig.types import Alpha, Canvas, Layers, Pixels

CORE = 0.99  # alpha from here on is the product itself
MOST_GAIN = 0.08  # the background's exposure moves by at most this
MOST_TINT = 0.04  # its white balance by at most this
MOST_GRAIN = 2.5  # levels
Floats = NDArray[Any]  # float32; cv2's own types say less


def core_mask(alpha: Alpha, erosion: int = 0) -> NDArray[np.bool_]:
    """Pixels that must equal the resized photo's bit by bit: alpha >= 0.99, eroded by `erosion` 0 to 2 pixels.

    The least erosion that removes halos is 0 here, because matting frees soft edges of the old ground.
    """
    core = (alpha >= CORE).astype(np.uint8)
    return cv2.erode(core, np.ones((3, 3), np.uint8), iterations=erosion, borderValue=1) > 0


def separate(canvas: Canvas, background: Pixels, *, shadow: bool = True, light: bool = True) -> Layers:
    """Lay the product of `canvas` into `background` u8[H, W, 3] of the same size; same inputs, same layers.

    The layers: background in the product's light (unless `light` is False: its palette was asked for) and grain,
    contact shadow, product. InputError when the sizes differ.
    """
    _same_size(canvas, background)
    ground = background.astype(np.float32) / 255
    ground = match_light(canvas, ground) if light else ground
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


def compose(canvas: Canvas, background: Pixels) -> Pixels:
    """The finished picture, u8[H, W, 3]: the product of `canvas` laid into `background`."""
    return flatten(separate(canvas, background))


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
    """How much light a soft shadow under the product's base takes, f32[H, W] 0 to 1.

    Full where the background shows less contact than an ad must have, none from twice that on.
    """
    base = base_of(canvas.product)
    rows, columns = np.nonzero(base)
    if not rows.size:
        return np.zeros(canvas.product.shape, np.float32)
    wide, high = np.ptp(columns) + 1, height_of(canvas.product)
    measured = contact(background @ LUMA, canvas.product)
    strength = float(np.clip(2 - measured / LEAST_CONTACT, 0, 1))
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


def _smear(base: NDArray[np.bool_], across: float, down: float) -> Floats:
    """Blur the base line into a lying ellipse, 1 where it is darkest."""
    spread = cv2.GaussianBlur(base.astype(np.float32), (0, 0), sigmaX=across, sigmaY=down)
    return spread / max(float(spread.max()), 1e-6)
