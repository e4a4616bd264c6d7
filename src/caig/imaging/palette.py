"""The palette of a background: its mean and spread in CIELAB, and one background in the palette of another."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.silhouette import to_lab
from caig.types import Palette, Pixels

MOST_SPREAD, LEAST_SPREAD = 1.6, 0.6  # a palette never stretches contrast or colour further
MOST_LIGHT = 25.0  # nor moves the mean lightness by more CIELAB units


def palette_of(image: Pixels, where: NDArray[np.bool_] | None = None) -> Palette:
    """Mean and standard deviation of L, a and b of u8[H, W, 3], over the pixels `where` (default: all)."""
    lab = to_lab(image).reshape(-1, 3) if where is None else to_lab(image)[where]
    mean, spread = (lab.mean(0), lab.std(0)) if len(lab) else (np.zeros(3), np.zeros(3))
    return Palette(mean=_three(mean), spread=_three(spread))


def recolour(background: Pixels, wanted: Palette, where: NDArray[np.bool_]) -> Pixels:
    """Give `background` u8[H, W, 3] the wanted mean and spread per CIELAB channel, as measured over `where`.

    Reinhard et al., Color transfer between images, 2001, in CIELAB; spread and lightness change within limits, so that
    neither noise is blown up nor the light turned round. The product is no part of the background and stays.
    """
    own = palette_of(background, where)
    gain = np.clip(np.divide(wanted.spread, np.maximum(own.spread, 1e-3)), LEAST_SPREAD, MOST_SPREAD)
    shift = np.subtract(wanted.mean, own.mean)
    shift[0] = np.clip(shift[0], -MOST_LIGHT, MOST_LIGHT)
    lab = (to_lab(background) - own.mean) * gain + own.mean + shift
    rgb = cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.clip(rgb * 255 + 0.5, 0, 255).astype(np.uint8)


def _three(values: NDArray) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 3) for value in values)
    return first, second, third
