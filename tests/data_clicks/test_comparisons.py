import numpy as np
import pytest

from caig.data.clicks import CreativeClicks
from caig.data.comparisons import ceiling, compare, first_better, observed_order, split
from caig.types import ClickCounts, Comparison


def pair(first, second):
    counts = [ClickCounts(clicks=c, impressions=n) for c, n in (first, second)]
    return Comparison(product_id="p1", first="a", second="b", first_counts=counts[0], second_counts=counts[1])


def creative(product, name, clicks=1):
    counts = ClickCounts(clicks=clicks, impressions=10)
    return CreativeClicks(product_id=product, creative_id=name, image="a.png", counts=counts)


def test_pairs_stay_within_a_product():
    log = [creative("p1", "a"), creative("p2", "x"), creative("p1", "b", 2), creative("p1", "c"), creative("p3", "z")]
    pairs = compare(log)
    assert [(p.product_id, p.first, p.second) for p in pairs] == [("p1", "a", "b"), ("p1", "a", "c"), ("p1", "b", "c")]
    assert pairs[0].second_counts == ClickCounts(clicks=2, impressions=10)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0, 0), (0, 0), 1 / 2),  # two flat posteriors
        ((1, 1), (0, 0), 2 / 3),  # Beta(2, 1) over uniform: E[first] = 2/3
        ((0, 0), (1, 1), 1 / 3),
        ((1, 1), (0, 1), 5 / 6),  # density 2x against F = 1 - (1-x)^2: integral of 2x(2x - x^2) = 4/3 - 1/2
    ],
)
def test_first_better_by_hand(first, second, expected):
    assert first_better([pair(first, second)])[0] == pytest.approx(expected, abs=1e-4)


def test_first_better_at_the_size_of_real_logs():
    # Normal approximation: z = (0.036 - 0.030) / sqrt(0.036*0.964/2000 + 0.030*0.970/3000), Phi(1.155) = 0.876
    assert first_better([pair((72, 2000), (90, 3000))])[0] == pytest.approx(0.876, abs=0.01)


def test_both_orders_add_up_to_one():
    there, back = first_better([pair((30, 900), (25, 1100)), pair((25, 1100), (30, 900))])
    assert there + back == pytest.approx(1, abs=1e-4)


def test_observed_order_sees_exact_ties():
    pairs = [pair((1, 3), (3, 9)), pair((2, 3), (3, 9)), pair((1, 3), (4, 9))]
    assert observed_order(pairs).tolist() == [0.5, 1, 0]


def test_ceiling_is_the_chance_that_the_observed_order_is_right():
    assert ceiling(np.array([0.8, 0.8, 0.8]), np.array([1, 0, 0.5])) == pytest.approx([0.8, 0.2, 0.5])


def test_split_is_by_product_and_balanced_over_any_numbering():
    assert split("p0014") == split("p0014")
    for names in ([f"p{n:04d}" for n in range(0, 14700, 7)], [f"SKU-{n}x" for n in range(2100)]):
        parts = [split(name) for name in names]
        assert 240 < parts.count("test") < 360 and 240 < parts.count("validation") < 360
