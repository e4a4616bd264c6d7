"""Does the correction of click logs undo position bias, drift and adaptive traffic?

In each world a product's ads are launched one after the other, as in any shop, and an adaptive policy shares out the
slots among those that run, with position bias and drift. Labels, one per pair of a product's ads, are held against the
true order of their CTRs:

    naive      from each ad's clicks and impressions, as a counts-only log has them
    corrected  from the same log's rows, by `caig.data.confounding`
    unbiased   what chance alone would spoil: each ad gets the same number of impressions again, in conditions drawn at
               random, with as many clicks overall
    uniform    another log of as many impressions, without bias, drift, launches or adaptation. It has more clicks and
               spreads them evenly, which no correction can make up for

recovered = (accuracy corrected - naive) / (unbiased - naive), of the means over worlds; intervals draw worlds anew.
Without launches the adaptive policy hurts the naive labels little: it favours the ads that are truly better.

Ads are drawn, not rendered: their looks are standard normal, as the statistics of the renders are by construction, and
their CTRs are the world's. Nothing here looks at pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.data.clicks import clicks_of
from caig.data.comparisons import Pairs, compare
from caig.seeding import seed_for
from caig.shop.shoppers import Ad, World
from caig.shop.simulate import Adaptive, Traffic, simulate, uniform
from caig.shop.statistics import NAMES
from caig.studies.shelf import counts
from caig.types import Estimate, Product

DRAWS = 1000
CATEGORIES = 14
LABELS = ("naive", "corrected", "unbiased", "uniform")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study confounding`."""

    worlds: int = 20
    products: int = 40
    ads: int = 6
    """Ads per product; two run from the first day, the others from a day in the first two thirds."""
    impressions: int = 2_000_000
    """Per world."""
    days: int = 28
    seed: int = 0


class Launching:
    """Adaptive traffic among the ads that run already; `launch` i64[C] is each ad's first day, from 0."""

    def __init__(self, launch: NDArray[np.int64]) -> None:
        self.launch, self.day, self.policy = launch, -1, Adaptive()

    def __call__(self, traffic: Traffic) -> Floats:
        self.day += 1
        chances = self.policy(traffic) * (self.launch <= self.day)
        return chances / np.array([traffic.within_product(row) for row in chances])


def run(config: Config) -> list[Estimate]:
    """Accuracies of the labels and the shares recovered, with 95 % intervals over worlds."""
    accuracy = np.array([accuracies(config, config.seed + world) for world in range(config.worlds)])
    rng = np.random.default_rng(seed_for(config.seed, "worlds"))
    drawn = accuracy[rng.integers(config.worlds, size=(DRAWS, config.worlds))].mean(axis=1)
    pairs = config.worlds * config.products * config.ads * (config.ads - 1) // 2
    statistics = [(f"accuracy of {name} labels", lambda means, k=k: means[k]) for k, name in enumerate(LABELS)]
    statistics += [
        (f"recovered of naive to {LABELS[k]}", lambda means, k=k: (means[1] - means[0]) / (means[k] - means[0]))
        for k in (2, 3)
    ]
    estimates = []
    for name, statistic in statistics:
        low, high = np.quantile(statistic(drawn.T), [0.025, 0.975])
        value = float(statistic(accuracy.mean(axis=0)))
        estimates.append(Estimate(name=name, value=value, low=float(low), high=float(high), n=pairs))
    return estimates


def accuracies(config: Config, seed: int) -> list[float]:
    """Accuracy of each of LABELS in one world."""
    world, ads = World(seed), draw_ads(config.products, config.ads, seed)
    rng = np.random.default_rng(seed_for(seed, "launches"))
    launch = rng.integers(0, max(1, config.days * 2 // 3), size=(config.products, config.ads))
    launch[:, :2] = 0
    policy, size = Launching(launch.reshape(-1)), config.impressions
    log = simulate(world, ads, policy, size, seed=seed, days=config.days, position_bias=True, drift=True)
    even = simulate(world, ads, uniform, size, seed=seed_for(seed, "uniform"), days=config.days)
    true = {ad.id: ctr for ad, ctr in zip(ads, world.ctr(ads), strict=True)}
    shown = counts(log, ads)
    logs = (shown, log, shown_at_random(shown, true, seed), counts(even, ads))
    return [label_accuracy(compare(clicks_of(each).creatives), true) for each in logs]


def draw_ads(products: int, ads: int, seed: int) -> list[Ad]:
    """Ads of ordinary looks, `ads` for each product; categories by turns."""
    rng = np.random.default_rng(seed_for(seed, "ads"))
    return [
        Ad(
            id=f"p{p:04d}-{k}",
            product=Product(id=f"p{p:04d}", title=f"product {p}", category=f"category {p % CATEGORIES}"),
            look=rng.standard_normal(len(NAMES)),
        )
        for p in range(products)
        for k in range(ads)
    ]


def shown_at_random(log: pl.DataFrame, true: Mapping[str, float], seed: int) -> pl.DataFrame:
    """The same impressions of each ad, clicks drawn anew from its true CTR times what conditions took on average."""
    rng = np.random.default_rng(seed_for(seed, "unbiased"))
    ctr, shown = np.array([true[name] for name in log["creative_id"]]), log["impressions"].to_numpy()
    conditions = log["clicks"].sum() / (shown * ctr).sum()
    return log.with_columns(clicks=rng.binomial(shown, ctr * conditions))


def true_order(pairs: Pairs, true: Mapping[str, float]) -> Floats:
    """f64[P]: 1 where the first's true CTR is higher, 0 where lower."""
    ctr = np.array([true[creative.creative_id] for creative in pairs.creatives])
    return (ctr[pairs.first] > ctr[pairs.second]).astype(np.float64)


def label_accuracy(pairs: Pairs, true: Mapping[str, float]) -> float:
    """Share of pairs whose label leans to the truly better one."""
    return float(((pairs.label > 0.5) == (true_order(pairs, true) > 0.5)).mean())
