"""Confidence sequences by hand and, in simulation, against the truth at every time and on either side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from caig.online.allocation import Rules, posterior, probabilities
from caig.online.decisions import (
    PREDICTED,
    Tally,
    boundary,
    difference,
    joint_difference,
    rate,
    sample_ratio,
    verdicts,
)
from caig.types import Estimate

Floats = NDArray[np.float64]
RULES = Rules(policy="epsilon-greedy", floor=0.1, control=0.2)


def tally_of(shares: Floats, shown: Floats, clicks: Floats, least: tuple[float, ...], **more: Floats) -> Tally:
    total = {"click": clicks, **more}
    return Tally(
        arms=tuple(f"arm {k}" for k in range(shares.shape[1])),
        shares=shares,
        shown=shown,
        total=total,
        squares=total,  # outcomes of 0 and 1
        least=np.array(least),
        highest=dict.fromkeys(total, 1.0),
    )


def test_the_boundary_by_hand() -> None:
    """v = m = 1: ell = log(zeta(1.4) / 0.05) = 4.1288, k1^2 = 2.0607, k2 = 1.2071."""
    assert boundary(1.0, 0.05, 1.0) == pytest.approx(np.sqrt(2.0607 * 4.1288 + (1.2071 * 4.1288) ** 2) + 4.9839, 1e-4)


def test_the_boundary_keeps_its_meaning_in_any_unit() -> None:
    assert boundary(900.0 * 49, 0.01, 7 * 3.0) == pytest.approx(7 * boundary(900.0, 0.01, 3.0))


def test_weighted_means_by_hand() -> None:
    """Two versions of 100 at shares 0.5 : 0.5 and 0.2 : 0.8; clicks 4, 6 and 1, 16.

    Rates (4 / 0.5 + 1 / 0.2) / 200 = 0.065 and (6 / 0.5 + 16 / 0.8) / 200 = 0.16. The lead's errors: 10 clicks of
    +-2 predicted 0; then one of -5 and 16 of 1.25 and 83 of 0, predicted 4 / 100: V = 40 + 5.04^2 + 16 x 1.21^2 +
    83 x 0.04^2 = 88.96.
    """
    shares, shown = np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([[50.0, 50], [20, 80]])
    tally = tally_of(shares, shown, np.array([[4.0, 6], [1, 16]]), (0.2, 0.1))
    assert rate(tally, "click", 0).value == pytest.approx(0.065)
    assert rate(tally, "click", 1).value == pytest.approx(0.16)
    lead = difference(tally, "click", 1)
    spread = 40 + 5.04**2 + 16 * 1.21**2 + 83 * 0.04**2
    assert (lead.value, lead.n) == (pytest.approx(0.095), 200)
    assert lead.low == pytest.approx(0.095 - boundary(spread, 0.025, 5 + PREDICTED) / 200)
    assert lead.high == pytest.approx(0.095 + boundary(spread, 0.025, 10 + PREDICTED) / 200)


def test_campaigns_together_by_hand() -> None:
    """Arms 1 and 2 against arm 0 and, in a second campaign, arm 1 against arms 0 and 2; equal shares where shown.

    First: of 90 impressions at 1/3 each, 6 clicks on arm 0, 3 and 9 on the others; of 30 that show arms 0 and 1 only,
    one on arm 1; a last version shows arms 1 and 2 alone and does not count. Total 3 (12 / 2 - 6) + 2 (1 - 0) = 2.
    Second: 60 impressions, 2 clicks on arm 1 and 2 on arm 2, total 3 (2 - 2 / 2) = 3. Lead (2 + 3) / 180.
    """
    third = 1 / 3
    shares = np.array([[third, third, third], [0.5, 0.5, 0], [0, 0.5, 0.5]])
    shown = np.array([[30.0, 30, 30], [15, 15, 0], [0, 50, 50]])
    first = tally_of(shares, shown, np.array([[6.0, 3, 9], [0, 1, 0], [0, 50, 0]]), (0.2, 0.1, 0.1))
    second = tally_of(shares[:1], np.array([[20.0, 20, 20]]), np.array([[0.0, 2, 2]]), (0.2, 0.1, 0.1))
    lead = joint_difference([(first, {"arm 1", "arm 2"}), (second, {"arm 1"})], "click")
    assert (lead.value, lead.n) == (pytest.approx(5 / 180), 180)
    predicted = 0.0  # (12 x 1.5 - 6 x 3) / 90, for the second version
    spread = 12 * 1.5**2 + 6 * 9 + 1 * (2 - predicted) ** 2 + 2 * 9 + 2 * 1.5**2
    # An outcome reaches 1 / 0.2 or half of 1 / 0.1 below 0, and 1 / 0.1 above it where arm 1 is chosen alone.
    assert lead.low == pytest.approx(5 / 180 - boundary(spread, 0.025, 5 + PREDICTED) / 180)
    assert lead.high == pytest.approx(5 / 180 + boundary(spread, 0.025, 10 + PREDICTED) / 180)


def test_one_campaign_and_one_ad_is_the_difference() -> None:
    shares, shown = np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([[50.0, 50], [20, 80]])
    tally = tally_of(shares, shown, np.array([[4.0, 6], [1, 16]]), (0.2, 0.1))
    one, both = difference(tally, "click", 1, 0.01), joint_difference([(tally, ["arm 1"])], "click", 0.01)
    assert (one.value, one.low, one.high, one.n) == (both.value, both.low, both.high, both.n)


def test_values_by_hand() -> None:
    """One version of 10 at shares 0.5 : 0.5; orders of 30 and 10 on arm 1, 20 on the control, none worth above 50.

    Lead (30 + 10 - 20) / 0.5 / 10; V = (30^2 + 10^2 + 20^2) / 0.5^2, predicted 0. Leads lie within 50 / 0.1.
    """
    shares, shown = np.array([[0.5, 0.5]]), np.array([[5.0, 5]])
    tally = tally_of(shares, shown, np.zeros((1, 2)), (0.2, 0.1))
    value, squares = {"value": np.array([[20.0, 40]])}, {"value": np.array([[400.0, 1000]])}
    lead = difference(replace(tally, total=value, squares=squares, highest={"value": 50.0}), "value", 1)
    assert (lead.value, lead.n) == (pytest.approx(4), 10)
    assert lead.low == pytest.approx(4 - boundary(5600, 0.025, 50 * (5 + PREDICTED)) / 10)
    assert lead.high == pytest.approx(min(500, 4 + boundary(5600, 0.025, 50 * (10 + PREDICTED)) / 10))


def test_an_arm_is_compared_over_its_own_time_only() -> None:
    shares, shown = np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([[100.0, 0], [50, 50]])
    lead = difference(tally_of(shares, shown, np.array([[90.0, 0], [5, 10]]), (0.2, 0.1)), "click", 1)
    assert (lead.value, lead.n) == (pytest.approx((10 - 5) / 0.5 / 100), 100)


def test_before_any_impression_nothing_is_known() -> None:
    none = np.zeros((1, 2))
    lead = difference(tally_of(np.full((1, 2), 0.5), none, none, (0.2, 0.1)), "click", 1)
    assert (lead.value, lead.low, lead.high, lead.n) == (0, -10, 10, 0)


def campaign(ctr: Floats, size: int, seed: int) -> tuple[Tally, Floats]:
    """A greedy campaign of versions of `size` impressions at CTRs f64[V, K], and the true lead of arm 1 so far f64[V].

    Shares depend on what was clicked: plain means of arms are biased, weighted ones are not.
    """
    rng = np.random.default_rng(seed)
    versions, arms = ctr.shape
    shares, shown, clicks = np.zeros((3, versions, arms))
    for v in range(versions):
        shares[v] = probabilities(RULES, *posterior(clicks[:v].sum(axis=0), shown[:v].sum(axis=0)))
        shown[v] = rng.multinomial(size, shares[v])
        clicks[v] = rng.binomial(shown[v].astype(int), ctr[v])
    lead = np.cumsum(ctr[:, 1] - ctr[:, 0]) / np.arange(1, versions + 1)
    return tally_of(shares, shown, clicks, tuple(RULES.least(arms))), lead


def looks(tally: Tally) -> Iterator[Tally]:
    """What was known after each version."""
    for v in range(1, len(tally.shown) + 1):
        counts = {name: values[:v] for name, values in tally.total.items()}
        yield replace(tally, shares=tally.shares[:v], shown=tally.shown[:v], total=counts, squares=counts)


def wald(estimate: Estimate, tally: Tally) -> tuple[float, float]:
    """The usual interval of one look, from the same weighted outcomes."""
    weight = np.array([-1.0, 1.0]) / tally.shares[:, :2]
    variance = (weight**2 * tally.total["click"][:, :2]).sum() / estimate.n - estimate.value**2
    half = 1.96 * np.sqrt(max(variance, 0) / estimate.n)
    return estimate.value - half, estimate.value + half


@pytest.mark.parametrize(
    ("runs", "most"), [(30, 5), pytest.param(200, 12, marks=pytest.mark.slow)], ids=["some campaigns", "many"]
)
@pytest.mark.parametrize("drift", [False, True], ids=["steady", "drifting"])
def test_the_truth_stays_inside_at_all_times(drift: bool, runs: int, most: int) -> None:
    """Campaigns with a look after every version. A side may miss in 2.5 % of them; more than `most` has chance 1e-3.

    Looking as often with the usual interval misses in far more, so that the simulation can tell the difference.
    """
    misses = np.zeros(4, int)
    for run in range(runs):
        ctr = np.tile([0.10, 0.10, 0.13], (80, 1))
        if drift:
            ctr *= 1 + 0.5 * np.sin(np.arange(80) / 12 + run)[:, None] * [1, -1, 0]
        tally, lead = campaign(ctr, 80, run)
        found = [(difference(seen, "click", 1), seen) for seen in looks(tally)]
        bounds = np.array([(e.low, e.high, *wald(e, seen)) for e, seen in found])[5:]
        truth = lead[5:]
        misses += [
            (truth < bounds[:, 0]).any(),
            (truth > bounds[:, 1]).any(),
            (truth < bounds[:, 2]).any(),
            (truth > bounds[:, 3]).any(),
        ]
    print(f"of {runs} campaigns missed: low {misses[0]}, high {misses[1]}; one-look intervals {misses[2]}, {misses[3]}")
    assert max(misses[:2]) <= most
    assert misses[2:].sum() > runs / 10


def test_a_true_lead_is_found_and_the_guard_holds_it_back() -> None:
    ctr = np.tile([0.05, 0.09], (100, 1))
    tally, _ = campaign(ctr, 400, 0)
    check, (verdict,) = verdicts(tally)
    assert check.fits and verdict.promote and verdict.lead.low > 0
    worse = tally.shown * [0.04, 0.002]
    guarded = replace(tally, total={**tally.total, "conversion": worse}, squares={**tally.squares, "conversion": worse})
    guarded = replace(guarded, highest={"click": 1.0, "conversion": 1.0})
    (held,) = verdicts(guarded)[1]
    assert not held.promote and held.reason == "clicked more, but credibly worse: conversion lead of arm 1"


def test_equal_arms_are_not_promoted() -> None:
    tally, _ = campaign(np.tile([0.05, 0.05, 0.05], (60, 1)), 400, 1)
    found = verdicts(tally)[1]
    assert [verdict.promote for verdict in found] == [False, False]
    assert found[0].reason == "not credibly clicked more than the original"


def test_later_arms_get_less_of_the_error() -> None:
    """Arms 1 and 2 alike in all: the second's interval is the wider one (0.05 / 6 against 0.05 / 2)."""
    shares, shown = np.array([[0.2, 0.4, 0.4]]), np.array([[200.0, 400, 400]])
    first, second = verdicts(tally_of(shares, shown, np.array([[8.0, 20, 20]]), (0.2, 0.1, 0.1)))[1]
    assert first.lead.value == second.lead.value
    assert second.lead.high - second.lead.low > first.lead.high - first.lead.low
    assert first.ctr.high - first.ctr.low == pytest.approx(second.ctr.high - second.ctr.low)


def test_the_ratio_check_adds_up_propensities_and_finds_lost_impressions() -> None:
    shares, shown = np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([[510.0, 490], [95, 905]])
    tally = tally_of(shares, shown, np.zeros((2, 2)), (0.1, 0.1))
    check = sample_ratio(tally)
    assert (check.shown, check.expected, check.fits) == ((605, 1395), (600.0, 1400.0), True)
    lost = replace(tally, shown=tally.shown * [1, 0.6])
    assert not sample_ratio(lost).fits
    assert not verdicts(lost)[1][0].promote
    assert verdicts(lost)[1][0].reason.startswith("arms were not shown as drawn")


def test_the_ratio_check_seldom_cries_wolf() -> None:
    """50 fair campaigns of 50 looks: at most 1 % may ever fail, more than 3 has chance 2e-3."""
    failed = 0
    for run in range(50):
        tally, _ = campaign(np.tile([0.1, 0.1, 0.13], (50, 1)), 80, 1000 + run)
        failed += not all(sample_ratio(seen).fits for seen in looks(tally))
    print(f"{failed} of 50 fair campaigns failed the ratio check at some time")
    assert failed <= 3
