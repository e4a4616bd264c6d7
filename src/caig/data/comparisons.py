"""From counts to comparisons: pairs of one product's creatives, and how sure the clicks are about each.

The posterior of a CTR given c clicks in n impressions is Beta(a + c, b + n - c). The prior (a, b) is flat, (1, 1), for
now: it knows nothing of how close the creatives of a product usually are, so it makes labels and noise ceiling somewhat
too sure. A prior fitted to the within-product spread by empirical Bayes is to replace it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from caig.data.clicks import CreativeClicks
from caig.types import Comparison

FLAT = (1.0, 1.0)
NODES = 16  # of Gauss-Legendre: error of a probability below 1e-4, see the tests

Floats = NDArray[np.float64]


def split(product_id: str) -> str:
    """Return "test", "validation" or "train" (a seventh, a seventh, the rest), the same for all pictures of a product.

    By a hash of the id, since numbers may carry meaning: the rendered products' numbers modulo 7 tell their category,
    and categories without a training product would be left to test the tastes of.
    """
    part = int(hashlib.sha256(product_id.encode()).hexdigest(), 16) % 7
    return ("test", "validation")[part] if part < 2 else "train"


def compare(creatives: Iterable[CreativeClicks]) -> list[Comparison]:
    """Return every pair of creatives of one product, with their counts; products and pairs in the order given."""
    groups: dict[str, list[CreativeClicks]] = {}
    for creative in creatives:
        groups.setdefault(creative.product_id, []).append(creative)
    return [
        Comparison(
            product_id=product,
            first=first.creative_id,
            second=second.creative_id,
            first_counts=first.counts,
            second_counts=second.counts,
        )
        for product, group in groups.items()
        for first, second in combinations(group, 2)
    ]


def first_better(comparisons: Sequence[Comparison], prior: tuple[float, float] = FLAT) -> Floats:
    """P(first truly better | counts), f64[P] in 0..1: the soft labels.

    The integral of F_second(x) f_first(x) dx, with x written as the first posterior's quantile at levels 0..1.
    """
    from scipy.special import betainc, betaincinv

    first, second = (_posteriors(comparisons, side, prior) for side in ("first_counts", "second_counts"))
    distinct, index = np.unique(first, axis=0, return_inverse=True)  # a creative stands in many pairs
    total = np.zeros(len(comparisons))
    for node, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        quantiles = betaincinv(*distinct.T, (node + 1) / 2)
        total += weight / 2 * betainc(*second.T, quantiles[index.reshape(-1)])
    return total


def observed_order(comparisons: Sequence[Comparison]) -> Floats:
    """f64[P]: 1 where the first has the higher observed CTR, 0 where the second has, 0.5 for ties."""
    # Cross products: exact, where a difference of ratios may miss a tie.
    gap = [
        c.first_counts.clicks * c.second_counts.impressions - c.second_counts.clicks * c.first_counts.impressions
        for c in comparisons
    ]
    return 0.5 + 0.5 * np.sign(np.array(gap, np.float64))


def ceiling(first_better_probability: Floats, observed: Floats) -> Floats:
    """f64[P]: the chance that someone who knows the true order agrees with the observed one, given the counts.

    Their mean is the noise ceiling: the pair accuracy that a perfect ranker would score on exactly these labels.
    """
    return observed * first_better_probability + (1 - observed) * (1 - first_better_probability)


def _posteriors(comparisons: Sequence[Comparison], side: str, prior: tuple[float, float]) -> Floats:
    """f64[P, 2]: both parameters of each pair's Beta posterior on one side."""
    counts = [getattr(comparison, side) for comparison in comparisons]
    outcomes = [(c.clicks, c.impressions - c.clicks) for c in counts]
    return np.array(outcomes, np.float64).reshape(-1, 2) + prior
