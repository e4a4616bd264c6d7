"""The product into its background: core pixels untouched, the background takes its shadow and grain."""

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
MOST_GRAIN = 2.5  # levels
Floats = NDArray[Any]  # float32; cv2's own types say less


def core_mask(alpha: Alpha, erosion: int = 0) -> NDArray[np.bool_]:
    """Pixels that must equal the resized photo's bit by bit: alpha >= 0.99, eroded by `erosion` 0 to 2 pixels.

    The least erosion that removes halos is 0 here, because matting frees soft edges of the old ground.
    """
    core = (alpha >= CORE).astype(np.uint8)
    return cv2.erode(core, np.ones((3, 3), np.uint8), iterations=erosion, borderValue=1) > 0


def separate(canvas: Canvas, background: Pixels, *, shadow: bool = True) -> Layers:
    """Lay the product of `canvas` into `background` u8[H, W, 3] of the same size; same inputs, same layers.

    The layers: background in the product's grain, contact shadow, product. The background keeps its light: it is what
    the description asked for (docs/LOG.md). InputError when the sizes differ.
    """
    _same_size(canvas, background)
    dark = np.zeros(canvas.product.shape, np.float32)
    if shadow:
        dark = contact_shadow(canvas, background.astype(np.float32) / 255)
    alpha = np.where(core_mask(canvas.product), 1, canvas.product)
    return Layers(
        background=_levels(background + grain(canvas, background)),
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


def _smear(base: NDArray[np.bool_], across: float, down: float) -> Floats:
    """Blur the base line into a lying ellipse, 1 where it is darkest."""
    spread = cv2.GaussianBlur(base.astype(np.float32), (0, 0), sigmaX=across, sigmaY=down)
    return spread / max(float(spread.max()), 1e-6)
