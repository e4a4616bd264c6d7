"""Spread, labels and noise ceiling: values derived by hand, then calibration where the truth is known."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta as beta_function

from caig.data.clicks import CreativeClicks
from caig.data.comparisons import agreement_if_known, compare, first_better, noise_ceiling, split
from caig.data.spread import Spread, _evidence, fit_spread
from caig.types import ClickCounts


def creative(product, name, clicks=1, impressions=10):
    counts = ClickCounts(clicks=clicks, impressions=impressions)
    return CreativeClicks(product_id=product, creative_id=name, image="a.png", counts=counts, effective=counts)


def better(first, second):
    return first_better(np.array([first], float), np.array([second], float))[0]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 1), (1, 1), 1 / 2),
        ((2, 1), (1, 1), 2 / 3),  # Beta(2, 1) over uniform: E[first] = 2/3
        ((1, 1), (2, 1), 1 / 3),
        ((2, 1), (1, 2), 5 / 6),  # density 2x against F = 1 - (1-x)^2: integral of 2x(2x - x^2) = 4/3 - 1/2
    ],
)
def test_first_better_by_hand(first, second, expected):
    assert better(first, second) == pytest.approx(expected, abs=1e-4)


def test_first_better_at_the_size_of_real_logs():
    # Normal approximation: z = (0.036 - 0.030) / sqrt(0.036*0.964/2000 + 0.030*0.970/3000), Phi(1.155) = 0.876
    assert better((72, 1928), (90, 2910)) == pytest.approx(0.876, abs=0.01)
    assert better((30, 870), (25, 1075)) + better((25, 1075), (30, 870)) == pytest.approx(1, abs=1e-4)


def test_the_evidence_is_the_integral_over_the_products_mean():
    a, clicks, impressions = 8.0, np.array([3.0, 9.0]), np.array([200.0, 300.0])
    overall = math.log(12 / 500)

    def density(log_mean):
        b = a * (1 - math.exp(log_mean)) / math.exp(log_mean)
        each = [beta_function(a + c, b + n - c) / beta_function(a, b) for c, n in zip(clicks, impressions, strict=True)]
        return math.prod(each) * math.exp(-((log_mean - overall) ** 2) / 2) / math.sqrt(2 * math.pi)

    total = quad(density, -9, -0.01, epsabs=0)[0]
    mean = quad(lambda x: x * density(x), -9, -0.01, epsabs=0)[0] / total
    found, means = _evidence(a, clicks, impressions, np.zeros(2, int))
    assert found == pytest.approx(math.log(total), abs=1e-4)
    assert means[0] == pytest.approx(math.exp(mean), rel=1e-4)


def test_posterior_by_hand():
    prior = Spread(shape=10, error=0.1, mean=np.array([0.02]))
    # b = 10 * 0.98 / 0.02 = 490
    assert prior.posterior(np.array([3.0]), np.array([100.0]), np.array([0])).tolist() == [[13, 587]]


@pytest.mark.parametrize("creatives", [2, 6])
@pytest.mark.parametrize("variation", [0.15, 0.4])
def test_the_spread_is_found_even_with_two_creatives_a_product(creatives, variation):
    rng, products = np.random.default_rng(0), 800
    mean = np.exp(rng.normal(math.log(0.02), 0.6, products))
    a = 1 / variation**2
    product = np.repeat(np.arange(products), creatives)
    ctr = rng.beta(a, a * (1 - mean[product]) / mean[product])
    impressions = rng.integers(500, 8000, len(product)).astype(float)
    spread = fit_spread(rng.binomial(impressions.astype(int), ctr).astype(float), impressions, product)
    print(f"variation {spread.variation:.3f}, true {variation}, standard error of log a {spread.error:.3f}")
    assert abs(math.log(spread.shape / a)) < 3 * spread.error + 0.02
    assert np.abs(np.log(spread.mean / mean)).mean() < 0.4


def test_without_differences_no_label_is_sure():
    rng = np.random.default_rng(0)
    log = [creative(f"p{p}", f"{p}-{k}", int(rng.binomial(2000, 0.03)), 2000) for p in range(200) for k in range(4)]
    pairs = compare(log)
    posterior = np.array([(1 + c.counts.clicks, 1 + c.counts.impressions - c.counts.clicks) for c in log], float)
    flat = first_better(posterior[pairs.first], posterior[pairs.second])
    assert np.abs(2 * flat - 1).mean() > 0.45  # what flat priors make of pure noise
    assert pairs.weight.mean() < 0.2
    assert noise_ceiling(pairs)[0].value < 0.6


def test_pairs_stay_within_a_product():
    log = [creative("p1", "a"), creative("p2", "x"), creative("p1", "b", 2), creative("p1", "c"), creative("p3", "z")]
    pairs = compare(log)
    names = [
        (pairs.creatives[i].creative_id, pairs.creatives[j].creative_id)
        for i, j in zip(pairs.first, pairs.second, strict=True)
    ]
    assert names == [("a", "b"), ("a", "c"), ("b", "c")]
    assert pairs.observed.tolist() == [0, 0.5, 1]
    assert pairs.ratio.tolist() == [2, 1, 2]


def test_observed_order_sees_exact_ties_and_ratios_without_clicks():
    pairs = compare(
        [creative("p", "a", 1, 3), creative("p", "b", 3, 9), creative("p", "c", 0, 9), creative("p", "d", 0, 1)]
    )
    assert pairs.observed.tolist() == [0.5, 1, 1, 1, 1, 0.5]
    assert pairs.ratio.tolist() == [1, math.inf, math.inf, math.inf, math.inf, 1]


def test_the_filter_by_impressions_and_ratio():
    pairs = compare([creative("p", "a", 30, 1000), creative("p", "b", 33, 1001), creative("p", "c", 36, 1002)])
    assert pairs.within().tolist() == [True, True, True]
    assert pairs.within(more_than=1000).tolist() == [False, False, True]
    assert pairs.within(ratio=(1.05, 1.15)).tolist() == [True, False, True]
    assert len(pairs.where(pairs.within(more_than=1000))) == 1


def test_agreement_if_the_truth_were_known():
    assert agreement_if_known(np.array([0.8, 0.8, 0.8]), np.array([1, 0, 0.5])) == pytest.approx([0.8, 0.2, 0.5])


def known_log(seed, products=150, creatives=5):
    """A log and its true CTRs: variation 0.25 within a product."""
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(math.log(0.02), 0.6, (products, 1)))
    ctr = mean * rng.gamma(16, 1 / 16, (products, creatives))
    shown = rng.integers(1000, 6000, ctr.shape)
    clicks = rng.binomial(shown, ctr)
    log = [creative(f"p{p}", f"{p}-{k}", int(clicks[p, k]), int(shown[p, k])) for p, k in np.ndindex(ctr.shape)]
    return log, ctr.ravel()


def test_the_ceilings_interval_holds_what_a_perfect_ranker_scores():
    inside, gaps = [], []
    for seed in range(12):
        log, ctr = known_log(seed, products=80)
        pairs = compare(log)
        pairs = pairs.where(pairs.within(ratio=(1.05, 1.5)))
        true = np.mean((ctr[pairs.first] > ctr[pairs.second]) == (pairs.observed > 0.5))
        estimate = noise_ceiling(pairs, seed=seed)[0]
        inside.append(estimate.low <= true <= estimate.high)
        gaps.append(estimate.value - true)
    print(f"inside {sum(inside)} of 12, mean gap {np.mean(gaps):.4f}")
    assert sum(inside) >= 10 and abs(np.mean(gaps)) < 0.015


def test_the_ceiling_rises_with_the_gap_and_its_buckets_add_up():
    pairs = compare(known_log(0)[0])
    whole, *buckets = noise_ceiling(pairs)
    assert [b.name for b in buckets] == [
        f"noise ceiling, ratio {text}" for text in ("1 to 1.05", "1.05 to 1.2", "1.2 to 1.5", "1.5 and more")
    ]
    values = [b.value for b in buckets]
    assert values == sorted(values) and whole.n == sum(b.n for b in buckets) == len(pairs)
    assert whole.value == pytest.approx(sum(b.value * b.n for b in buckets) / whole.n)
    assert noise_ceiling(pairs.where(np.zeros(len(pairs), bool))) == []


def test_split_is_by_product_and_balanced_over_any_numbering():
    assert split("p0014") == split("p0014")
    for names in ([f"p{n:04d}" for n in range(0, 14700, 7)], [f"SKU-{n}x" for n in range(2100)]):
        parts = [split(name) for name in names]
        assert 240 < parts.count("test") < 360 and 240 < parts.count("validation") < 360
