"""What a campaign's impressions prove so far, valid at whatever time one looks.

Every estimate is a mean of inverse-propensity-weighted outcomes, sum_j c_j 1{shown = j} outcome / p_j: c picks one arm
(its CTR) or two (a difference). Its 95 % confidence sequence holds the truth at all times at once with probability
0.95, under adaptive shares and optional stopping, without a model of the outcomes: empirical Bernstein with a stitched
boundary, Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences",
Annals of Statistics 49 (2021), theorem 4 with equation (10); each side gets half of the error. The truth is the mean
over the impressions so far, so it may drift.

Impressions of one version share their propensities, so counts by version and arm are sufficient (`Tally`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caig.types import Estimate

ETA, S = 2.0, 1.4  # of the stitching: epochs grow by 2, the error spent falls as k^-1.4
ZETA_S = 3.105472  # Riemann's zeta(1.4)
PREDICTED = 0.2  # predictions of the next outcome are cut to this; the smaller, the tighter one side's boundary
ERROR, RATIO_ERROR = 0.05, 0.01
GUARDS = ("conversion", "value")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Settled impressions of one campaign by version (in order of time) and arm; the control is arm 0.

    `shares` f64[V, K] the propensities, 0 where an arm was not in the version; `shown` f64[V, K] impressions; `total`
    and `squares` metric -> f64[V, K], sums of the outcomes and of their squares; `least` f64[K] every arm's guaranteed
    share; `highest` metric -> the largest outcome there can be (1 for clicks and conversions).
    """

    arms: tuple[str, ...]
    shares: Floats
    shown: Floats
    total: Mapping[str, Floats]
    squares: Mapping[str, Floats]
    least: Floats
    highest: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of one arm: its CTR, its lead over the control in CTR and in each guard metric.

    `promote`: credibly clicked more than the control, no guard credibly worse and the traffic as it should be;
    `reason` says what it lacks, or why it may be promoted.
    """

    arm: str
    ctr: Estimate
    lead: Estimate
    guards: tuple[Estimate, ...]
    promote: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class RatioCheck:
    """Impressions of each arm against the sum of its propensities: `fits` is false where chance is no explanation."""

    arms: tuple[str, ...]
    shown: tuple[int, ...]
    expected: tuple[float, ...]
    fits: bool


def verdicts(tally: Tally) -> tuple[RatioCheck, list[Verdict]]:
    """The check of the traffic, and a verdict on every arm but the control.

    Arms share the error by their order, arm k (from 1) gets 0.05 / (k (k + 1)), which sums to 0.05 for any number of
    arms ever launched: fresh arms take nothing from those before them.
    """
    check = sample_ratio(tally)
    return check, [_verdict(tally, k, check.fits) for k in range(1, len(tally.arms))]


def _verdict(tally: Tally, k: int, fits: bool) -> Verdict:
    error = ERROR / (k * (k + 1))
    lead = difference(tally, "click", k, error)
    guards = tuple(difference(tally, metric, k, error) for metric in GUARDS if metric in tally.total)
    harmed = [guard.name for guard in guards if guard.high < 0]
    if not fits:
        promote, reason = False, "arms were not shown as drawn: find out why before trusting any difference"
    elif lead.low <= 0:
        promote, reason = False, "not credibly clicked more than the original"
    elif harmed:
        promote, reason = False, f"clicked more, but credibly worse: {', '.join(harmed)}"
    else:
        promote, reason = True, "credibly clicked more than the original, no guard credibly worse"
    ctr = rate(tally, "click", k, ERROR)
    return Verdict(arm=tally.arms[k], ctr=ctr, lead=lead, guards=guards, promote=promote, reason=reason)


def rate(tally: Tally, metric: str, k: int, error: float = ERROR) -> Estimate:
    """Mean outcome of arm k if it were always shown, with its confidence sequence of level 1 - `error`."""
    contrast = np.zeros(len(tally.arms))
    contrast[k] = 1
    return _estimate(tally, f"{metric} rate of {tally.arms[k]}", metric, contrast, error)


def difference(tally: Tally, metric: str, k: int, error: float = ERROR) -> Estimate:
    """Mean outcome of arm k minus the control's, over the time in which both were shown."""
    contrast = np.zeros(len(tally.arms))
    contrast[[k, 0]] = 1, -1
    return _estimate(tally, f"{metric} lead of {tally.arms[k]}", metric, contrast, error)


def joint_difference(parts: Sequence[tuple[Tally, Collection[str]]], metric: str, error: float = ERROR) -> Estimate:
    """Over several campaigns, each with some of its arms: the mean outcome of these less that of its other arms, each
    arm of a version with the same weight, over the impressions of versions that show both kinds.

    Campaigns' errors are summed: each is predicted from its own past, so their sum in order of time is bounded alike.
    """
    sums = [_sums(tally, metric, _between(tally, arms)) for tally, arms in parts]
    return _bounded(f"{metric} lead of the chosen ads", sums, error)


