"""The studies of ceiling and confounding at toy size: by hand where possible; every setting changes something."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from caig.studies import ceiling, confounding

SMALL = {"worlds": 2, "products": 12, "ads": 3}
CEILING = SMALL | {"least": 1500, "most": 6000}
CONFOUNDING = SMALL | {"impressions": 120_000, "days": 6}


def test_wilson_by_hand():
    # 19 of 20: (19 + 1.9208 -+ 1.96 sqrt(0.95 + 0.9604)) / 23.8416
    half = 1.96 * math.sqrt(0.95 + 0.9604)
    assert ceiling.wilson(19, 20) == pytest.approx(((20.9208 - half) / 23.8416, (20.9208 + half) / 23.8416), abs=1e-4)
    assert ceiling.wilson(20, 20)[1] == pytest.approx(1)


def test_the_ceiling_study_holds_estimates_against_the_truth():
    found = {e.name: e for e in ceiling.run(ceiling.Config(**CEILING))}
    assert len(found) == 8
    for preset in ("soft", "caig-published"):
        estimated, true = found[f"{preset}: estimated ceiling"], found[f"{preset}: true ceiling"]
        assert found[f"{preset}: estimated less true"].value == pytest.approx(estimated.value - true.value)
        assert found[f"{preset}: coverage of the 95 % interval"].value in (0, 0.5, 1)
    assert found["soft: true ceiling"].value > 0.7
    assert found["soft: estimated ceiling"].n == 2 * 12 * 3 > found["caig-published: estimated ceiling"].n


@pytest.mark.parametrize(
    "field", [{"worlds": 3}, {"products": 13}, {"ads": 4}, {"least": 1100}, {"most": 9000}, {"seed": 1}], ids=str
)
def test_every_setting_of_the_ceiling_study_counts(field):
    plain, other = (ceiling.run(ceiling.Config(**CEILING | fields)) for fields in ({}, field))
    assert plain != other


def test_the_confounding_study_compares_five_sets_of_labels():
    found = [e.value for e in confounding.run(confounding.Config(**CONFOUNDING))]
    (naive, corrected, *others), shares = found[:5], found[5:]
    assert shares == pytest.approx([(corrected - naive) / (other - naive) for other in others])
    assert all(0.4 < value <= 1 for value in found[:5])


@pytest.mark.parametrize(
    "field", [{"worlds": 3}, {"products": 13}, {"ads": 4}, {"impressions": 150_000}, {"days": 8}, {"seed": 1}], ids=str
)
def test_every_setting_of_the_confounding_study_counts(field):
    plain, other = (
        confounding.accuracies(config := confounding.Config(**CONFOUNDING | fields), config.seed)
        if "worlds" not in field
        else [e.n for e in confounding.run(confounding.Config(**CONFOUNDING | fields))]
        for fields in ({}, field)
    )
    assert plain != other


def test_an_ad_is_not_shown_before_its_launch():
    policy = confounding.Launching(np.array([0, 0, 1]))
    traffic = confounding.Traffic(
        product=np.zeros(3, np.int64), clicks=np.zeros(3, np.int64), impressions=np.zeros(3, np.int64), positions=2
    )
    first, second = policy(traffic), policy(traffic)
    assert first[:, 2].tolist() == [0, 0] and (second > 0).all()
    assert np.allclose(first.sum(axis=1), 1) and np.allclose(second.sum(axis=1), 1)


def test_what_impressions_were_worth():
    ads = confounding.draw_ads(1, 2, seed=0)
    level, _ = confounding.weather(2, np.random.default_rng(confounding.seed_for(7, "weather")), True)
    at = [confounding.START + timedelta(days=day, hours=3) for day in (0, 0, 1)]
    log = pl.DataFrame({"creative_id": [ads[0].id, ads[1].id, ads[1].id], "position": [1, 2, 4], "at": at})
    worth = confounding.exposure(log, ads, 7, 2)
    assert worth == pytest.approx([level[0], level[0] * 2**-0.7 + level[1] * 4**-0.7])


def test_redrawn_labels_get_better_with_more_impressions():
    ads = confounding.draw_ads(30, 3, seed=0)
    true = {ad.id: 0.02 + 0.004 * (index % 3) for index, ad in enumerate(ads)}
    shown = pl.DataFrame({"product_id": [ad.product.id for ad in ads], "creative_id": list(true)})
    few, many = (confounding.redrawn_accuracy(shown, np.full(90, size), true, 0) for size in (500.0, 500_000.0))
    assert 0.5 < few < 0.8 and many == 1
