"""Does the correction of click logs undo position bias, drift and adaptive traffic?

In each world an adaptive policy fills the slots, with position bias and drift. Three sets of labels, one per pair of a
product's ads, are held against the true order of their CTRs:

    naive      from each ad's clicks and impressions, as a counts-only log has them
    corrected  from the same log's rows, by `caig.data.confounding`
    unbiased   what chance alone would spoil: each ad gets the same number of impressions again, in conditions drawn at
               random, with as many clicks overall

recovered = (accuracy corrected - naive) / (unbiased - naive), of the sums over worlds; its interval draws worlds anew.

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
from caig.shop.simulate import Adaptive, simulate
from caig.shop.statistics import NAMES
from caig.types import Estimate, Product

DRAWS = 1000
CATEGORIES = 14

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study confounding`."""

    worlds: int = 20
    products: int = 100
    ads: int = 6
    """Ads per product."""
    impressions: int = 1_000_000
    """Per world."""
    days: int = 14
    seed: int = 0


def run(config: Config) -> list[Estimate]:
    """Accuracies of the three sets of labels and the share recovered, with 95 % intervals over worlds."""
    accuracy = np.array([list(accuracies(config, config.seed + w).values()) for w in range(config.worlds)])
    rng = np.random.default_rng(seed_for(config.seed, "worlds"))
    drawn = accuracy[rng.integers(config.worlds, size=(DRAWS, config.worlds))].mean(axis=1)
    pairs = config.worlds * config.products * config.ads * (config.ads - 1) // 2
    rows = [
        (f"accuracy of {name} labels", accuracy[:, k].mean(), drawn[:, k])
        for k, name in enumerate(("naive", "corrected", "unbiased"))
    ]
    rows.append(("recovered share of what confounding spoiled", recovered(accuracy.mean(axis=0)), recovered(drawn.T)))
    return [
        Estimate(name=name, value=float(value), low=float(low), high=float(high), n=pairs)
        for name, value, drawn_values in rows
        for low, high in [np.quantile(drawn_values, [0.025, 0.975])]
    ]


def recovered(accuracy: Floats) -> Floats:
    """(corrected - naive) / (unbiased - naive) of the rows naive, corrected, unbiased."""
    naive, corrected, unbiased = accuracy
    return (corrected - naive) / (unbiased - naive)


def accuracies(config: Config, seed: int) -> dict[str, float]:
    """Accuracy of each set of labels in one world."""
    world, ads = World(seed), draw_ads(config.products, config.ads, seed)
    log = simulate(
        world, ads, Adaptive(), config.impressions, seed=seed, days=config.days, position_bias=True, drift=True
    )
    true = {ad.id: ctr for ad, ctr in zip(ads, world.ctr(ads), strict=True)}
    counts = count(log)
    logs = {"naive": counts, "corrected": log, "unbiased": shown_at_random(counts, true, seed)}
    return {name: label_accuracy(compare(clicks_of(each).creatives), true) for name, each in logs.items()}


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


def count(log: pl.DataFrame) -> pl.DataFrame:
    """What a log without conditions knows: product_id, creative_id, impressions, clicks."""
    sums = {"impressions": pl.len(), "clicks": pl.col("clicked").sum()}
    return log.group_by("product_id", "creative_id").agg(**sums).sort("creative_id")


def shown_at_random(counts: pl.DataFrame, true: Mapping[str, float], seed: int) -> pl.DataFrame:
    """The same impressions of each ad, clicks drawn anew from its true CTR times what conditions took on average."""
    rng = np.random.default_rng(seed_for(seed, "unbiased"))
    ctr, shown = np.array([true[name] for name in counts["creative_id"]]), counts["impressions"].to_numpy()
    conditions = counts["clicks"].sum() / (shown * ctr).sum()
    return counts.with_columns(clicks=rng.binomial(shown, ctr * conditions))


def true_order(pairs: Pairs, true: Mapping[str, float]) -> Floats:
    """f64[P]: 1 where the first's true CTR is higher, 0 where lower."""
    ctr = np.array([true[creative.creative_id] for creative in pairs.creatives])
    return (ctr[pairs.first] > ctr[pairs.second]).astype(np.float64)


def label_accuracy(pairs: Pairs, true: Mapping[str, float]) -> float:
    """Share of pairs whose label leans to the truly better one."""
    return float(((pairs.label > 0.5) == (true_order(pairs, true) > 0.5)).mean())
