"""How much the click-through rates of one product's creatives differ: an empirical-Bayes prior.

Hierarchy, for creative i of product j with c_i clicks in n_i impressions:

    log m_j ~ N(log of the log's mean CTR, 1)             the product's mean: weak, 95 % within a factor of 7
    theta_i ~ Beta(a, b_j),  b_j = a (1 - m_j) / m_j      mean m_j, coefficient of variation about 1 / sqrt(a)
    c_i     ~ Binomial(n_i, theta_i)

`a` is one number for the whole log, since CTRs differ in level between products far more than in relative spread
within one. It maximises the marginal likelihood (type II, Efron 2010, ch. 1)

    L(a) = prod_j  integral  prod_i B(a + c_i, b_j + n_i - c_i) / B(a, b_j)  p(m_j) dm_j

The mean is integrated out, not maximised: with two or three creatives a product, maximising it would leave a spread
far too small (Neyman and Scott 1948). Given `a`, each product's mean is its posterior mean on the log scale, and
creative i's posterior is Beta(a + c_i, b_j + n_i - c_i). Flat priors would take all noise between creatives for truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST, MOST = math.log(0.3), math.log(1e5)  # of log a: a spread of 180 % to 0.3 %
MEAN_SPREAD = 1.0  # of log m_j
NODES = np.linspace(-5, 5, 21)  # in deviations of the integrand: the trapezoid's error is below 1e-6

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """The fitted prior: `shape` is a, `error` the standard error of log a, `mean` m_j per product, f64[J]."""

    shape: float
    error: float
    mean: Floats

    @property
    def variation(self) -> float:
        """Coefficient of variation of true CTRs within a product, about 1 / sqrt(a)."""
        return 1 / math.sqrt(self.shape)

    def posterior(self, clicks: Floats, impressions: Floats, product: Index, shape: float | None = None) -> Floats:
        """f64[N, 2]: both parameters of each creative's Beta posterior; another `shape` in place of the fitted one."""
        a = self.shape if shape is None else shape
        m = self.mean[product]
        return np.stack([a + clicks, a * (1 - m) / m + impressions - clicks], axis=1)


def fit_spread(clicks: Floats, impressions: Floats, product: Index) -> Spread:
    """Fit the prior to effective counts f64[N] of creatives with product indices i64[N] from 0.

    A log without two creatives of one product says nothing of the spread: `shape` is then whatever one creative each
    leaves, and no pair needs it.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_shape: float) -> float:
        return -_evidence(math.exp(log_shape), clicks, impressions, product)[0]

    best = float(minimize_scalar(loss, bounds=(LEAST, MOST), method="bounded", options={"xatol": 1e-3}).x)
    shape = math.exp(best)
    mean = _evidence(shape, clicks, impressions, product)[1]
    return Spread(shape=shape, error=_standard_error(loss, best), mean=mean)


def _standard_error(loss: Callable[[float], float], best: float, step: float = 0.1) -> float:
    """1 / sqrt(curvature), at most 1: where the likelihood is flat, its edge says no more."""
    curvature = (loss(best + step) - 2 * loss(best) + loss(best - step)) / step**2
    return min(1.0, 1 / math.sqrt(curvature)) if curvature > 0 else 1.0


def _evidence(a: float, clicks: Floats, impressions: Floats, product: Index) -> tuple[float, Floats]:
    """(log L(a), posterior mean of m_j on the log scale f64[J]), by the trapezoid rule around each product's mode."""
    from scipy.special import betaln

    overall = math.log(max(clicks.sum(), 0.5) / max(impressions.sum(), 1.0))
    centre, deviation = _mode(a, clicks, impressions, product, overall)
    terms = []
    for node in NODES:
        log_mean = np.minimum(centre + node * deviation, -1e-9)
        b = (a * np.expm1(-log_mean))[product]
        each = betaln(a + clicks, b + impressions - clicks) - betaln(a, b)
        prior = -0.5 * ((log_mean - overall) / MEAN_SPREAD) ** 2 - math.log(MEAN_SPREAD * math.sqrt(2 * math.pi))
        terms.append(np.bincount(product, each, len(centre)) + prior)
    joint = np.array(terms)  # (nodes, J)
    peak = joint.max(axis=0)
    density = np.exp(joint - peak)
    step = (NODES[1] - NODES[0]) * deviation
    evidence = (np.log(density.sum(axis=0) * step) + peak).sum()
    shift = (density * NODES[:, None]).sum(axis=0) / density.sum(axis=0)
    return float(evidence), np.exp(np.minimum(centre + shift * deviation, -1e-9))


def _mode(a: float, clicks: Floats, impressions: Floats, product: Index, overall: float) -> tuple[Floats, Floats]:
    """(mode of log m_j, its deviation), f64[J] each, about: creatives weigh 1 / (1 / a + 1 / clicks)."""
    rate = np.log((clicks + 0.5) / (impressions + 0.5 / math.exp(overall)))
    weight = 1 / (1 / a + 1 / (clicks + 0.5))
    total = np.bincount(product, weight) + 1 / MEAN_SPREAD**2
    centre = (np.bincount(product, weight * rate) + overall / MEAN_SPREAD**2) / total
    return centre, 1 / np.sqrt(total)
