"""The log: exact propensities, clicks at the true rates, switches that do what they say, the same log for a seed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from caig.errors import InputError
from caig.shop.shoppers import GROUPS, Ad, World
from caig.shop.simulate import CONVERSION, POSITION_DECAY, START, Adaptive, Traffic, simulate, uniform
from caig.shop.statistics import NAMES
from caig.types import Product

WORLD = World(0)


def ads(products: int = 20, each: int = 4) -> list[Ad]:
    looks = np.random.default_rng(0).standard_normal((products, each, len(NAMES)))
    return [
        Ad(
            id=f"p{p}-{k}",
            product=Product(id=f"p{p}", title="", category=f"c{p % 3}", attributes={"price": 10 + p if p else "9 EUR"}),
            look=looks[p, k],
        )
        for p in range(products)
        for k in range(each)
    ]


def log_of(
    impressions: int = 200_000, policy: Any = uniform, shown: list[Ad] | None = None, **options: Any
) -> pl.DataFrame:
    return simulate(WORLD, ads() if shown is None else shown, policy, impressions, **options)


def rate(log: pl.DataFrame, *by: str) -> dict[Any, tuple[float, float]]:
    """(CTR, standard error) by group."""
    table = log.group_by(*by).agg(pl.col("clicked").mean(), n=pl.len()).rows_by_key(list(by), unique=True)
    return {key: (ctr, (ctr * (1 - ctr) / n) ** 0.5) for key, (ctr, n) in table.items()}


def test_a_row_per_impression() -> None:
    log = log_of(50_000, days=3)
    assert log.columns == "impression_id product_id creative_id at clicked position propensity group".split()
    assert log["impression_id"].to_list() == list(range(50_000))
    assert log["at"].is_sorted() and log["at"].min() >= START
    assert log["at"].max() < START + timedelta(days=3) and log["at"].dt.date().n_unique() == 3
    assert START == datetime(2026, 1, 1)
    assert set(log["position"]) == {1, 2, 3, 4} and set(log["group"]) == set(GROUPS)
    assert (log["creative_id"].str.split("-").list.first() == log["product_id"]).all(), "only the product's own ads"
    assert log["propensity"].to_numpy() == pytest.approx(0.25)
    assert log.null_count().to_numpy().sum() == 0


def test_clicks_come_at_the_true_rate_of_each_ad_and_group() -> None:
    log, truth = log_of(400_000), WORLD.group_ctr(ads())
    expected = {(ad.id, group): truth[k, g] for k, ad in enumerate(ads()) for g, group in enumerate(GROUPS)}
    off = [(ctr - expected[key]) / (error or 1) for key, (ctr, error) in rate(log, "creative_id", "group").items()]
    print(f"{len(off)} cells: required a deviation of about 1 standard error, measured {np.std(off):.2f}")
    assert len(off) == 80 * len(GROUPS) and 0.8 < np.std(off) < 1.25
    shares = dict(log["group"].value_counts(normalize=True).rows())
    assert shares == pytest.approx(GROUPS, abs=0.01)


def test_propensities_are_the_shares_with_which_ads_are_shown() -> None:
    log = log_of(300_000, Adaptive(), position_bias=True)
    slots = log.group_by(pl.col("at").dt.date(), "product_id", "position").agg(slots=pl.len())
    cells = log.group_by(pl.col("at").dt.date(), "product_id", "position", "creative_id").agg(
        pl.col("propensity").first(), same=pl.col("propensity").n_unique(), shown=pl.len()
    )
    cells = cells.join(slots, on=["at", "product_id", "position"])
    assert (cells["same"] == 1).all()
    p, n = cells["propensity"].to_numpy(), cells["slots"].to_numpy()
    z = ((cells["shown"].to_numpy() - n * p) / np.sqrt(n * p * (1 - p)))[n * p > 20]
    print(f"{len(z)} cells: required deviation 1, measured {z.std():.3f}")
    assert len(z) > 500 and abs(z.std() - 1) < 0.1 and abs(z.mean()) < 0.1
    inverse = log.select((pl.col("clicked") / pl.col("propensity") / 4).mean()).item()
    flat = log_of(300_000, position_bias=True)["clicked"].mean()
    assert inverse == pytest.approx(flat, rel=0.05), "reweighted to the uniform policy"


def test_an_adaptive_policy_moves_traffic_to_what_was_clicked_most_at_the_top() -> None:
    traffic = Traffic(
        product=np.array([0, 0, 1]), clicks=np.array([60, 20, 5]), impressions=np.array([1000, 1000, 100]), positions=2
    )
    chances = Adaptive()(traffic)
    assert chances.shape == (2, 3) and chances[:, 2] == pytest.approx(1)
    assert chances[:, :2].sum(1) == pytest.approx(1)
    assert chances[0, 0] > chances[1, 0] > 0.5 and chances.min() >= 0.1 / 2
    assert Adaptive(eagerness=0)(traffic) == pytest.approx(uniform(traffic))
    assert Adaptive(explore=1)(traffic) == pytest.approx(uniform(traffic))
    fresh = replace(traffic, clicks=0 * traffic.clicks, impressions=0 * traffic.impressions)
    assert Adaptive()(fresh) == pytest.approx(uniform(fresh)), "nobody is favoured on the first day"
    truth = WORLD.ctr(ads())
    earned = [np.mean(log_of(400_000, policy)["clicked"].to_numpy()) for policy in (uniform, Adaptive())]
    print(f"CTR: uniform {earned[0]:.4f}, adaptive {earned[1]:.4f}, mean of ads {truth.mean():.4f}")
    assert earned[1] > 1.05 * earned[0]


def test_position_bias_and_drift_are_off_unless_switched_on() -> None:
    off, bias = (rate(log_of(200_000, position_bias=on), "position") for on in (False, True))
    for position in range(1, 5):
        assert off[position][0] == pytest.approx(off[1][0], abs=4 * off[1][1])
        assert bias[position][0] == pytest.approx(bias[1][0] * position**-POSITION_DECAY, abs=4 * bias[1][1])
    spread = {}
    for drift in (False, True):
        log = log_of(200_000, drift=drift, days=10).with_columns(day=pl.col("at").dt.date())
        shares = log.group_by("day").agg((pl.col("group") == "regulars").mean())["group"].std()
        spread[drift] = (np.std([ctr for ctr, _ in rate(log, "day").values()]), shares)
    print(f"deviation by day of CTR and of a group's share: off {spread[False]}, on {spread[True]}")
    assert all(on > 4 * still for on, still in zip(spread[True], spread[False], strict=True))


def test_orders_follow_clicks_at_the_product_s_price() -> None:
    log = log_of(conversions=True)
    ordered = log.filter("conversion")
    assert ordered["clicked"].all() and log.filter(~pl.col("conversion"))["value"].sum() == 0
    assert ordered["value"].to_list() == [1.0 if id == "p0" else 10.0 + int(id[1:]) for id in ordered["product_id"]]
    clicks = log["clicked"].sum()
    assert len(ordered) / clicks == pytest.approx(CONVERSION, abs=4 * (CONVERSION / clicks) ** 0.5)
    assert log.drop("conversion", "value").equals(log_of()), "orders change nothing else"


def test_the_same_arguments_give_the_same_log() -> None:
    assert log_of(1000).equals(log_of(1000, shown=ads()))
    assert not log_of(1000).equals(log_of(1000, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shown": []}, "ads: expected at least one, got none"),
        ({"shown": [*ads(2), ads(2)[3]]}, "ads: expected each id once, got 'p0-3' again"),
        ({"impressions": 0}, "impressions: expected at least 1, got 0"),
        ({"days": 0}, "days: expected at least 1, got 0"),
        ({"positions": 0}, "positions: expected at least 1, got 0"),
        (
            {"policy": lambda traffic: 2 * uniform(traffic)},
            "policy: expected chances that sum to 1 per product, got sums",
        ),
    ],
)
def test_what_cannot_be_simulated(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        log_of(**options)
