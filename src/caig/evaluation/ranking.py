"""Metrics of whole rankings, and of how well a ranker knows when it is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ndcg(scores: ArrayLike, gains: ArrayLike) -> float:
    """Normalised discounted cumulative gain of N items, 0 to 1 (Jaervelin and Kekaelaeinen 2002); gains at least 0.

    sum_rank gain / log2(1 + rank), in order of falling score, over the same in order of falling gain; items of equal
    score keep their order. 1 without any gain.
    """
    score, gain = np.asarray(scores, np.float64), np.asarray(gains, np.float64)
    discount = 1 / np.log2(np.arange(2, len(gain) + 2))
    best = float((np.sort(gain)[::-1] * discount).sum())
    return float((gain[np.argsort(-score, kind="stable")] * discount).sum()) / best if best else 1.0


def risk_coverage(doubt: ArrayLike, right: ArrayLike, coverages: ArrayLike) -> Floats:
    """f64[C]: error rate among the `coverages` share of predictions with the least doubt (Geifman and El-Yaniv 2017).

    Args:
        doubt: f[P], higher is less sure
        right: f[P], 1 right, 0 wrong, 0.5 a tie
        coverages: shares in (0, 1]; at least one prediction is always kept
    """
    order = np.argsort(np.asarray(doubt, np.float64), kind="stable")
    wrong = 1 - np.asarray(right, np.float64)[order]
    kept = np.maximum(1, np.round(np.asarray(coverages, np.float64) * len(wrong)).astype(int))
    return np.cumsum(wrong)[kept - 1] / kept
