"""From counts to comparisons: pairs of one product's creatives, how sure the clicks are about each, and how well even a
perfect ranker could agree with them.

Posteriors are those of `caig.data.spread`, on the effective counts of `caig.data.clicks`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from caig.data.clicks import CreativeClicks
from caig.data.spread import Spread, fit_spread
from caig.types import Estimate

NODES = 16  # of Gauss-Legendre: error of a probability below 1e-4, see the tests
DRAWS = 500  # of all true CTRs from their posteriors
GAPS = (1.0, 1.05, 1.2, 1.5, np.inf)  # ratio of the higher observed CTR to the lower one

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """P pairs of creatives of one product each, by their index in `creatives` (N of them)."""

    creatives: tuple[CreativeClicks, ...]
    product: Index  # i64[N]
    spread: Spread
    first: Index  # i64[P]
    second: Index  # i64[P]
    label: Floats  # f64[P]: P(first truly better | counts), the soft label
    observed: Floats  # f64[P]: 1 where the first has the higher corrected CTR, 0 the second, 0.5 for ties
    ratio: Floats  # f64[P]: the higher corrected CTR over the lower one, inf over none

    def __len__(self) -> int:
        return len(self.first)

    @property
    def weight(self) -> Floats:
        """f64[P]: |2 label - 1|, how far the label is from a coin's flip."""
        return np.abs(2 * self.label - 1)

    def where(self, kept: NDArray[np.bool_]) -> Pairs:
        """The pairs that bool[P] marks."""
        columns = ("first", "second", "label", "observed", "ratio")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def within(self, *, more_than: int = -1, ratio: tuple[float, float] = (1.0, np.inf)) -> NDArray[np.bool_]:
        """bool[P]: pairs whose sides both have more impressions in the log, and whose ratio lies within the bounds."""
        shown = np.array([creative.counts.impressions for creative in self.creatives])
        least = np.minimum(shown[self.first], shown[self.second])
        return (least > more_than) & (self.ratio >= ratio[0]) & (self.ratio <= ratio[1])


def split(product_id: str) -> str:
    """Return "test", "validation" or "train" (a seventh, a seventh, the rest), the same for all pictures of a product.

    By a hash of the id, since numbers may carry meaning: the rendered products' numbers modulo 7 tell their category,
    and categories without a training product would be left to test the tastes of.
    """
    part = int(hashlib.sha256(product_id.encode()).hexdigest(), 16) % 7
    return ("test", "validation")[part] if part < 2 else "train"


def compare(creatives: Sequence[CreativeClicks]) -> Pairs:
    """Every pair of creatives of one product, in the order given, with its soft label."""
    product = np.unique([c.product_id for c in creatives], return_inverse=True)[1]
    clicks, impressions = effective_counts(creatives)
    spread = fit_spread(clicks, impressions, product)
    first, second = _pairs_within(product)
    posterior = spread.posterior(clicks, impressions, product)
    # Cross products: exact, where a difference of ratios may miss a tie.
    there, back = clicks[first] * impressions[second], clicks[second] * impressions[first]
    low, high = np.minimum(there, back), np.maximum(there, back)
    return Pairs(
        creatives=tuple(creatives),
        product=product,
        spread=spread,
        first=first,
        second=second,
        label=first_better(posterior[first], posterior[second]),
        observed=0.5 + 0.5 * np.sign(there - back),
        ratio=np.divide(high, low, out=np.where(high > 0, np.inf, 1.0), where=low > 0),
    )


def effective_counts(creatives: Sequence[CreativeClicks]) -> tuple[Floats, Floats]:
    """(clicks, impressions), f64[N] each."""
    pairs = np.array([(c.effective.clicks, c.effective.impressions) for c in creatives], np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def first_better(first: Floats, second: Floats) -> Floats:
    """P(x > y), f64[P] in 0..1, of x ~ Beta(first), y ~ Beta(second), parameters f64[P, 2].

    The integral of F_second(x) f_first(x) dx, with x written as the first posterior's quantile at levels 0..1.
    """
    from scipy.special import betainc, betaincinv

    distinct, index = np.unique(first, axis=0, return_inverse=True)  # a creative stands in many pairs
    total = np.zeros(len(first))
    for node, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        quantiles = betaincinv(*distinct.T, (node + 1) / 2)
        total += weight / 2 * betainc(*second.T, quantiles[index.reshape(-1)])
    return total


def agreement_if_known(label: Floats, observed: Floats) -> Floats:
    """f64[P]: the chance that someone who knows the true order agrees with the observed one, given the counts."""
    return observed * label + (1 - observed) * (1 - label)


def noise_ceiling(pairs: Pairs, *, name: str = "noise ceiling", seed: int = 0) -> list[Estimate]:
    """The pair accuracy that a perfect ranker would score on exactly these observed orders: of all, and by gap bucket.

    The value is the mean chance that true and observed order agree, given the counts. Whatever chose the pairs by their
    counts (a filter) is thereby allowed for: given the counts, the choice says nothing more of the truth. The interval
    holds 95 % of what perfect rankers score when all true CTRs are drawn from their posteriors, log `a` from its normal
    approximation: pairs that share a creative or product move together, so it is clustered by product. It speaks of
    these labels; a bootstrap that draws products anew would speak of other labels.

    Buckets without a pair are left out, and so is everything when there is no pair.
    """
    buckets = [(name, np.ones(len(pairs), bool))]
    for low, high in zip(GAPS, GAPS[1:], strict=False):
        text = f"ratio {low:g} to {high:g}" if np.isfinite(high) else f"ratio {low:g} and more"
        buckets.append((f"{name}, {text}", (pairs.ratio >= low) & (pairs.ratio < high)))
    buckets[-1] = (buckets[-1][0], pairs.ratio >= GAPS[-2])
    buckets = [(title, kept) for title, kept in buckets if kept.any()]
    expected = agreement_if_known(pairs.label, pairs.observed)
    drawn = [[agreement[kept].mean() for _, kept in buckets] for agreement in _drawn_agreement(pairs, seed)]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if buckets else ((), ())
    return [
        Estimate(name=title, value=float(expected[kept].mean()), low=float(lo), high=float(hi), n=int(kept.sum()))
        for (title, kept), lo, hi in zip(buckets, low, high, strict=True)
    ]


def _drawn_agreement(pairs: Pairs, seed: int) -> Iterator[Floats]:
    """DRAWS times f64[P]: 1 where drawn true CTRs order the pair as observed, 0 where not, 0.5 for observed ties."""
    rng = np.random.default_rng(seed)
    clicks, impressions = effective_counts(pairs.creatives)
    sign = 2 * pairs.observed - 1
    for _ in range(DRAWS):
        shape = float(pairs.spread.shape * np.exp(pairs.spread.error * rng.standard_normal()))
        posterior = pairs.spread.posterior(clicks, impressions, pairs.product, shape)
        ctr = rng.beta(posterior[:, 0], posterior[:, 1])
        yield 0.5 + 0.5 * sign * np.sign(ctr[pairs.first] - ctr[pairs.second])


def _pairs_within(product: Index) -> tuple[Index, Index]:
    """(first, second), i64[P] each: all pairs of equal `product`, each pair and product in the order given."""
    order = np.argsort(product, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(product[order])) + 1)
    sides = [(group[a], group[b]) for group in groups for a, b in [np.triu_indices(len(group), 1)]]
    first, second = (np.concatenate([pair[side] for pair in sides]) for side in (0, 1))
    return first, second
