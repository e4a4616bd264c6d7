"""Does the correction of click logs undo position bias, drift and adaptive traffic?

In each world a product's ads are launched one after the other, as in any shop, and an adaptive policy shares out the
slots among those that run, with position bias and drift. Labels, one per pair of a product's ads, are held against the
true order of their CTRs:

    naive      from each ad's clicks and impressions, as a counts-only log has them
    corrected  from the same log's rows, by `caig.data.confounding`
    unbiased   what chance alone would spoil: clicks drawn anew from the true CTRs, in as many impressions as each ad's
               own were worth at their positions on their days (one at the top of an ordinary day is worth 1)
    shuffled   the same, but the impressions of all ads are worth the same: ads that were badly placed gain clicks
    uniform    another log of as many rows, without bias, drift, launches or adaptation. It has more clicks and spreads
               them evenly, which no correction can make up for

recovered = (accuracy corrected - naive) / (unbiased - naive), of the means over worlds, and likewise for the sets
below; intervals draw worlds anew.
Without launches the adaptive policy hurts the naive labels little: it favours the ads that are truly better.

Ads are drawn, not rendered: their looks are standard normal, as the statistics of the renders are by construction, and
their CTRs are the world's. Nothing here looks at pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.data.clicks import clicks_of
from caig.data.comparisons import Pairs, compare
from caig.seeding import seed_for
from caig.shop.shoppers import Ad, World
from caig.shop.simulate import POSITION_DECAY, START, Adaptive, Traffic, simulate, uniform, weather
from caig.shop.statistics import NAMES
from caig.studies.shelf import counts
from caig.types import Estimate, Product

DRAWS = 1000
CATEGORIES = 14
LABELS = ("naive", "corrected", "unbiased", "shuffled", "uniform")
REDRAWS = 5  # of the clicks behind "unbiased" and "shuffled", averaged

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
    estimates = []
    for name, of_means in statistics().items():
        with np.errstate(divide="ignore", invalid="ignore"):  # where naive labels lost nothing, no share is defined
            low, high = np.quantile(of_means(drawn.T), [0.025, 0.975])
            value = float(of_means(accuracy.mean(axis=0)))
        estimates.append(Estimate(name=name, value=value, low=float(low), high=float(high), n=pairs))
    return estimates


def statistics() -> dict[str, Callable[[Floats], Floats]]:
    """By name, what is reported of the mean accuracies f64[5, ...], ordered as LABELS."""
    found: dict[str, Callable[[Floats], Floats]] = {}
    for k, name in enumerate(LABELS):
        found[f"accuracy of {name} labels"] = lambda means, k=k: means[k]
    for k, name in enumerate(LABELS[2:], 2):
        found[f"recovered of naive to {name}"] = lambda means, k=k: (means[1] - means[0]) / (means[k] - means[0])
    return found


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
    shown, worth = counts(log, ads), exposure(log, ads, seed, config.days)
    even_worth = shown["impressions"].to_numpy() * worth.sum() / size
    return [
        label_accuracy(shown, true),
        label_accuracy(log, true),
        *(redrawn_accuracy(shown, each, true, seed) for each in (worth, even_worth)),
        label_accuracy(counts(even, ads), true),
    ]


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


def exposure(log: pl.DataFrame, ads: Sequence[Ad], seed: int, days: int) -> Floats:
    """f64[C]: what each ad's impressions in `log`, drawn with `seed`, were worth: the sum of the day's and the
    position's factors on every CTR."""
    level, _ = weather(days, np.random.default_rng(seed_for(seed, "weather")), True)
    day = (log["at"] - START).dt.total_days().to_numpy()
    worth = level[day] * log["position"].to_numpy().astype(np.float64) ** -POSITION_DECAY
    number = {ad.id: index for index, ad in enumerate(ads)}
    ad = log["creative_id"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
    return np.bincount(ad, worth, len(ads))


def redrawn_accuracy(shown: pl.DataFrame, worth: Floats, true: Mapping[str, float], seed: int) -> float:
    """Accuracy of labels from clicks drawn anew in `worth` f64[C] impressions of each ad, mean of REDRAWS."""
    rng = np.random.default_rng(seed_for(seed, "redrawn"))
    ctr, size = np.array([true[name] for name in shown["creative_id"]]), np.rint(worth).astype(np.int64)
    draws = [shown.with_columns(impressions=size, clicks=rng.binomial(size, ctr)) for _ in range(REDRAWS)]
    return float(np.mean([label_accuracy(draw, true) for draw in draws]))


def true_order(pairs: Pairs, true: Mapping[str, float]) -> Floats:
    """f64[P]: 1 where the first's true CTR is higher, 0 where lower."""
    ctr = np.array([true[creative.creative_id] for creative in pairs.creatives])
    return (ctr[pairs.first] > ctr[pairs.second]).astype(np.float64)


def label_accuracy(log: pl.DataFrame, true: Mapping[str, float]) -> float:
    """Share of pairs whose label leans to the truly better one."""
    pairs = compare(clicks_of(log).creatives)
    return float(((pairs.label > 0.5) == (true_order(pairs, true) > 0.5)).mean())
