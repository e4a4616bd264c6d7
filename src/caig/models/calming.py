"""Calm space for copy: while a picture is sampled, what is expected in that space is smoothed, step by step.

At every step the network's output says which clean latents it expects. In the space to be kept clear these are replaced
by their own low frequencies, and the output is changed to say so. The painter sees the calm space at the next step and
paints the rest to go with it; nothing is laid over the finished picture.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from caig.types import Box

SOFT = 0.4  # of the clear space's shorter side: so far outside it calm fades; with less a panel's edge shows
SMOOTH = 0.35  # deviation of the blur over the clear space's shorter side


def calm_weight(clear: Box, shape: tuple[int, ...] | torch.Size) -> Tensor:
    """f[1, 1, h, w] in 0..1: 1 in `clear`, falling off outside it, over a latent cell at least."""
    height, width = shape
    soft = max(1.0, SOFT * min(clear.w * width, clear.h * height))
    across = _ramp(clear.x * width, (clear.x + clear.w) * width, width, soft)
    down = _ramp(clear.y * height, (clear.y + clear.h) * height, height, soft)
    return (down[:, None] * across[None])[None, None]


def calm(output: Tensor, latents: Tensor, weight: Tensor, scheduler: Any, timestep: Tensor) -> Tensor:
    """Change the network's `output` f[N, C, h, w] so that the clean latents that it expects are smooth where `weight`
    f[1, 1, h, w] is 1.

    With x = a x0 + s e: v = a e - s x0, so x0 = a x - s v; for e-prediction x0 = (x - s e) / a.
    """
    share = scheduler.alphas_cumprod[int(timestep)].to(output)
    a, s = share.sqrt(), (1 - share).sqrt()
    speed = scheduler.config.prediction_type == "v_prediction"
    expected = a * latents - s * output if speed else (latents - s * output) / a
    change = weight * (blurred(expected, weight) - expected)
    return output - change / s * (1.0 if speed else a)


def blurred(latents: Tensor, weight: Tensor) -> Tensor:
    """Low frequencies of f[N, C, h, w] inside `weight`: a Gaussian that sees nothing outside it."""
    rows, columns = (int((weight[0, 0].amax(axis) > 0.5).sum()) for axis in (1, 0))
    sigma = max(SMOOTH * min(rows, columns), 1.0)
    total = _gauss(weight, sigma).clamp_min(1e-4)
    return _gauss(latents * weight, sigma) / total


def _gauss(values: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur with zeros outside."""
    radius = math.ceil(2.5 * sigma)
    at = torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * (at / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(values.shape[1], 1, 1, -1)
    values = F.conv2d(values, kernel, padding=(0, radius), groups=values.shape[1])
    return F.conv2d(values, kernel.transpose(2, 3), padding=(radius, 0), groups=values.shape[1])


def _ramp(start: float, end: float, length: int, soft: float) -> Tensor:
    """f[length]: 1 for cells between start and end, falling to 0 over `soft` cells outside."""
    at = torch.arange(length) + 0.5
    outside = torch.maximum(start - at, at - end)
    return (1 - outside / soft).clamp(0, 1)
