"""How calm the space is that is kept clear for copy."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.imaging.placing import pixels_of
from caig.imaging.standing import LUMA
from caig.types import Box, Pixels


def unrest(image: Pixels, box: Box) -> float:
    """How restless u8[H, W, 3] is inside the box: the deviation of its luminance (0 to 1) from the plane that fits it
    best; 0 is one smooth gradient. The box's shorter side is averaged down to 64 pixels, so that grain does not count.
    """
    left, top, right, bottom = pixels_of(box, (image.shape[1], image.shape[0]))
    light = (image[top:bottom, left:right].astype(np.float32) @ LUMA) / 255
    factor = min(1.0, 64 / min(light.shape))
    size = tuple(max(2, round(length * factor)) for length in light.shape[::-1])
    light = np.asarray(cv2.resize(light, size, interpolation=cv2.INTER_AREA))
    return float((light - _plane(light)).std())


def _plane(values: NDArray) -> NDArray:
    y, x = np.indices(values.shape, np.float32)
    terms = np.stack([np.ones(values.size), x.ravel(), y.ravel()], 1)
    return (terms @ np.linalg.lstsq(terms, values.ravel(), rcond=None)[0]).reshape(values.shape)
