"""Open the simulated shop: a log of who was shown what, where and when, and what was clicked.

A slot comes up for a product, at a position, for a shopper of a group; the policy then chooses among the product's ads.
`propensity` is the chance with which it chose, given product, day and position: exact, so the log can be reweighted.

Switched off, position and day change nothing. With `position_bias` a click at position p needs a look that far down,
with chance p^-0.7 (the position-based model, Craswell et al. 2008). With `drift` both the general readiness to click
and the mix of groups walk at random from day to day. An adaptive policy turns either into confounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.errors import InputError
from caig.seeding import seed_for
from caig.shop.shoppers import GROUPS, Ad, World

START = datetime(2026, 1, 1)
DAY = 86_400_000  # milliseconds
POSITION_DECAY = 0.7
LEVEL_STEP = 0.2  # deviation per day of the log of all CTRs
MIX_STEP = 0.4  # deviation per day of the log odds of each group
POPULARITY = 0.6  # deviation of the log of a product's share of the slots
CONVERSION = 0.04  # chance of an order after a click, whatever the picture
SMOOTHING = 200  # impressions at the product's mean CTR that an adaptive policy takes for granted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Traffic:
    """What a policy knows when a day begins: C ads, sorted by product, and the counts of the days before."""

    product: Ints  # i64[C]: number of each ad's product
    clicks: Ints  # i64[C]
    impressions: Ints  # i64[C]
    positions: int

    def within_product(self, values: Floats) -> Floats:
        """f64[C]: each ad's product's sum of `values` f64[C]."""
        return np.bincount(self.product, values)[self.product]


Policy = Callable[[Traffic], Floats]  # f64[positions, C]: chance of each ad within its product; sums to 1 there


def uniform(traffic: Traffic) -> Floats:
    """Every ad of a product with the same chance, everywhere."""
    return np.tile(1 / traffic.within_product(np.ones(len(traffic.product))), (traffic.positions, 1))


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Traffic shifts to what was clicked, the better the position the more; as ad servers do, it trusts raw CTRs.

    Chance = (1 - explore) softmax(eagerness / position * log CTR so far) + explore / number of the product's ads.
    """

    eagerness: float = 8.0
    explore: float = 0.1

    def __call__(self, traffic: Traffic) -> Floats:
        mean = traffic.within_product(traffic.clicks + 1.0) / traffic.within_product(traffic.impressions + 100.0)
        ctr = (traffic.clicks + SMOOTHING * mean) / (traffic.impressions + SMOOTHING)
        relative = np.log(ctr / mean)
        weight = [np.exp(self.eagerness / position * relative) for position in range(1, traffic.positions + 1)]
        greedy = np.array([row / traffic.within_product(row) for row in weight])
        return (1 - self.explore) * greedy + self.explore * uniform(traffic)


def simulate(
    world: World,
    ads: Sequence[Ad],
    policy: Policy,
    impressions: int,
    *,
    seed: int = 0,
    days: int = 7,
    positions: int = 4,
    position_bias: bool = False,
    drift: bool = False,
    conversions: bool = False,
) -> pl.DataFrame:
    """Return the log of `impressions` slots filled from `ads` by `policy`, one row each, in order of time.

    Columns: impression_id (from 0), product_id, creative_id, at (UTC, milliseconds), clicked (boolean), position
    (from 1), propensity (0 to 1), group; with `conversions` also conversion (boolean; only after a click) and value
    (the product's price where that is a number, else 1; 0 without an order). Same arguments, same log.

    Raises:
        InputError: no ads, two with the same id, a count below 1, or a policy whose chances do not sum to 1.
    """
    _check(ads, impressions=impressions, days=days, positions=positions)
    ads = sorted(ads, key=lambda ad: ad.product.id)  # stable: a product's ads keep their order
    _, product = np.unique([ad.product.id for ad in ads], return_inverse=True)
    ctr, rng = world.group_ctr(ads), np.random.default_rng(seed_for(seed, "impressions"))
    look_down = np.arange(1, positions + 1) ** (-POSITION_DECAY * position_bias)
    level, mix = weather(days, np.random.default_rng(seed_for(seed, "weather")), drift)
    share = np.bincount(product) * np.exp(POPULARITY * rng.standard_normal(product[-1] + 1))
    clicks = shows = np.zeros(len(ads), np.int64)
    parts = []
    for day, size in enumerate(rng.multinomial(impressions, np.full(days, 1 / days))):
        chances = policy(Traffic(product=product, clicks=clicks, impressions=shows, positions=positions))
        shown = _slots(size, share / share.sum(), positions, mix[day], rng)
        ad, shown["propensity"] = _choose(chances, product, shown, rng)
        chance = level[day] * ctr[ad, shown["group"]] * look_down[shown["position"] - 1]
        shown |= {"ad": ad, "clicked": rng.random(size) < chance}
        shown["at"] = day * DAY + np.sort(rng.integers(DAY, size=size))
        clicks = clicks + np.bincount(ad[shown["clicked"]], minlength=len(ads))
        shows = shows + np.bincount(ad, minlength=len(ads))
        parts.append(shown)
    log = _table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, ads)
    return _with_orders(log, ads, np.random.default_rng(seed_for(seed, "orders"))) if conversions else log


