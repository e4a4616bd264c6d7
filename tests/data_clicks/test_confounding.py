"""The correction of click logs: by hand where a hand can do it, else against known click-through rates."""

import numpy as np
import polars as pl
import pytest

from caig.data.clicks import clicks_of
from caig.data.confounding import _codes, _kish, _overlap, _weighted, correct

NO = pl.lit(None, pl.String)


def cells(rows, columns=("creative_id", "position", "day", "group", "impressions", "clicks"), product="p"):
    frame = pl.DataFrame(rows, schema=list(columns), orient="row").with_columns(product_id=pl.lit(product), image=NO)
    texts = [name for name in ("product_id", "creative_id", "position", "group") if frame[name].dtype == pl.String]
    return frame.with_columns(pl.col(texts).cast(pl.Categorical))


def rates(frame):
    return (frame["effective_clicks"] / frame["effective_impressions"]).to_list()


def expected(ctr, shown, factor):
    """Impressions `shown` [creatives, conditions] with exactly the clicks that ctr x factor gives."""
    return [
        (f"c{i}", f"{c}", n, round(n * ctr[i] * factor[c])) for i, row in enumerate(shown) for c, n in enumerate(row)
    ]


def by_position(rows):
    return cells([(name, place, None, None, n, k) for name, place, n, k in rows])


def test_without_conditions_counts_stay_as_they_are():
    found = correct(cells([("a", None, None, None, 100, 3), ("b", None, None, None, 50, 0)]))
    assert found["effective_clicks"].to_list() == [3, 0]
    assert found["effective_impressions"].to_list() == [100, 50]


def test_one_stratum_changes_nothing_either():
    found = correct(cells([("a", "1", None, "g", 9000, 300), ("b", "1", None, "g", 8000, 0)]))
    assert found["effective_clicks"].to_list() == pytest.approx([300, 0])
    assert found["effective_impressions"].to_list() == pytest.approx([9000, 8000])


def test_position_bias_is_taken_out():
    # The worse ad has the better place: 0.0188 against 0.0138. In equal places 0.02 and 0.03.
    rows = expected([0.02, 0.03], [[900_000, 100_000], [100_000, 900_000]], [1.0, 0.4])
    found = correct(by_position(rows))
    assert found["clicks"][0] / 1e6 > found["clicks"][1] / 1e6
    low, high = rates(found)
    assert high / low == pytest.approx(1.5, rel=0.01)


def test_a_day_on_which_all_is_clicked_more_is_taken_out():
    rows = expected([0.02, 0.03], [[900_000, 100_000], [100_000, 900_000]], [1.0, 0.4])
    days = pl.Series(["2026-01-01", "2026-01-02"]).str.to_date()
    low, high = rates(correct(cells([(name, None, days[int(day)], None, n, k) for name, day, n, k in rows])))
    assert high / low == pytest.approx(1.5, rel=0.01)


def test_a_creative_that_never_met_another_says_little():
    # Each product's own day for each creative: whatever the CTRs are, days differ by as much.
    rng, rows = np.random.default_rng(0), []
    days = pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 1, 10), eager=True)
    for product in range(200):
        for day in range(10):
            clicks = rng.poisson(1000 * 0.03 * np.exp(rng.normal(0, 0.8)))
            rows.append((f"p{product}", f"p{product}-{day // 5}", days[day], 1000, int(clicks)))
    frame = pl.DataFrame(rows, schema=["product_id", "creative_id", "day", "impressions", "clicks"], orient="row")
    frame = frame.with_columns(position=NO, group=NO, image=NO)
    found = correct(frame.with_columns(pl.col("product_id", "creative_id", "position", "group").cast(pl.Categorical)))
    assert (found["effective_clicks"] / found["clicks"]).median() < 0.2


def test_weights_average_one_per_creative_day_and_position():
    # Propensities 0.5 (30 rows) and 0.1 (10 rows): inverses 2 and 10, mean (60 + 100) / 40 = 4, weights 0.5 and 2.5.
    frame = pl.DataFrame({"impressions": [30, 10], "clicks": [6, 2], "w": [60.0, 100.0], "wk": [12.0, 20.0]})
    frame = frame.with_columns(w2=pl.Series([120.0, 1000.0]), w2k=pl.Series([24.0, 200.0]))
    n, k, squares, spread = _weighted(frame, np.array([0, 0]))
    assert n.tolist() == [15, 25] and k.tolist() == [3, 5]
    assert squares.tolist() == [24 / 16, 200 / 16] and spread.tolist() == [120 / 16, 1000 / 16]


