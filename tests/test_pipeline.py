"""The pipeline with models whose behaviour is known: what is asked of whom, seeds, ranking, errors before any work."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caig.errors import CutoutError, ImageError, InputError
from caig.pipeline import AdPipeline, rank
from caig.seeding import seed_for
from caig.testing import sample_product
from caig.types import (
    Box,
    Canvas,
    Description,
    Direction,
    Likeness,
    Palette,
    Placement,
    Product,
    RankedAd,
    Score,
)

LIKE = Likeness(
    creative_id="c",
    description=Description(product_id="other", text="a beach", author="writer", seed=4),
    seed=77,
    palette=Palette(mean=(60.0, 0.0, 0.0), spread=(0.0, 0.0, 0.0)),
)


class Writer:
    name = "writer"

    def __init__(self) -> None:
        self.seen: list[Product] = []

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        self.seen.append(product)
        return [Description(product_id=product.id, text=f"scene {k}", author="writer", seed=seed) for k in range(n)]


class Painter:
    """Paints plain grounds; `spoils(seed)` are those with the product's blue painted on beside it."""

    name = "painter"

    def __init__(self, spoils: Callable[[int], bool] = lambda seed: False) -> None:
        self.seeds: list[int] = []
        self.batches: list[int] = []
        self.descriptions: list[Description] = []
        self.spoils = spoils

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[np.ndarray]:
        self.seeds += seeds
        self.batches.append(len(seeds))
        self.descriptions += descriptions
        pictures = [np.full_like(canvas.image, 60 * (k + 1)) for k in range(len(descriptions))]
        for picture, seed in zip(pictures, seeds, strict=True):
            if self.spoils(seed):
                picture[np.roll(canvas.product, canvas.product.shape[1] // 16, 1) > 0.5] = (40, 80, 160)
        return pictures


class Judge:
    """Likes bright pictures."""

    name = "judge"

    def score(self, product: Product, images: Sequence[np.ndarray], *, ids: Sequence[str]) -> list[Score]:
        means = [float(image.mean()) / 255 for image in images]
        return [
            Score(creative_id=i, utility=m, ctr=m / 10, low=0.0, high=0.2, basis="simulated")
            for i, m in zip(ids, means, strict=True)
        ]


def pipeline() -> AdPipeline:
    return AdPipeline(prompt_model=Writer(), background_model=Painter(), reward_model=Judge())


def test_ads_come_ranked_with_the_photo_untouched() -> None:
    ads = pipeline().generate(sample_product(), n=3, size=(256, 192), seed=0)
    assert [ad.rank for ad in ads] == [1, 2, 3]
    assert [ad.creative.description.text for ad in ads] == ["scene 2", "scene 1", "scene 0"]
    assert all(ad.creative.image.shape == (192, 256, 3) for ad in ads)
    assert all(ad.creative.fidelity.core_exact and ad.creative.fidelity.core_coverage >= 0.9 for ad in ads)
    assert all(ad.score.creative_id == ad.creative.id for ad in ads)
    assert set(ads[0].seconds) == {"cut out", "describe", "paint", "score"}


def test_the_prompt_model_sees_the_cut_out_product_on_white() -> None:
    writer = Writer()
    AdPipeline(prompt_model=writer, background_model=Painter(), reward_model=Judge()).generate(sample_product(), n=1)
    shown = writer.seen[0].image
    assert isinstance(shown, np.ndarray) and shown.shape == (256, 256, 3)
    assert (shown[0] == 255).all() and (np.abs(shown[128, 128].astype(int) - (40, 80, 160)) < 3).all()


def test_every_candidate_of_every_product_and_run_has_its_own_seed() -> None:
    seeds = []
    for run_seed in (0, 1):
        for product in ("a", "b"):
            one = pipeline()
            one.generate(replace(sample_product(), id=product), n=3, size=(128, 128), seed=run_seed)
            seeds += one.background_model.seeds  # type: ignore[attr-defined]
    assert len(set(seeds)) == 12


def test_more_candidates_keep_the_first_seeds() -> None:
    few, many = pipeline(), pipeline()
    few.generate(sample_product(), n=2, size=(128, 128))
    many.generate(sample_product(), n=4, size=(128, 128))
    assert many.background_model.seeds[:2] == few.background_model.seeds  # type: ignore[attr-defined]


def test_placement_reaches_the_canvas() -> None:
    low = pipeline().generate(sample_product(), n=1, size=(256, 256), placement=Placement(scale=0.3, x=0.3, y=0.9))
    blue = (np.abs(low[0].creative.image.astype(int) - (40, 80, 160)) < 12).all(-1)
    rows, columns = np.nonzero(blue)
    assert abs(np.ptp(rows) + 1 - 0.3 * 256) <= 2, "the longer side is scale × the shorter side of the canvas"
    assert abs(rows.max() + 1 - 0.9 * 256) <= 2 and abs(columns.mean() - 0.3 * 256) <= 2


def painted(spoils: Callable[[int], bool], **options) -> tuple[Painter, list[RankedAd]]:
    painter = Painter(spoils)
    one = AdPipeline(prompt_model=Writer(), background_model=painter, reward_model=Judge())
    return painter, one.generate(sample_product(), **{"n": 3, "size": (192, 192), **options})


def test_a_broken_promise_is_painted_again_in_one_batch_and_reported() -> None:
    first = [seed_for(0, "sample", "paint", k) for k in range(3)]
    again = [seed_for(0, "sample", "paint", k, 1) for k in (0, 2)]
    painter, ads = painted(lambda seed: seed in (first[0], first[2], again[1]))
    assert painter.batches == [3, 2, 1]
    assert painter.seeds == [*first, *again, seed_for(0, "sample", "paint", 2, 2)]
    tries = {ad.creative.description.text: ad.creative.tries for ad in ads}
    assert [len(tries[f"scene {k}"]) for k in range(3)] == [2, 1, 3]
    assert [t.fidelity.broken for t in tries["scene 2"]] == [("product extended",), ("product extended",), ()]
    assert all(ad.creative.fidelity.broken == () and ad.creative.seed == ad.creative.tries[-1].seed for ad in ads)


def test_what_stays_broken_is_delivered_with_its_best_try() -> None:
    painter, ads = painted(lambda seed: True, n=1, rolls=2)
    (ad,) = ads
    assert painter.batches == [1, 1] and ad.creative.fidelity.broken == ("product extended",)
    assert ad.creative.fidelity.extension == min(t.fidelity.extension for t in ad.creative.tries)
    assert painted(lambda seed: True, n=1, rolls=1)[0].batches == [1]


def test_same_seed_same_rolls() -> None:
    runs = [painted(lambda seed: seed % 2 == 0)[1] for _ in range(2)]
    assert [[ad.creative.id for ad in run] for run in runs][0] == [ad.creative.id for ad in runs[1]]


def test_a_direction_reaches_the_painter() -> None:
    painter, _ = painted(lambda seed: False, direction=Direction(negative="fruit", theme="spa"))
    assert {d.negative for d in painter.descriptions} == {"fruit"}
    assert all("spa" in d.text or "wellness" in d.text for d in painter.descriptions)


def test_the_clear_space_is_laid_out_and_measured() -> None:
    _, ads = painted(lambda seed: False, direction=Direction(clear=Box(x=0, y=0, w=0.4, h=1)))
    assert all(ad.creative.placement.x > 0.55 and ad.creative.fidelity.unrest is not None for ad in ads)


def test_like_takes_description_seed_and_palette() -> None:
    wish = Description(product_id="other", text="a beach", author="writer", seed=4, negative="fruit")
    like = replace(LIKE, description=wish, palette=Palette(mean=(60.0, 20.0, 30.0), spread=(0.0, 0.0, 0.0)))
    painter, (ad,) = painted(lambda seed: False, n=1, direction=Direction(like=like))
    assert painter.seeds == [77] and painter.descriptions == [replace(wish, product_id="sample")]
    assert ad.creative.palette.mean[1:] == pytest.approx((20, 30), abs=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rolls": 0}, "rolls: expected 1 to 20, got 0"),
        ({"direction": Direction(theme="disco")}, "theme: expected one of studio pastel"),
        ({"n": 2, "direction": Direction(like=LIKE)}, "n: expected none with like, or 1 ad, got '2'"),
        ({"n": 1, "direction": Direction(like=LIKE, theme="spa")}, "theme: expected none with like"),
        ({"n": 1, "direction": Direction(like=LIKE, negative="x")}, "negative: expected none with like"),
    ],
)
def test_directions_that_cannot_be_followed(options, message) -> None:
    with pytest.raises(InputError) as raised:
        painted(lambda seed: False, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"title": " "}, {}, InputError, "title of product 'sample': expected some words, got none"),
        ({"image": None}, {}, InputError, "image of product 'sample': expected a photo, got none"),
        ({"image": Path("no-such.png")}, {}, ImageError, "no-such.png"),
        ({"image": np.full((64, 64, 3), 255, np.uint8)}, {}, CutoutError, "sample"),
        ({}, {"n": 0}, InputError, "n: expected at least 1 ad per product, got 0"),
        ({}, {"size": (32, 4000)}, InputError, "size: expected sides of 64 to 2048 pixels, got 32x4000"),
    ],
)
def test_unusable_input_stops_before_any_model_runs(changes, options, error, message) -> None:
    writer, painter = Writer(), Painter()
    one = AdPipeline(prompt_model=writer, background_model=painter, reward_model=Judge())
    with pytest.raises(error) as raised:
        one.generate(replace(sample_product(), **changes), **{"n": 2, "size": (128, 128), **options})
    assert message in str(raised.value)
    assert not writer.seen and not painter.seeds


def test_equal_utilities_keep_their_order() -> None:
    creatives = [ad.creative for ad in pipeline().generate(sample_product(), n=2, size=(128, 128))]
    scores = [Score(creative_id=c.id, utility=1.0, ctr=0.1, low=0, high=1, basis="simulated") for c in creatives]
    assert [ad.creative.id for ad in rank(creatives, scores, {})] == [creative.id for creative in creatives]


def test_models_are_named_for_the_manifest() -> None:
    assert pipeline().models()["background"] == {"name": "painter", "fingerprint": None}
