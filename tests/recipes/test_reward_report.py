"""What the reward recipe's report makes of scores and counts, by hand: calibration, doubt, and what ties leave out."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from caig.recipes.reward import Config, report
from caig.types import Score
from tests.recipes.reward_toys import judged


def test_ties_alone_leave_the_way_out():
    names = [estimate.name for estimate in report.measure([judged([0.0, 1.0], [10, 10])], None)]
    assert "pair accuracy" in names and "way from chance to the ceiling" not in names
    assert "way from chance to the ceiling" in [e.name for e in report.measure([judged([0.0, 1.0], [9, 90])], None)]


def test_the_curves_are_among_the_metrics():
    found = {e.name: e.value for e in report.measure([judged([0.0, 2.0, 1.0], [9, 90, 900])], None)}
    risks = [found[f"error rate of {whom}"] for whom in report.SUREST]
    assert risks == [0, 0, 0, 0, pytest.approx(1 / 3)], "the pair with the least margin of the sure ones is wrong"
    about = "calibration against soft labels: share right less predicted, where {} is predicted"
    sure, less_sure = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(-1))
    assert found[about.format("0.8 to 0.9")] == pytest.approx(1 - sure, abs=1e-3)
    assert found[about.format("0.7 to 0.8")] == pytest.approx(0.5 - less_sure, abs=1e-3), "one right, one wrong"


def doubt(*members: tuple[float, ...]) -> list[float]:
    """Of pictures with these members beside one whose members are all 0."""
    products = judged([0.0] * (1 + len(members)), [10] * (1 + len(members)))
    own = [(0.0,) * len(members[0]), *members]
    scores = [replace(score, members=one) for score, one in zip(products.scores, own, strict=True)]
    first, second = np.arange(1, len(own)), np.zeros(len(members), int)
    there, back = (replace(products, scores=scores).doubt(*ends) for ends in ((first, second), (second, first)))
    assert there.tolist() == back.tolist()
    return there.tolist()


def test_doubt_is_the_chance_that_the_mean_probability_errs():
    three = math.log(3)  # odds of 3 to 1: a probability of 3/4
    assert doubt((three, -three), (three, 0), (three, three)) == pytest.approx([1 / 2, 3 / 8, 1 / 4])
    agree, disagree = doubt((2.0, 2.0), (4.0, 0.0))
    assert agree == pytest.approx(1 / (1 + math.exp(2))) and agree < disagree, "at the same mean margin"
    assert doubt((three,), (-2 * three,)) == pytest.approx([1 / 4, 1 / 10]), "one member: the order of its margins"
    assert 0 < doubt((90.0,))[0] < doubt((80.0,))[0], "none are tied that are nearly certain"
    alone = judged([0.0, three], [10, 20])
    assert alone.doubt(np.array([1]), np.array([0])).tolist() == pytest.approx([1 / 4]), "no members: the utility"


def test_slope_and_offset_by_hand():
    # Log CTR rises by log 2 from picture to picture, utility by 2: slope log(2) / 2. The first has the base rate.
    products = [judged([0.0, 2.0, 4.0], [10_000, 20_000, 40_000])]
    slope = report.fit_slope([products[0].utility], products)
    assert slope == pytest.approx(math.log(2) / 2, rel=1e-3)
    offset, spread = report.fit_offset([products[0].utility], products, [math.log(0.005)], slope)
    assert offset == pytest.approx(math.log(2), abs=1e-3)
    assert spread == report.LEAST_SPREAD  # the fit leaves less than click noise


def test_intervals_hold_95_percent_of_true_ctrs():
    """Log CTR spreads by 0.3 around slope x utility, beside the noise of some 100 clicks."""
    rng = np.random.default_rng(0)
    utility = rng.normal(size=(200, 20))
    ctr = 0.02 * np.exp(0.2 + 0.5 * utility + rng.normal(0, 0.3, utility.shape))
    products = [judged(list(u), rng.binomial(4000, c).tolist(), shown=4000) for u, c in zip(utility, ctr, strict=True)]
    offset, spread = report.fit_offset(list(utility), products, [math.log(0.02)] * len(products), 0.5)
    print(f"required: offset 0.2, spread 0.3; measured {offset:.3f}, {spread:.3f}")
    assert offset == pytest.approx(0.2, abs=0.05) and spread == pytest.approx(0.3, abs=0.03)
    rates = {"base_rates": {"mug": 0.02}, "temperature": 1, "slope": 0.5, "offset": offset, "spread": spread}
    model = replace(report.uncalibrated(Config(data=Path(), clicks=Path(), out=Path()), 32), **rates)
    both = zip(utility.ravel(), ctr.ravel(), strict=True)
    inside = np.mean([low <= true <= high for u, true in both for _, low, high in [model.ctr(u, "mug")]])
    print(f"required: 0.95 of the true CTRs in their interval; measured {inside:.3f}")
    assert inside == pytest.approx(0.95, abs=0.015)


def test_a_model_that_ranks_backwards_still_gets_a_rising_ctr():
    products = [judged([1.0, 0.0], [10, 1000])]
    assert report.fit_slope([products[0].utility], products) == report.LEAST_SLOPE


def test_temperature_makes_confidence_right():
    # 3 of 4 pairs that differ by 4 logits are truly so ordered, with one more of each kind 4 of 6: 4 / T = log 2.
    pairs = [judged([4.0, 0.0], clicks) for clicks in ([900, 1], [900, 1], [900, 1], [1, 900])]
    assert report.fit_temperature(pairs) == pytest.approx(4 / math.log(2), rel=0.03)
    assert report.fit_temperature(pairs[:3]) == pytest.approx(4 / math.log(4), rel=0.03), "all right is not certain"
    assert report.fit_temperature([judged([1.0, 1.0], [900, 1])]) == 1


def test_few_clicks_make_no_model_unsure():
    """Pairs as often in order as a temperature of 2 says, seen through clicks that err two times in five."""
    rng, pairs = np.random.default_rng(0), []
    for gap in rng.normal(0, 3, 4000):
        better = rng.random() < 1 / (1 + np.exp(-gap / 2))
        told = 0.6 if (rng.random() < 0.6) == better else 0.4
        scores = [Score(creative_id="", utility=u, ctr=0.1, low=0, high=1, basis="simulated") for u in (gap, 0.0)]
        clicks = SimpleNamespace(better=np.array([[0.5, told], [1 - told, 0.5]]))
        pairs.append(report.Judged(clicks=clicks, scores=scores))  # pyright: ignore
    temperature = report.fit_temperature(pairs)
    print(f"required 2; measured {temperature:.2f}")
    assert temperature == pytest.approx(2, rel=0.2)


def test_base_rates_by_hand():
    products = [judged([0, 0], [10, 30]).clicks, judged([0], [100], "wine").clicks, judged([0], [0], "book").clicks]
    rates, overall = report.base_rates(products)
    assert rates == {"mug": pytest.approx(40 / 2e6), "wine": pytest.approx(100 / 1e6)}
    assert overall == pytest.approx(140 / 4e6)
