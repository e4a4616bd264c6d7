"""How close two sets of pictures are, from features of a classifier: f[N, D] a set.

Small sets are far from one another by chance alone: a distance means something beside that of two halves of one set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


def kernel_distance(first: Features, second: Features) -> float:
    """KID: unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3 (Binkowski et al. 2018, eq. 4).

    0 in expectation for sets of one distribution; it may be negative.
    """
    n, m, size = len(first), len(second), first.shape[1]

    def kernel(a: Features, b: Features) -> Features:
        return (a @ b.T / size + 1) ** 3

    within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kernel(first, first), kernel(second, second))]
    return float(sum(within) - 2 * kernel(first, second).sum() / (n * m))


def frechet_distance(first: Features, second: Features) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of normal fits (Heusel et al. 2017, eq. 6); 0 or more."""
    means = first.mean(0) - second.mean(0)
    spread, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    # The product of two covariances has real eigenvalues of 0 or more, but for rounding.
    root = np.sqrt(np.maximum(np.linalg.eigvals(spread @ other).real, 0)).sum()
    return float(max(0.0, means @ means + np.trace(spread + other) - 2 * root))


def density_and_coverage(real: Features, made: Features, k: int = 5) -> tuple[float, float]:
    """How many real neighbourhoods a made picture lies in, over k; and the share of real neighbourhoods that hold a
    made picture (Naeem et al. 2020, eq. 3 and 4). A neighbourhood reaches to a real picture's k-th nearest real one."""
    reach = np.sort(_distances(real, real), axis=1)[:, k]
    inside = _distances(real, made) <= reach[:, None]
    return float(inside.sum() / (k * len(made))), float(inside.any(1).mean())


def _distances(first: Features, second: Features) -> Features:
    return np.linalg.norm(first[:, None] - second[None], axis=2)
