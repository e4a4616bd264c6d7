"""Shares of arms: by hand, against closed forms and simulation; what a reward model's opinion is worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from caig.errors import InputError
from caig.online.allocation import (
    Rules,
    best_chances,
    draw,
    posterior,
    probabilities,
    skill,
    wilson_low,
)


def first_beats_second(a: list[int], b: list[int]) -> float:
    """P(x > y) of two Betas with whole parameters, in closed form (Evan Miller 2010)."""
    log_terms = [
        betaln(a[1] + i, b[0] + b[1]) - np.log(b[0] + i) - betaln(1 + i, b[0]) - betaln(a[1], b[1]) for i in range(a[0])
    ]
    return float(np.exp(log_terms).sum())


@pytest.mark.parametrize(
    ("a", "b"),
    [([1, 1], [1, 1]), ([2, 1], [1, 2]), ([31, 21], [971, 981]), ([301, 3], [9701, 99]), ([1, 3001], [1, 97001])],
)
def test_two_arms_agree_with_the_closed_form(a: list[int], b: list[int]) -> None:
    expected = 1 - first_beats_second(a[::-1], b[::-1])
    assert best_chances(a, b)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("control", "floor", "most"), [(0.4, 0.2, 4), (0.1, 0.3, 4), (0.2, 0.1, 9), (0.1, 0.01, 91), (0.5, 0.4, 2)]
)
def test_most_arms(control: float, floor: float, most: int) -> None:
    """The first two fill the whole up to rounding."""
    rules = Rules(control=control, floor=floor)
    assert rules.most == most == len(rules.least(most))
    assert probabilities(rules, [1] * most, [1] * most).sum() == pytest.approx(1)


def test_beta_2_1_beats_beta_1_2_five_times_in_six() -> None:
    """P(max of two uniforms > min of two others) = 1 - C(4, 2)^-1."""
    assert best_chances([2, 1], [1, 2])[0] == pytest.approx(5 / 6, abs=1e-9)


def test_many_arms_agree_with_draws() -> None:
    a, b = np.array([3.0, 40, 500, 61, 2]), np.array([120.0, 1300, 20000, 1960, 50])
    drawn = np.random.default_rng(0).beta(a, b, size=(400_000, 5)).argmax(axis=1)
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    print("drawn", shares, "quadrature", best_chances(a, b))
    assert best_chances(a, b) == pytest.approx(shares, abs=0.004)


def test_equal_arms_are_equally_likely_and_one_is_certain() -> None:
    assert best_chances([5] * 4, [95] * 4) == pytest.approx([0.25] * 4, abs=1e-12)
    assert best_chances([5], [95]) == pytest.approx([1.0])


def test_policies_by_hand() -> None:
    """Means 0.2, 0.4, 0.3; least 0.1, 0.05, 0.05, so 0.8 are free."""
    a, b = [2.0, 4.0, 3.0], [8.0, 6.0, 7.0]
    of = {p: probabilities(Rules(policy=p, floor=0.05), a, b) for p in ("uniform", "epsilon-greedy", "thompson")}
    assert of["uniform"] == pytest.approx([0.1 + 0.8 / 3, 0.05 + 0.8 / 3, 0.05 + 0.8 / 3])
    assert of["epsilon-greedy"] == pytest.approx([0.1, 0.85, 0.05])
    assert of["thompson"] == pytest.approx([0.1, 0.05, 0.05] + 0.8 * best_chances(a, b))
    assert all(shares.sum() == pytest.approx(1) for shares in of.values())


def test_greedy_ties_share() -> None:
    assert probabilities(Rules(policy="epsilon-greedy", floor=0.1), [2, 2, 1], [8, 8, 8]) == pytest.approx(
        [0.45, 0.45, 0.1]
    )


def test_no_arm_falls_below_its_least_share() -> None:
    shares = probabilities(Rules(floor=0.02, control=0.15), [1, 500, 20], [1000, 500, 980])
    assert shares[0] == pytest.approx(0.15) and shares[2] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("field", "value"), [("floor", 0.0), ("floor", 1.0), ("control", -0.1), ("prior", -1.0), ("policy", "ucb")]
)
def test_bad_rules(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^{field}: expected"):
        Rules(**{field: value})  # type: ignore[arg-type]


def test_too_many_arms() -> None:
    with pytest.raises(InputError, match="arms: expected at most 10 with these floors, got 11"):
        Rules(floor=0.1, control=0.1).least(11)
    assert len(Rules(floor=0.1, control=0.1).least(10)) == 10


def test_a_draw_can_be_checked_and_keeps_to_the_shares() -> None:
    shares = np.array([0.1, 0.6, 0.3])
    arms = [draw(shares, "campaign", str(k)) for k in range(20_000)]
    assert arms[:50] == [draw(shares, "campaign", str(k)) for k in range(50)]
    assert np.bincount(arms) / 20_000 == pytest.approx(shares, abs=0.012)


def test_the_posterior_by_hand() -> None:
    """CTR 5 / 100 in all; predictions 1 : 3 around their mean give 0.025 and 0.075, worth 40 impressions each."""
    assert np.array(posterior([2, 3], [60, 40])) == pytest.approx(np.array([[3, 4], [59, 38]]))
    a, b = posterior([2, 3], [60, 40], [0.01, 0.03], 40)
    assert a == pytest.approx([3 + 1, 4 + 3]) and b == pytest.approx([59 + 39, 38 + 37])


def test_without_clicks_predictions_say_nothing() -> None:
    assert np.array(posterior([0, 0], [9, 9], [0.1, 0.9], 40)) == pytest.approx(np.array([[1, 1], [10, 10]]))


def test_wilson_by_hand() -> None:
    """8 of 10: (0.8 + 0.19208 - 1.96 sqrt(0.016 + 0.009604)) / 1.38416."""
    assert wilson_low(0.8, 10) == pytest.approx(0.49016, abs=1e-4)
    assert wilson_low(1.0, 0) == 0


def judged(products: int, accuracy: float, seed: int = 0) -> float:
    """Skill after `products` products of 3 pairs each, whose truth is known, and a model right `accuracy` often."""
    rng = np.random.default_rng(seed)
    right = rng.random(products * 3) < accuracy
    names = [f"p{k // 3}" for k in range(products * 3)]
    return skill(np.where(right, 0.01, -0.01), np.ones(len(right)), names)


def test_skill_starts_at_zero_and_grows_with_accuracy_and_evidence() -> None:
    assert skill([], [], []) == 0
    assert judged(2, 1.0) < judged(20, 1.0) < judged(200, 1.0) < 1
    assert 0 < judged(200, 0.7) < judged(200, 0.85) < judged(200, 1.0)
    assert judged(300, 0.5) < 0.1 and judged(300, 0.2) == 0


def test_skill_by_hand() -> None:
    """Products right 1 and 0.75 (a label of 0.75): mean 0.875 of 2, Wilson's low end 0.3 or so, below a coin's flip."""
    assert skill([0.1, 0.1], [1.0, 0.75], ["a", "b"]) == max(0, 2 * wilson_low(0.875, 2) - 1) == 0
    many = [str(k) for k in range(100)]
    assert skill(np.ones(100), np.full(100, 0.9), many) == pytest.approx(2 * wilson_low(0.9, 100) - 1)


def test_undecided_clicks_give_no_credit() -> None:
    assert skill(np.ones(300), np.full(300, 0.5), [str(k) for k in range(300)]) == 0
