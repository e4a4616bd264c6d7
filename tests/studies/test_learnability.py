"""The oracle's fit against what is known by hand, the way on drawn ads, and the command on rendered scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caig.shop.shoppers import Ad
from caig.shop.statistics import NAMES
from caig.studies import learnability
from caig.studies.learnability import Config, features, fit_oracle, pairs_within, study
from caig.types import Product

DATA = Path(__file__).parents[1] / "data"
CONFIG = Config(scenes=DATA, worlds=1, impressions=2000)


def ads(products: int = 120, each: int = 5) -> list[Ad]:
    looks = np.random.default_rng(0).standard_normal((products, each, len(NAMES))).clip(-3, 3)
    return [
        Ad(id=f"{p}-{k}", product=Product(id=f"p{p:03}", title="", category=f"c{p % 4}"), look=looks[p, k])
        for p in range(products)
        for k in range(each)
    ]


def test_features_hold_look_squared_length_and_look_by_category() -> None:
    shown = ads(2, 1)
    seen, width = features(shown), len(NAMES)
    assert seen.shape == (2, width + 1 + 2 * width)
    assert seen[1, :width].tolist() == shown[1].look.tolist() == seen[1, -width:].tolist()
    assert seen[1, width] == pytest.approx((shown[1].look ** 2).sum() / 2)
    assert not seen[1, width + 1 : 2 * width + 1].any(), "the other category's"


def test_pairs_stay_within_a_product() -> None:
    first, second = pairs_within(np.array(["a", "a", "a", "b", "c", "c"]))
    assert list(zip(first, second, strict=True)) == [(0, 1), (0, 2), (1, 2), (4, 5)]


def test_the_oracle_finds_the_ratio_of_click_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """One feature, 0 or 1; 30 clicks of 1,000 against 20 of 2,000: a ratio of 3, so a weight of log 3."""
    monkeypatch.setattr(learnability, "penalties", lambda width: np.zeros(width))
    arguments = (np.array(["p", "p"]), np.array([20.0, 30.0]), np.array([2000.0, 1000.0]))
    assert fit_oracle(np.array([[0.0], [1.0]]), *arguments) == pytest.approx([np.log(3)], rel=1e-4)
    monkeypatch.setattr(learnability, "penalties", lambda width: np.full(width, 1e6))
    assert fit_oracle(np.array([[0.0], [1.0]]), *arguments) == pytest.approx([0], abs=1e-3), "held by the prior"


def test_tastes_are_learned_from_clicks_on_other_products() -> None:
    found = {estimate.name.removeprefix("world 1: "): estimate for estimate in study(CONFIG, ads(), 1)}
    print(*found.values(), sep="\n")
    reached = found["way from chance to the ceiling"]
    assert reached.value > 0.85 and reached.low < reached.value < reached.high and reached.n == 1200
    assert sum(e.value for name, e in found.items() if name.startswith("variance")) == pytest.approx(1)
    parts = [e for name, e in found.items() if name.startswith("of the pictures")]
    assert sum(part.value for part in parts) == pytest.approx(1)
    assert parts[0].low > 0.3 and parts[1].low > 0.03, "shared attraction and category tastes are both visible"


def test_fewer_impressions_lower_the_ceiling() -> None:
    few, many = (list(study(Config(scenes=DATA, impressions=n), ads(20), 1))[1] for n in (300, 8000))
    print(few, many, sep="\n")
    assert few.value < many.value - 0.1 and many.value > 0.85


def test_worlds_and_folds_are_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnability, "read_ads", lambda scenes: ads(20, 3))
    found = learnability.run(Config(scenes=DATA, worlds=2, impressions=2000, folds=2, seed=4))
    assert {estimate.name.partition(":")[0] for estimate in found} == {"world 4", "world 5"}
    other = learnability.run(Config(scenes=DATA, worlds=1, impressions=2000, folds=3, seed=4))
    assert {e.name: e.value for e in other}.items() - {e.name: e.value for e in found}.items(), "folds change the fit"
