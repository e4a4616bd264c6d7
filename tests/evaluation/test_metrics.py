import numpy as np
import pytest

from caig.evaluation.metrics import agreement, bootstrap, calibration_error, kendall_tau, mean, share_right, way


def test_agreement_scores_ties_half():
    assert agreement([0.3, -0.1, 0.0, 2.0], [1, 1, 0, 0.5]).tolist() == [1, 0, 0.5, 0.5]


def test_mean_of_one_cluster_has_no_width():
    estimate = mean("accuracy", [1, 0, 1, 1], ["p"] * 4)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == (0.75, 0.75, 0.75, 4)


def test_intervals_are_as_wide_as_the_clusters_demand():
    # 40 clusters of 25 equal rows: the standard error is that of 40 values, not of 1,000.
    values = np.repeat(np.tile([0, 1], 20), 25)
    clustered = mean("m", values, np.repeat(np.arange(40), 25).astype(str))
    naive = mean("m", values, np.arange(1000).astype(str))
    assert clustered.high - clustered.low == pytest.approx(2 * 1.96 * 0.5 / 40**0.5, rel=0.15)
    assert naive.high - naive.low == pytest.approx(2 * 1.96 * 0.5 / 1000**0.5, rel=0.15)


def test_bootstrap_keeps_rows_of_columns_together():
    estimate = bootstrap("gap", lambda a, b: float((a - b).max()), ["x", "y", "z"], [1, 2, 3], [1, 2, 3])
    assert (estimate.low, estimate.high) == (0, 0)


def test_bootstrap_repeats_and_refuses_nothing():
    rows = ([1.0, 2.0, 4.0], ["a", "b", "c"])
    assert mean("m", *rows, seed=3) == mean("m", *rows, seed=3)
    with pytest.raises(ValueError, match="at least one row"):
        mean("m", [], [])


def test_calibration_error_by_hand():
    # Bin 0.5..0.6: one pair, confidence 0.55, wrong -> 0.55. Bin 0.9..1: 0.95 twice, both right -> 0.05 each.
    # (0.55 + 0.10) / 3
    assert calibration_error([0.55, 0.95, 0.05], [0, 1, 0]) == pytest.approx(0.65 / 3)
    assert calibration_error([1.0, 0.0], [1, 0]) == pytest.approx(0, abs=1e-6)


def test_calibration_error_does_not_depend_on_who_comes_first():
    p, y = np.array([0.7, 0.2, 0.9]), np.array([1, 0.4, 0])
    assert calibration_error(p, y) == pytest.approx(calibration_error(1 - p, 1 - y))


@pytest.mark.parametrize(
    ("first", "second", "tau"),
    [
        ([1, 2, 3], [10, 20, 30], 1),
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3, 4], [1, 2, 4, 3], 4 / 6),  # 5 concordant, 1 discordant of 6
        ([1, 1, 2], [1, 2, 3], 2 / 6**0.5),  # one tie in first: 2 / sqrt(2 * 3)
        ([1, 1, 1], [1, 2, 3], 0),
    ],
)
def test_kendall_tau_by_hand(first, second, tau):
    assert kendall_tau(first, second) == pytest.approx(tau)


def test_the_way_by_hand_and_where_there_is_none():
    half, ties = np.array([1, 1, 0.5, 0.5]), np.full(4, 0.5)
    assert way(half, np.ones(4)) == pytest.approx(0.5)
    assert np.isnan(way(half, ties)) and np.isnan(bootstrap("way", way, list("abcd"), half, ties).value)
    # Of two products one has ties only: a quarter of the draws are of that one alone, and say nothing.
    estimate = bootstrap("way", way, ["a", "b"], [1.0, 0.5], [1.0, 0.5])
    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)


def test_the_share_that_is_right_undoes_the_noise_of_labels():
    """Of pairs with 3 of 4 right, seen through counts whose posterior is 0.6 or 0.4, right in 6 of 10."""
    rng = np.random.default_rng(0)
    right = rng.random(40_000) < 0.75
    told = np.where(rng.random(40_000) < 0.6, right, ~right)
    found = share_right(np.where(told, 0.6, 0.4))
    print(f"required 0.75; measured {found:.3f}, mean of the labels {np.where(told, 0.6, 0.4).mean():.3f}")
    assert found == pytest.approx(0.75, abs=0.03)
    assert share_right([1, 1, 0, 1]) == pytest.approx(0.75, abs=1e-6)
    assert share_right([1, 0, 1, 0.5, 0.5, 0]) == pytest.approx(0.5, abs=1e-6)
    assert (share_right([1.0]), share_right([0.0])) == pytest.approx((1, 0), abs=1e-6)
    assert share_right([0.5, 0.5]) == 0.5
