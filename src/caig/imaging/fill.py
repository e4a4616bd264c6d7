"""Extending known colours into the unknown: nearest detail first, coarser averages further away."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float32; cv2's own types say less


def extend(colours: NDArray, weight: NDArray) -> Floats:
    """Continue `colours` [H, W, C] from where `weight` [H, W] is 1 to where it is 0, smoothly (push-pull pyramid).

    Returns f32[H, W, C]; with no weight anywhere the result is 0. Gortler et al., The Lumigraph, 1996, section 3.4.
    """
    weight = weight.astype(np.float32)
    return _push_pull(colours.astype(np.float32) * weight[..., None], weight)


def _push_pull(premultiplied: Floats, weight: Floats) -> Floats:
    known = premultiplied / np.maximum(weight, 1e-6)[..., None]
    if min(weight.shape) <= 2 or weight.min() >= 1:
        total = max(float(weight.sum()), 1e-6)
        mean = premultiplied.sum((0, 1)) / total
        return np.where(weight[..., None] > 1e-6, known, mean).astype(np.float32)
    height, width = weight.shape
    half = ((width + 1) // 2, (height + 1) // 2)
    small_weight = cv2.resize(cv2.blur(weight, (3, 3)), half, interpolation=cv2.INTER_AREA)
    small = _resized(cv2.blur(premultiplied, (3, 3)), half, cv2.INTER_AREA)
    gain = np.minimum(small_weight * 4, 1) / np.maximum(small_weight, 1e-6)  # a quarter of known pixels is enough
    coarse = _push_pull(small * gain[..., None], small_weight * gain)
    far = _resized(coarse, (width, height), cv2.INTER_LINEAR)
    trust = weight[..., None]
    return known * trust + far * (1 - trust)


def _resized(values: Floats, size: tuple[int, int], method: int) -> Floats:
    """Resize to `size` (W, H) as [H, W, C]: OpenCV drops, or chokes on, an axis of one channel."""
    return cv2.resize(values.squeeze(), size, interpolation=method).reshape(size[1], size[0], -1)
