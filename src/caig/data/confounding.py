"""Correct counts for where, when and to whom each creative was shown.

Creative i of product j gets k clicks in n impressions at position, day and group s. Clicks are Poisson with mean

    n theta_i alpha_s beta_c        c = product x day x group

alpha_s is what a position does on a day to a group, the same for all products (a position's share of attention does
not depend on the ad: Richardson, Dominowska and Ragno 2007; Craswell et al. 2008). beta_c, gamma with mean 1 and shape
b, is a product's own ups and downs. theta_i has the prior of `caig.data.spread`, here a gamma with shape a and the
product's mean m_j. Expectation and maximisation by turns, until nothing moves, k and n summed over what the left side
leaves open:

    E theta_i = (a + k_i) / (a / m_j + sum n alpha beta)      E beta_c = (b + k_c) / (b + sum n theta alpha)
    alpha_s = k_s / sum n theta beta                          m_j = mean of E theta_i

then `a` and b are refitted by marginal likelihood, b to the negative binomial of clicks per stratum. With small b only
creatives that met in one stratum are compared, at equal position; the steadier the log shows its products to be, the
more they share their days. The priors are no nicety: traffic that follows past clicks gives lucky creatives better
places, and with theta free their return to normal would be put down to the places.

Tastes that differ between groups break the model; where the policy also favoured a creative in some group, comparing
within strata no longer suffices. So impressions carry stabilised inverse-propensity weights (Robins, Hernan and
Brumback 2000): the propensity's inverse over its mean for that creative on that day at that position. They give the
creatives the same mix of groups. Only within day and position, whose shares alpha and beta take care of: weighting
those too would add nothing but noise. n and k above are the weighted ones.

Effective counts, c_i clicks in c_i / theta_i impressions, carry the precision of theta_i, so that Beta posteriors hold:

    c_i = k_i * (k_i / sum w^2 over clicks) * min(1, sum_c e_ic (1 - e_ic / (b + e_c)) / (k_i (1 - k_i / K)))

with e_ic the clicks expected of creative i in c, e_c of all in c, K the product's clicks. The first factor is Kish's
for unequal weights. The second is the information on log theta_i when beta is not known, over what one single stratum
would give (with b = 0 that of conditional Poisson regression; Armstrong, Gasparrini and Tobias 2014): 0 then for a
creative that never met another. With one stratum and no propensities, c_i and c_i / theta_i are the counts themselves.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.data.spread import fit_spread

STRATA = ("position", "day", "group")
REFITS, ROUNDS = 5, 100
TOLERANCE = 1e-5  # of theta, over its largest
TOLERANCE_OF_SHAPE = 0.02  # of log a and log b
STEADINESS = (0.1, 1e5)  # range of b

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


def correct(cells: pl.DataFrame) -> pl.DataFrame:
    """Counts and effective counts per creative, sorted by product_id and creative_id.

    Args:
        cells: product_id, creative_id, position, day, group, image, impressions, clicks and, where propensities are
            known, w, wk, w2, w2k: sums of 1 / propensity and its square over impressions and over clicks.

    Returns:
        product_id, creative_id, image, impressions, clicks, effective_impressions, effective_clicks
    """
    totals = (
        cells.group_by("creative_id", maintain_order=True)
        .agg(pl.col("product_id").first(), pl.col("image").drop_nulls().first(), pl.col("impressions", "clicks").sum())
        .sort(pl.col("creative_id").cast(pl.String))
    )
    if "w" not in cells.columns and all(cells[name].is_null().all() for name in STRATA):
        clicks, shown = totals["clicks"], totals["impressions"]  # nothing to correct by
    else:
        clicks, shown = _effective(cells)
    found = totals.with_columns(
        effective_clicks=pl.Series(clicks, dtype=pl.Float64), effective_impressions=pl.Series(shown, dtype=pl.Float64)
    )
    return found.with_columns(pl.col("product_id", "creative_id", "image").cast(pl.String)).sort(
        "product_id", "creative_id"
    )


def _effective(cells: pl.DataFrame) -> tuple[Floats, Floats]:
    """(clicks, impressions), f64[N], of creatives in order of their ids' codes."""
    creative, place, stratum, drawn = (
        _codes(cells, columns)
        for columns in (["creative_id"], [*STRATA], ["product_id", "day", "group"], ["creative_id", "day", "position"])
    )
    product = _codes(cells, ["product_id"])[np.unique(creative, return_index=True)[1]]
    n, k, squares, spread = _weighted(cells, drawn)
    exposure, steadiness = _exposure(n, k, creative, place, stratum, product)
    clicks, shown = _sums(creative, k), _sums(creative, exposure)
    worth = _kish(clicks, _sums(creative, squares), _sums(creative, n), _sums(creative, spread))
    worth *= _overlap(k, exposure * _ratio(clicks, shown)[creative], steadiness, creative, stratum, product)
    return clicks * worth, np.maximum(shown, clicks) * worth