def _between(tally: Tally, arms: Collection[str]) -> Floats:
    """f64[V, K]: 1 / how many of `arms` a version shows for each of them, minus the same for the others; 0 where it
    shows one kind only."""
    chosen = np.isin(tally.arms, list(arms))
    live = tally.shares > 0
    first, second = live & chosen, live & ~chosen
    counts = first.sum(1, keepdims=True), second.sum(1, keepdims=True)
    both = (counts[0] > 0) & (counts[1] > 0)
    return np.where(both, first / np.maximum(counts[0], 1) - second / np.maximum(counts[1], 1), 0.0)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """Of n impressions: the sum of their weighted outcomes, of the squared errors of their predictions, and how far an
    outcome can lie below 0 (`down`) and above."""

    n: float
    total: float
    spread: float
    down: float
    up: float
    highest: float


def _estimate(tally: Tally, name: str, metric: str, contrast: Floats, error: float) -> Estimate:
    return _bounded(name, [_sums(tally, metric, contrast)], error)


def _sums(tally: Tally, metric: str, contrast: Floats) -> _Sums:
    """Of the versions that show every arm of `contrast`, f64[K] or of each version f64[V, K]; predictions are made
    before each version."""
    contrast = np.broadcast_to(contrast, tally.shares.shape)
    used = contrast != 0
    live = used.any(axis=1) & ((tally.shares > 0) | ~used).all(axis=1)
    shares = np.where(used, tally.shares, 1.0)
    weight, size = contrast[live] / shares[live], tally.shown[live].sum(axis=1)
    highest, reach = (
        tally.highest[metric],
        contrast / tally.least,
    )  # outcomes lie in highest * [min(reach, 0), max(reach, 0)]
    total = (weight * tally.total[metric][live]).sum(axis=1)
    squares = (weight**2 * tally.squares[metric][live]).sum(axis=1)
    before = np.cumsum(total) - total, np.cumsum(size) - size
    predicted = np.divide(*before, out=np.zeros_like(total), where=before[1] > 0)
    predicted = np.clip(predicted, -PREDICTED * highest, PREDICTED * highest)
    return _Sums(
        n=float(size.sum()),
        total=float(total.sum()),
        spread=float((squares - 2 * predicted * total + size * predicted**2).sum()),
        down=highest * max(0.0, -float(reach.min(initial=0.0))),
        up=highest * max(0.0, float(reach.max(initial=0.0))),
        highest=highest,
    )


def _bounded(name: str, sums: Sequence[_Sums], error: float) -> Estimate:
    """Howard et al. theorem 4: mean -+ u(V) / n, V the squared errors of the predictions."""
    n, total, spread = (sum(getattr(one, field) for one in sums) for field in ("n", "total", "spread"))
    down, up = (max((getattr(one, side) for one in sums), default=0.0) for side in ("down", "up"))
    slack = PREDICTED * max((one.highest for one in sums), default=0.0)
    worst = max(down, up)
    if not n:
        return Estimate(name=name, value=0.0, low=-worst, high=worst, n=0)
    mean = total / n
    low = mean - boundary(spread, error / 2, down + slack) / n  # of errors below the prediction
    high = mean + boundary(spread, error / 2, up + slack) / n
    return Estimate(name=name, value=mean, low=max(low, -worst), high=min(high, worst), n=int(n))


def boundary(spread: float, error: float, scale: float) -> float:
    """u(V): a sum with intrinsic time V = `spread` and sub-gamma `scale` c ever exceeds it with probability <= `error`.

    Howard et al. (2021), equation (10), polynomial stitching with m = c^2, so that it keeps its meaning in any unit.
    A sub-exponential process is sub-gamma with the same c.
    """
    m = scale**2
    v = max(spread, m)
    k1, k2 = (ETA**0.25 + ETA**-0.25) / np.sqrt(2), (np.sqrt(ETA) + 1) / 2
    ell = S * np.log(np.log(ETA * v / m) / np.log(ETA)) + np.log(ZETA_S / error)
    return float(np.sqrt(k1**2 * v * ell + (k2 * scale * ell) ** 2) + k2 * scale * ell)


def sample_ratio(tally: Tally, error: float = RATIO_ERROR) -> RatioCheck:
    """Does each arm have as many impressions as its propensities add up to? Always valid, level 1 - `error` in all.

    Freedman's inequality: errors 1{shown} - p are at most 1, so their sum is sub-gamma with c = 1/3 in the intrinsic
    time sum of p (1 - p) (Howard et al. 2020, table 3).
    """
    size = tally.shown.sum(axis=1, keepdims=True)
    expected, shown = (size * tally.shares).sum(axis=0), tally.shown.sum(axis=0)
    time = (size * tally.shares * (1 - tally.shares)).sum(axis=0)
    each = error / (2 * len(tally.arms))
    fits = all(abs(s - e) <= boundary(float(v), each, 1 / 3) for s, e, v in zip(shown, expected, time, strict=True))
    return RatioCheck(
        arms=tally.arms, shown=tuple(int(s) for s in shown), expected=tuple(float(e) for e in expected), fits=fits
    )
