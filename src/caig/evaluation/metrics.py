"""Metrics of rankers, each with a 95 % interval.

Pairs and pictures of one product are alike, so intervals resample whole products (cluster bootstrap, percentile
interval; Efron and Tibshirani 1993, ch. 13): resampling pairs would make them far too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from caig.types import Estimate

Floats = NDArray[np.float64]
DRAWS = 1000
BISECTIONS = 30


def bootstrap(
    name: str, statistic: Callable[..., float], clusters: Sequence[str], *columns: ArrayLike, seed: int = 0
) -> Estimate:
    """`statistic(*columns)` with a 95 % interval over resampled clusters.

    Args:
        statistic: NaN where it is undefined; such draws are left out
        clusters: the cluster (product) of each row, N of them
        columns: arrays of N rows, given to `statistic` as rows are drawn

    Returns:
        Estimate with n = N, NaN where `statistic` is of all rows. ValueError without rows.
    """
    arrays = [np.asarray(column) for column in columns]
    if not len(clusters):
        raise ValueError(f"{name}: expected at least one row, got none")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    members = [np.flatnonzero(index == cluster) for cluster in range(index.max() + 1)]
    rng, values = np.random.default_rng(seed), []
    for _ in range(DRAWS):
        rows = np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])
        values.append(statistic(*(array[rows] for array in arrays)))
    low, high = np.quantile([v for v in values if not math.isnan(v)] or [math.nan], [0.025, 0.975])
    return Estimate(name=name, value=float(statistic(*arrays)), low=float(low), high=float(high), n=len(clusters))


def mean(name: str, values: ArrayLike, clusters: Sequence[str], *, seed: int = 0) -> Estimate:
    """The mean of `values` with its clustered interval."""
    return bootstrap(name, lambda v: float(v.mean()), clusters, values, seed=seed)


def agreement(margin: ArrayLike, order: ArrayLike) -> Floats:
    """f64[P]: 1 where the sign of `margin` (first minus second) agrees with `order` (1 first better, 0 second), else 0.

    A tie on either side scores 0.5, so that a constant ranker is right half the time. The mean is the pair accuracy.
    """
    return 0.5 + 0.5 * np.sign(np.asarray(margin, np.float64)) * np.sign(2 * np.asarray(order, np.float64) - 1)


def way(right: Floats, most: Floats) -> float:
    """(accuracy - 1/2) / (ceiling - 1/2), of f64[P] each; NaN where the ceiling is chance: nothing could be learned."""
    ceiling = float(most.mean()) - 0.5
    return (float(right.mean()) - 0.5) / ceiling if abs(ceiling) > 1e-12 else math.nan


def calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error of pair probabilities: sum over bins of share x |mean confidence - share right|.

    Each pair is seen from its favourite's side (confidence max(p, 1 - p), in 0.5..1), since which picture comes first
    means nothing; `outcome` is 1, 0 or what clicks say of it, see `share_right`. Equal-width bins (Guo et al. 2017,
    eq. 3). Range 0 to 1.
    """
    curve = calibration_curve(probability, outcome, bins)
    return sum(pairs * abs(confidence - right) for confidence, right, pairs in curve) / np.size(probability)


def calibration_curve(probability: ArrayLike, outcome: ArrayLike, bins: int = 5) -> list[tuple[float, float, int]]:
    """(mean confidence, share right, pairs) of each bin of confidence 0.5 to 1 that holds any; bins, confidence and
    share as in `calibration_error`."""
    confidence, right = _from_favourite(probability, outcome)
    bucket = _bucket(confidence, bins)
    rows = [(confidence[bucket == k], right[bucket == k]) for k in range(bins)]
    return [(float(c.mean()), share_right(r), len(c)) for c, r in rows if len(c)]


def calibration_gaps(
    name: str, probability: ArrayLike, outcome: ArrayLike, clusters: Sequence[str], bins: int = 5
) -> list[Estimate]:
    """`calibration_curve` with intervals: share right less confidence of each bin, 0 where a model is as sure as it may
    be, below 0 where it is too sure."""
    confidence, right = _from_favourite(probability, outcome)
    bucket, owner, found = _bucket(confidence, bins), np.asarray(clusters), []
    for k in sorted(set(bucket.tolist())):
        here, (low, high) = bucket == k, (0.5 + np.array([k, k + 1]) / (2 * bins))
        about = f"{name}: share right less predicted, where {low:g} to {high:g} is predicted"
        found.append(bootstrap(about, _gap, owner[here].tolist(), right[here], confidence[here]))
    return found


def share_right(outcome: ArrayLike) -> float:
    """The share of pairs whose first is truly better, 0 to 1, where `outcome` f[P] is 1, 0 or the posterior of that
    given the pair's clicks alone: the t of most likelihood, prod_p (t s_p + (1 - t) (1 - s_p)).

    Their mean would be too near to one half, since a posterior of few clicks is, however sure the order may be by other
    evidence. Pairs at one half say nothing; 0.5 if all are.
    """
    tilt = 2 * np.asarray(outcome, np.float64) - 1
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):  # the likelihood is concave in t: its slope falls
        middle = (low + high) / 2
        slope = (tilt / (1 + (2 * middle - 1) * tilt)).sum()
        low, high = (middle, high) if slope > 0 else (low, middle) if slope < 0 else (middle, middle)
    return (low + high) / 2


def _gap(right: Floats, confidence: Floats) -> float:
    return share_right(right) - float(confidence.mean())


def _from_favourite(probability: ArrayLike, outcome: ArrayLike) -> tuple[Floats, Floats]:
    p, y = np.asarray(probability, np.float64), np.asarray(outcome, np.float64)
    return np.maximum(p, 1 - p), np.where(p >= 0.5, y, 1 - y)


def _bucket(confidence: Floats, bins: int) -> NDArray[np.int_]:
    return np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b of two scores of the same N items, -1 to 1; 0 where one of them is constant.

    (concordant - discordant) / sqrt(pairs untied in first x pairs untied in second).
    """
    a, b = (_signs(np.asarray(scores, np.float64)) for scores in (first, second))
    untied = np.sqrt((a != 0).sum() * (b != 0).sum())
    return float((a * b).sum() / untied) if untied else 0.0


def _signs(scores: Floats) -> Floats:
    """Sign of the difference of every pair of items."""
    one, other = np.triu_indices(len(scores), 1)
    return np.sign(scores[one] - scores[other])