def _codes(cells: pl.DataFrame, columns: list[str]) -> Index:
    """i64[cells]: 0, 1, … for each distinct row of `columns`, in their order; texts by their letters, since the numbers
    that polars gives them differ from run to run, and with them the order of sums."""
    codes = np.zeros(len(cells), np.int64)
    for name in columns:
        own = cells[name]
        if own.dtype == pl.Categorical:
            texts = own.drop_nulls().unique()
            own = own.replace_strict(texts, texts.cast(pl.String).rank("dense"), return_dtype=pl.Int64)
        own = own.to_physical().cast(pl.Int64).fill_null(-(2**31)).to_numpy()
        own = np.unique(own, return_inverse=True)[1]
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
    return codes


def _weighted(cells: pl.DataFrame, drawn: Index) -> tuple[Floats, Floats, Floats, Floats]:
    """(n, k, sum of w^2 over clicks, sum of w^2 over impressions) per cell, f64[cells] each."""
    n, k = (cells[name].to_numpy().astype(np.float64) for name in ("impressions", "clicks"))
    if "w" not in cells.columns:
        return n, k, k, n
    w, wk, w2, w2k = (cells[name].to_numpy() for name in ("w", "wk", "w2", "w2k"))
    mean = (_sums(drawn, w) / _sums(drawn, n))[drawn]
    return w / mean, wk / mean, w2k / mean**2, w2 / mean**2


def _exposure(
    n: Floats, k: Floats, creative: Index, place: Index, stratum: Index, product: Index
) -> tuple[Floats, float]:
    """(n alpha beta per cell, f64[cells], at the maximum; the shape b).

    The scale of theta is free: a product's clicks over its impressions fix it.
    """
    clicks, shown, met = _sums(creative, k), _sums(creative, n), _sums(stratum, k)
    level, size = _sums(product, clicks), np.bincount(product)
    theta, alpha = _ratio(level, _sums(product, shown))[product], np.ones(place.max(initial=0) + 1)
    shape, steadiness = fit_spread(clicks, shown, product).shape, STEADINESS[1]
    for _ in range(REFITS):
        for _ in range(ROUNDS):
            beta = (steadiness + met) / (steadiness + _sums(stratum, n * theta[creative] * alpha[place]))
            alpha = _ratio(_sums(place, k), _sums(place, n * theta[creative] * beta[stratum]))
            exposed = _sums(creative, n * alpha[place] * beta[stratum])
            mean = (_sums(product, theta) / size)[product]
            new = mean * (shape + clicks) / (shape + mean * exposed)
            new *= _ratio(level, _sums(product, shown * new))[product]
            moved = np.abs(new - theta).max(initial=0) / max(theta.max(initial=0), 1e-12)
            theta = new
            if moved < TOLERANCE:
                break
        before, shape = (shape, steadiness), fit_spread(clicks, exposed, product).shape
        steadiness = _fit_steadiness(met, _sums(stratum, n * theta[creative] * alpha[place]))
        if np.abs(np.log([shape, steadiness]) - np.log(before)).max() < TOLERANCE_OF_SHAPE:
            break
    return n * alpha[place] * beta[stratum], steadiness


def _fit_steadiness(met: Floats, expected: Floats) -> float:
    """The shape b that makes clicks per stratum most likely: negative binomial with mean `expected`."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    def loss(log_shape: float) -> float:
        b = np.exp(log_shape)
        return -(gammaln(b + met) - gammaln(b) + b * np.log(b) - (b + met) * np.log(b + expected)).sum()

    bounds = tuple(np.log(STEADINESS))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-2}).x))


def _kish(clicks: Floats, squares: Floats, shown: Floats, spread: Floats) -> Floats:
    """What unequal weights leave of a creative's counts, 0 to 1; without clicks, by its impressions."""
    return np.where(clicks > 0, _ratio(clicks, squares), _ratio(shown, spread))


def _overlap(k: Floats, expected: Floats, steadiness: float, creative: Index, stratum: Index, product: Index) -> Floats:
    """Information on each log theta over that of the same clicks in one stratum, 0 to 1."""
    _, first, index = np.unique(creative * (stratum.max() + 1) + stratum, return_index=True, return_inverse=True)
    own, met = creative[first], stratum[first]  # of each (creative, stratum)
    each = _sums(index, expected)
    part = _sums(own, each * (1 - each / (steadiness + _sums(stratum, expected)[met])))
    clicks = _sums(creative, k)
    whole = clicks * (1 - _ratio(clicks, _sums(product, clicks)[product]))
    # Without clicks of its own, or of any other creative, there is nothing to lose.
    return np.where(whole > 0, np.minimum(1, _ratio(part, whole)), 1.0)


def _sums(index: Index, values: Floats) -> Floats:
    """Sums of `values` by `index`."""
    return np.bincount(index, values)


def _ratio(above: Floats, below: Floats) -> Floats:
    """above / below, 0 where both vanish."""
    return np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
