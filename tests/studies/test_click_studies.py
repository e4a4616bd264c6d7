"""The studies of ceiling and confounding at toy size: by hand where possible; every setting changes something."""

import math

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


def test_the_confounding_study_compares_four_sets_of_labels():
    found = confounding.run(confounding.Config(**CONFOUNDING))
    naive, corrected, unbiased, uniform, recovered, against_uniform = (e.value for e in found)
    assert recovered == pytest.approx((corrected - naive) / (unbiased - naive))
    assert against_uniform == pytest.approx((corrected - naive) / (uniform - naive))
    assert all(0.4 < value <= 1 for value in (naive, corrected, unbiased, uniform))


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


def test_impressions_are_kept_and_clicks_drawn_from_the_truth():
    ads = confounding.draw_ads(20, 2, seed=0)
    true = {ad.id: 0.02 + 0.04 * (index % 2) for index, ad in enumerate(ads)}

    log = pl.DataFrame({"creative_id": list(true), "impressions": 50_000, "clicks": 1000})
    again = confounding.shown_at_random(log, true, seed=0)
    assert again["impressions"].to_list() == log["impressions"].to_list()
    # 1,000 clicks each overall: 500 of the worse, 1,500 of the better
    assert again["clicks"].to_numpy().reshape(20, 2).mean(axis=0) == pytest.approx([500, 1500], rel=0.05)