def _check(ads: Sequence[Ad], **counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(name, expected="at least 1", got=str(count), next_step="Raise it.")
    ids = [ad.id for ad in ads]
    if not ids:
        raise InputError("ads", expected="at least one", got="none", next_step="Give the shop something to show.")
    if len(set(ids)) < len(ids):
        twice = next(id for id in ids if ids.count(id) > 1)
        raise InputError("ads", expected="each id once", got=f"'{twice}' again", next_step="Give each its own id.")


def weather(days: int, rng: np.random.Generator, drift: bool) -> tuple[Floats, Floats]:
    """(factor on every CTR f64[days], shares of the groups f64[days, G]); constant without `drift`."""
    level = np.cumsum(LEVEL_STEP * rng.standard_normal(days))
    odds = np.cumsum(MIX_STEP * rng.standard_normal((days, len(GROUPS))), axis=0)
    mix = np.array(list(GROUPS.values())) * np.exp(drift * odds)
    return np.exp(drift * (level - level.mean())), mix / mix.sum(1, keepdims=True)


def _slots(size: int, share: Floats, positions: int, mix: Floats, rng: np.random.Generator) -> dict[str, NDArray]:
    """The day's slots before anything is shown in them."""
    return {
        "product": np.searchsorted(np.cumsum(share)[:-1], rng.random(size), side="right"),
        "position": rng.integers(1, positions + 1, size=size),
        "group": np.searchsorted(np.cumsum(mix)[:-1], rng.random(size), side="right"),
    }


def _choose(chances: Floats, product: Ints, slots: dict[str, NDArray], rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Draw each slot's ad from the chances f64[positions, C] within its product; returns (ad, its chance)."""
    products = product[-1] + 1
    totals = np.array([np.bincount(product, row, products) for row in chances])
    if not (np.allclose(totals, 1) and (chances >= 0).all()):
        got = f"sums from {totals.min():.4g} to {totals.max():.4g}"
        raise InputError("policy", expected="chances that sum to 1 per product", got=got, next_step="Normalise them.")
    first = np.searchsorted(product, np.arange(products))
    last = np.append(first[1:], len(product)) - 1
    drawn = slots["product"] + rng.random(len(slots["product"]))
    chosen = np.empty(len(drawn), np.int64)
    for position, row in enumerate(chances, 1):  # cumulative over all ads: product j's lie between j and j + 1
        here = slots["position"] == position
        chosen[here] = np.searchsorted(np.cumsum(row), drawn[here], side="right")
    chosen = np.clip(chosen, first[slots["product"]], last[slots["product"]])  # rounding of the running sum
    return chosen, chances[slots["position"] - 1, chosen]


def _table(shown: dict[str, NDArray], ads: Sequence[Ad]) -> pl.DataFrame:
    ad = shown["ad"]
    return pl.DataFrame(
        {
            "impression_id": np.arange(len(ad)),
            "product_id": pl.Series([a.product.id for a in ads]).gather(ad),
            "creative_id": pl.Series([a.id for a in ads]).gather(ad),
            "at": shown["at"],
            "clicked": shown["clicked"],
            "position": shown["position"].astype(np.int16),
            "propensity": shown["propensity"],
            "group": pl.Series(list(GROUPS)).gather(shown["group"]),
        }
    ).with_columns(at=pl.lit(START).cast(pl.Datetime("ms")) + pl.col("at").cast(pl.Duration("ms")))


def _with_orders(log: pl.DataFrame, ads: Sequence[Ad], rng: np.random.Generator) -> pl.DataFrame:
    prices = {ad.id: ad.product.attributes.get("price") for ad in ads}
    price = {id: float(value) if isinstance(value, int | float) else 1.0 for id, value in prices.items()}
    ordered = log["clicked"].to_numpy() & (rng.random(len(log)) < CONVERSION)
    value = pl.col("creative_id").replace_strict(price, return_dtype=pl.Float64) * pl.col("conversion")
    return log.with_columns(conversion=ordered).with_columns(value=value)