def test_kish_by_hand():
    # Weights 0.5 on six clicks, 2.5 on two: (3 + 5)^2 / (1.5 + 12.5) = 4.57 effective clicks of 8.
    assert _kish(*(np.array([x]) for x in (8.0, 14.0, 40.0, 70.0))) * 8 == pytest.approx(64 / 14)
    assert _kish(*(np.array([x]) for x in (0.0, 0.0, 40.0, 70.0))) == pytest.approx(40 / 70)


def test_overlap_by_hand():
    # Expected clicks of a: 9 beside 1 of b, 1 beside 9 of b. Unknown betas (b = 0): 10 x 0.9 x 0.1 twice = 1.8 of
    # 10 x (1 - 10 / 20) = 5. Known betas (b to infinity): 9 + 1 = 10, more than 5: nothing is lost.
    zeros, creative, stratum = np.zeros(2, np.int64), np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    k = np.array([9.0, 1, 1, 9])
    assert _overlap(k, k, 0.0, creative, stratum, zeros) == pytest.approx([0.36, 0.36])
    assert _overlap(k, k, 1e12, creative, stratum, zeros) == pytest.approx([1, 1])


def test_propensities_even_out_groups_that_the_policy_favoured():
    """Ad a is liked by g only, and hardly shown to others; over all shoppers, half of them g, b is the better one."""
    rng = np.random.default_rng(1)
    ctr = {("a", "g"): 0.04, ("a", "h"): 0.01, ("b", "g"): 0.03, ("b", "h"): 0.03}
    group = np.where(rng.random(400_000) < 0.5, "g", "h")
    chance = np.where(group == "g", 0.5, 0.05)
    ad = np.where(rng.random(400_000) < chance, "a", "b")
    rate = np.array([ctr[pair] for pair in zip(ad, group, strict=True)])
    log = pl.DataFrame(
        {
            "impression_id": np.arange(400_000),
            "product_id": "p",
            "creative_id": ad,
            "at": "2026-01-01",
            "clicked": rng.random(400_000) < rate,
            "position": 1,
            "propensity": np.where(ad == "a", chance, 1 - chance),
            "group": group,
        }
    )
    ratios = {}
    for name, frame in (("corrected", log), ("without propensity", log.drop("propensity"))):
        a, b = (creative.effective.ctr for creative in clicks_of(frame).creatives)
        ratios[name] = a / b
    print(ratios, "true 0.833")
    assert ratios["corrected"] == pytest.approx(0.025 / 0.03, rel=0.04)
    assert abs(ratios["without propensity"] - 0.025 / 0.03) > 0.1


def test_effective_counts_carry_the_precision_of_the_corrected_rate():
    """In steady conditions with random traffic nothing is lost; (log error)^2 x effective clicks averages 1."""
    rng = np.random.default_rng(2)
    shape = (300, 4, 3, 5)  # products, creatives, positions, days
    theta = 0.02 * np.exp(rng.normal(0, 0.3, shape[:2]))
    shown = rng.poisson(150, shape)
    factor = np.array([1, 0.6, 0.4])[:, None] * np.exp(rng.normal(0, 0.3, 5))
    clicks = rng.poisson(shown * theta[..., None, None] * factor)
    index = np.indices(shape).reshape(4, -1)
    frame = pl.DataFrame({"product_id": index[0], "creative_id": index[0] * 4 + index[1], "position": index[2]})
    frame = frame.with_columns(impressions=shown.ravel(), clicks=clicks.ravel(), image=NO, group=NO)
    frame = frame.with_columns(day=pl.date(2026, 1, 1) + pl.duration(days=pl.Series(index[3])))
    names = ("product_id", "creative_id", "position", "group")
    found = correct(frame.with_columns(pl.col(names).cast(pl.String).cast(pl.Categorical)))
    found = found.sort(pl.col("creative_id").cast(pl.Int64))
    error = np.log(np.array(rates(found))).reshape(300, 4) - np.log(theta)
    worth = found["effective_clicks"].to_numpy().reshape(300, 4)
    centred = error - (worth * error).sum(1, keepdims=True) / worth.sum(1, keepdims=True)
    scale = (worth * centred**2).sum() / (300 * 3)
    print("kept", worth.sum() / clicks.sum(), "mean square, 1 wanted:", scale)
    assert worth.sum() / clicks.sum() > 0.95
    assert scale == pytest.approx(1, abs=0.15)


def test_texts_are_coded_by_their_letters_whatever_numbers_they_had_before():
    texts = ["code c", "code b", None, "code a", "code b"]
    cells = pl.DataFrame({"name": pl.Series(texts, dtype=pl.Categorical), "day": [1, 0, 0, 0, 0]})
    assert cells["name"].to_physical()[0] < cells["name"].to_physical()[1], "polars numbers them as they come"
    assert _codes(cells, ["name"]).tolist() == [3, 2, 0, 1, 2]
    assert _codes(cells, ["day", "name"]).tolist() == [3, 2, 0, 1, 2]
