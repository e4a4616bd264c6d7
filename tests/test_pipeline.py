"""The pipeline with models whose behaviour is known: what is asked of whom, seeds, ranking, errors before any work."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caig.errors import CutoutError, ImageError, InputError
from caig.pipeline import AdPipeline, rank
from caig.testing import sample_product
from caig.types import Canvas, Description, Placement, Product, Score


class Writer:
    name = "writer"

    def __init__(self) -> None:
        self.seen: list[Product] = []

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        self.seen.append(product)
        return [Description(product_id=product.id, text=f"scene {k}", author="writer", seed=seed) for k in range(n)]


class Painter:
    name = "painter"

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[np.ndarray]:
        self.seeds += seeds
        return [np.full_like(canvas.image, 60 * (k + 1)) for k in range(len(descriptions))]


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
