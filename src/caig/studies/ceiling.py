"""Does the noise ceiling that a click log yields agree with the true one?

In each world every ad of a product is shown a different number of times, at random, and clicked by chance. From the
counts alone the ceiling is estimated, with its interval; then the truth is looked up: the share of pairs whose observed
order is the true one, which is what a perfect ranker scores on exactly these labels. Coverage is the share of worlds
whose interval holds it; its own interval is Wilson's.

Once for all pairs, once behind the paper's filter (more than 1,000 impressions a side, ratio 1.05 to 1.20). Ads are
drawn, not rendered: see `caig.studies.confounding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.data.clicks import clicks_of
from caig.data.comparisons import compare, noise_ceiling
from caig.recipes.comparisons import PRESETS
from caig.seeding import seed_for
from caig.shop.shoppers import World
from caig.studies.confounding import draw_ads, true_order
from caig.types import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study ceiling`."""

    worlds: int = 20
    products: int = 200
    ads: int = 5
    """Ads per product."""
    least: int = 500
    """Impressions of an ad are log-uniform from here…"""
    most: int = 8000
    """…to here."""
    seed: int = 0


def run(config: Config) -> list[Estimate]:
    """Estimated and true ceiling, their difference and the intervals' coverage, for all pairs and filtered ones."""
    rows = [ceilings(config, config.seed + world) for world in range(config.worlds)]
    return [estimate for preset in PRESETS for estimate in summary(preset, [row[preset] for row in rows])]


def ceilings(config: Config, seed: int) -> dict[str, tuple[Estimate, float]]:
    """(estimated, true) ceiling of one world by preset of filter."""
    world, ads = World(seed), draw_ads(config.products, config.ads, seed)
    rng = np.random.default_rng(seed_for(seed, "clicks"))
    ctr = world.ctr(ads)
    shown = np.exp(rng.uniform(math.log(config.least), math.log(config.most), len(ads))).astype(np.int64)
    log = pl.DataFrame(
        {
            "product_id": [ad.product.id for ad in ads],
            "creative_id": [ad.id for ad in ads],
            "impressions": shown,
            "clicks": rng.binomial(shown, ctr),
        }
    )
    pairs = compare(clicks_of(log).creatives)
    true = dict(zip(log["creative_id"], ctr, strict=True))
    found = {}
    for preset, settings in PRESETS.items():
        kept = pairs.where(pairs.within(**settings))
        agreement = 1 - np.abs(kept.observed - true_order(kept, true))
        found[preset] = (noise_ceiling(kept, seed=seed)[0], float(agreement.mean()))
    return found


def summary(preset: str, worlds: list[tuple[Estimate, float]]) -> list[Estimate]:
    """Means over worlds with 1.96 standard errors, and the coverage with Wilson's interval."""
    estimated, true = np.array([e.value for e, _ in worlds]), np.array([t for _, t in worlds])
    covered = sum(e.low <= t <= e.high for e, t in worlds)
    pairs = sum(e.n for e, _ in worlds)
    low, high = wilson(covered, len(worlds))
    coverage = Estimate(
        name=f"{preset}: coverage of the 95 % interval", value=covered / len(worlds), low=low, high=high, n=len(worlds)
    )
    return [
        _mean(f"{preset}: estimated ceiling", estimated, pairs),
        _mean(f"{preset}: true ceiling", true, pairs),
        _mean(f"{preset}: estimated less true", estimated - true, pairs),
        coverage,
    ]


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `hits` in n (Wilson 1927): also right where all or none are hits."""
    z2 = 1.96**2
    centre, half = hits + z2 / 2, 1.96 * math.sqrt(hits * (n - hits) / n + z2 / 4)
    return (centre - half) / (n + z2), (centre + half) / (n + z2)


def _mean(name: str, values: Floats, n: int) -> Estimate:
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values))
    value = float(values.mean())
    return Estimate(name=name, value=value, low=value - half, high=value + half, n=n)
