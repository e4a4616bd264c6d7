"""The study of preference optimisation: its statistics by hand, its judge, its bank, and that rows are paid alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caig.errors import InputError
from caig.recipes.pcpo import Config as Training
from caig.shop.shoppers import World
from caig.shop.statistics import look
from caig.studies.learnability import features
from caig.studies.preference import (
    ROWS,
    UNGUARDED,
    Config,
    above,
    average,
    check_size,
    in_blocks,
    run,
    summary,
    training,
)
from caig.studies.preference_parts import Bank, Gallery, LookJudge, canvas_of, mask_of, write_photos
from caig.studies.shelf import read_ads
from caig.types import Description, Estimate, Product
from tests.recipes.pcpo_toys import write_prompt_model

SCENES = Path(__file__).parents[1] / "data"


def table(gain: float, noise: np.ndarray) -> dict:
    before = np.full(50, -3.5) + noise
    rows = {"best of 4": before + gain / 2, "ours": before + gain, "headroom": before + 2 * gain}
    return {"pre-trained": before, "models": {}, **rows}


def test_lift_and_share_of_headroom_by_hand():
    noise = np.random.default_rng(0).normal(0, 0.1, 50)
    found = {e.name: e for e in summary({1: table(0.1, noise), 2: table(0.3, noise)})}
    # Gains 0.1 and 0.3 everywhere: a mean of 0.2, of 0.4 to gain.
    assert found["ours: lift of true CTR"].value == pytest.approx(np.expm1(0.2))
    assert found["best of 4: lift of true CTR"].value == pytest.approx(np.expm1(0.1))
    assert found["headroom: lift of true CTR"].value == pytest.approx(np.expm1(0.4))
    assert found["ours: share of headroom"].value == pytest.approx(0.5)
    assert found["ours: lift of true CTR"].n == 100


def test_worlds_are_resampled_as_blocks():
    """Within a world all products gain alike: the interval spans what two draws of two worlds can give."""
    gain = np.repeat([[0.1], [0.3]], 50, axis=1)
    estimate = in_blocks("x", gain, gain, lambda g, _: float(g.mean()))
    assert (estimate.low, estimate.high) == (pytest.approx(0.1), pytest.approx(0.3))


def test_products_are_the_same_in_all_worlds():
    """A product that gains gains in every world: more worlds narrow nothing."""
    gain = np.random.default_rng(1).normal(0.2, 0.1, 40)
    one, many = (
        in_blocks("x", np.stack([gain] * k), np.stack([gain] * k), lambda g, _: float(g.mean())) for k in (1, 9)
    )
    assert (one.low, one.high) == (pytest.approx(many.low, abs=0.004), pytest.approx(many.high, abs=0.004))


def test_rows_paint_and_step_alike(tmp_path: Path):
    config = Config(scenes=SCENES, out=tmp_path)
    paid = {
        row: (t.rounds * t.products * t.candidates, t.rounds * t.epochs * -(-t.products // t.batch))
        for row, t in ((row, training(config, row, 1, 1e-3)) for row in ROWS)
    }
    assert len(set(paid.values())) == 1
    assert training(config, "DPO only", 1, 1e-3).product_weight == 0
    assert training(config, "PCPO as published", 1, 1e-3).labels == "hard"
    usual = Training(catalog=SCENES, out=tmp_path)
    for name, free in UNGUARDED.items():
        kept = [getattr(training(config, row, 1, 1e-3), name) for row in ("ours", "DPO only", "PCPO as published")]
        assert kept == [getattr(usual, name), free, free], (
            "guards are as they ship for ours, and object to nothing else"
        )
    assert len(
        {training(config, row, world, lr).out for row in ROWS for world in (1, 2) for lr in (1e-3, 1e-4)}
    ) == 4 * len(ROWS)


def test_a_folder_keeps_to_one_study(tmp_path: Path):
    (tmp_path / "study.json").write_text('{"coarse": true}')
    with pytest.raises(InputError, match="a run with other settings .*coarse: True, now False"):
        run(Config(scenes=SCENES, out=tmp_path))


def test_rows_need_products_enough(tmp_path: Path):
    config = Config(scenes=SCENES, out=tmp_path, products=10)
    shelf = [Product(id=f"p{k}", title="x", image=tmp_path) for k in range(30)]
    with pytest.raises(InputError, match="expected 40 training products.*Ask for [4-7] --products or fewer"):
        check_size(config, shelf)
    check_size(replace(config, products=4), shelf)


def test_an_average_of_estimates_by_hand():
    two = [Estimate(name="x", value=v, low=v - 1, high=v + d, n=5) for v, d in ((1.0, 1.0), (2.0, 4.0))]
    assert average(two) == Estimate(name="x", value=1.5, low=0.5, high=4.0, n=5)


def test_a_row_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="rows: expected some of DPO only, .*, got theirs. Leave --rows out"):
        Config(scenes=SCENES, out=tmp_path, rows=("ours", "theirs"))


def test_the_judge_is_linear_in_what_the_shop_sees(tmp_path: Path):
    ads = sorted(read_ads(SCENES), key=lambda ad: ad.product.id)
    judge = LookJudge("x", ads, World(1), Config(scenes=SCENES, out=tmp_path, impressions=500))
    product = write_photos(SCENES, tmp_path)[0]
    image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    [score] = judge.score(product, [image], ids=["a"])
    assert judge._utility(ads[0].look, ads[0].product.category) == pytest.approx(features(ads)[0] @ judge.weights)
    assert score.utility == pytest.approx(judge._utility(look(image, mask_of(product)), product.category))


def test_a_stronger_attraction_reaches_clicks_and_true_ctrs(tmp_path: Path):
    liked = []
    for attraction in (0.0, 0.7):
        painter = "python:tests.recipes.pcpo_toys:Painter"
        settings = Config(
            scenes=SCENES, out=tmp_path, background_model=painter, attraction=attraction, impressions=9000
        )
        gallery = Gallery.open(settings)
        assert gallery.world(1) == World(1, shared=attraction)
        liked.append(gallery.judge(1, 1).weights)  # the toy scenes' other half has no two pictures of a product
    assert not np.allclose(*liked), "its shoppers clicked otherwise"


def test_match_rates_above_others_by_hand():
    matches = {"ours": np.array([[1.0, 0.5], [1.0, 1.0]]), "DPO only": np.array([[0.5, 0.5], [1.0, 0.5]])}
    found = above({**matches, "pre-trained": np.array([[0.75, 0.75]])}, "DPO only")
    assert (found.name, found.value, found.n) == ("ours less DPO only: match rate", 0.25, 4)
    assert above({**matches, "pre-trained": np.array([[0.75, 0.75]])}, "pre-trained").value == 0.125


def test_a_picture_is_painted_once(tmp_path: Path):
    class Counting:
        name, calls = "counting", 0

        def paint(self, canvas, descriptions, *, seeds):
            self.calls += len(descriptions)
            return [np.full((*canvas.product.shape, 3), seed, np.uint8) for seed in seeds]

    painter = Counting()
    bank, canvas = Bank(painter, tmp_path / "bank"), canvas_of(write_photos(SCENES, tmp_path / "photos")[0])
    texts = [Description(product_id="p", text=text, author="", seed=0) for text in ("a", "b", "a")]
    first = bank.paint(canvas, texts, seeds=[1, 2, 1])
    again = Bank(painter, tmp_path / "bank").paint(canvas, texts, seeds=[1, 2, 1])
    assert painter.calls == 2
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)) and int(first[1][0, 0, 0]) == 2
    bank.paint(canvas, texts[:1], seeds=[3])
    assert painter.calls == 3


def test_the_study_runs_and_goes_on_where_it_was_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
    base = write_prompt_model(tmp_path / "base")
    config = Config(
        scenes=SCENES, out=tmp_path / "out", prompt_model=str(base), worlds=1, rates=(5e-3,), rounds=1, products=2,
        background_model="python:tests.recipes.pcpo_toys:Painter", rows=("DPO only", "ours"), tested=2, headroom=3,
        impressions=200,
    )  # fmt: skip
    found = {estimate.name: estimate for estimate in run(config)}
    kinds = ("lift of true CTR", "share of headroom")
    rows = ("DPO only", "ours", "ours + best of 4", "best of 4")
    assert {f"{row}: {kind}" for row in rows for kind in kinds} | {
        "ours: match rate",
        "ours less DPO only: match rate",
        "ours less pre-trained: match rate",
        "ours: KL, nats a description",
    } <= (found.keys())
    record = (tmp_path / "out/table.json").read_text()
    assert all(estimate.low <= estimate.value <= estimate.high for estimate in found.values())
    (tmp_path / "out/runs/571/ours-0.005/best/measured.json").unlink()  # as after a cut in the last step

    def paint(*job, **more):
        raise AssertionError("every picture is there already")

    monkeypatch.setattr("tests.recipes.pcpo_toys.Painter.paint", paint)
    run(config)
    assert (tmp_path / "out/table.json").read_text() == record
