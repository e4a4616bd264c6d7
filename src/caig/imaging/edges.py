"""Edges of the product alone, as the painter's ControlNet sees them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.types import Alpha, Pixels

LOW, HIGH = 60, 160  # Canny thresholds on 8-bit grey


def product_edges(image: Pixels, alpha: Alpha) -> NDArray[np.uint8]:
    """Canny edges inside the product and its outline, u8[H, W] with 255 = edge; nothing of any ground.

    The inside is judged on a picture without ground: colours outside the product do not count.
    """
    inside = alpha > 0.5
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    drawing = np.where(inside, grey, np.uint8(128))
    edges = cv2.Canny(drawing, LOW, HIGH)
    core = cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0
    return np.where(core, edges, np.uint8(0)) | _outline(inside)


def _outline(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    mask = inside.astype(np.uint8)
    rim = (mask > 0) & (cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=0) == 0)
    return np.where(rim, np.uint8(255), np.uint8(0))
