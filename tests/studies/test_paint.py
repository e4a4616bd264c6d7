"""A bank of painted pictures: whole archives that scene readers take, kept when they are there, of one setting only."""

from pathlib import Path

import numpy as np
import pytest

from caig.artifacts import content_hash
from caig.data.scenes import read_products, read_scenes
from caig.errors import InputError
from caig.models.hub import load_model
from caig.studies import paint
from caig.studies.paint import Config, run
from tests.project import ROOT
from tests.recipes.pcpo_toys import Painter, write_prompt_model

SCENES = ROOT / "tests/data"
EACH, PRODUCTS = 2, 4


class Plain(Painter):
    """Keeps how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def paint(self, canvas, descriptions, *, seeds):
        self.asked += 1
        return super().paint(canvas, descriptions, seeds=seeds)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory):
    return load_model(str(write_prompt_model(tmp_path_factory.mktemp("prompt"))), "prompt")


@pytest.fixture
def painter(writer, monkeypatch: pytest.MonkeyPatch) -> Plain:
    """The pipeline with a tiny prompt model and a painter of plain colours, for the first few products."""
    painter = Plain()
    models = {"prompt": writer, "background": painter}
    few = read_products(SCENES)[:PRODUCTS]
    monkeypatch.setattr(paint, "read_products", lambda _: few)
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 8)
    monkeypatch.setattr(paint, "load_model", lambda _, role: models[role])
    monkeypatch.setattr(paint, "ARCHIVE", 3)
    return painter


def toy(out: Path, **fields) -> Config:
    return Config(**{"scenes": SCENES, "out": out, "pictures": EACH, "side": 64} | fields)


def test_paintings_are_read_like_scenes_where_they_are_wanted(painter: Plain, tmp_path: Path):
    archives = run(toy(tmp_path / "out"))
    assert len(archives) == 2
    with pytest.raises(InputError, match=r"scenes-\*\.tar"):
        read_scenes(tmp_path / "out")  # nothing here for what trains a painter
    scenes = read_scenes(tmp_path / "out", painted=True)
    assert len(scenes) == EACH * PRODUCTS
    for scene in scenes:
        picture, product = scene.image(), scene.cutout()
        core = product[..., 3] == 255
        assert scene.painted
        assert picture.shape == (64, 64, 3)
        assert core.sum() > 50
        assert np.abs(picture[core].astype(int) - product[core][:, :3]).mean() < 8  # both were compressed
        assert scene.record["captions"][0]
        assert scene.record["models"]["background"]["name"] == painter.name


def test_pictures_are_named_by_their_pixels(painter: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shown = []
    plain = paint._webp
    monkeypatch.setattr(paint, "_webp", lambda pixels: shown.append(pixels) or plain(pixels))
    run(toy(tmp_path / "out"))
    named = {f"a{content_hash(pixels)}" for pixels in shown if pixels.shape[2] == 3}
    assert {scene.id for scene in read_scenes(tmp_path / "out", painted=True)} == named


def test_a_cut_bank_goes_on_and_ends_as_an_uncut_one(painter: Plain, tmp_path: Path):
    archives = run(toy(tmp_path / "out"))
    whole, asked = [path.read_bytes() for path in archives], painter.asked
    archives[1].unlink()
    run(toy(tmp_path / "out"))
    assert painter.asked == asked + 1  # the missing archive's only product
    assert [path.read_bytes() for path in archives] == whole


@pytest.mark.parametrize("change", [{"pictures": 3}, {"side": 96}, {"seed": 1}])
def test_a_bank_of_other_settings_is_left_alone(painter: Plain, tmp_path: Path, change: dict):
    archives = run(toy(tmp_path / "out"))
    before = [path.read_bytes() for path in archives]
    with pytest.raises(InputError, match="Choose another --out"):
        run(toy(tmp_path / "out", **change))
    run(toy(tmp_path / "other", **change))
    assert [path.read_bytes() for path in sorted((tmp_path / "other").glob("*.tar"))] != before


@pytest.mark.parametrize("change", [{"pictures": 0}, {"side": 32}])
def test_impossible_settings(tmp_path: Path, change: dict):
    with pytest.raises(InputError, match="Raise it"):
        toy(tmp_path, **change)


def test_paintings_are_no_part_of_a_painters_training_data(painter: Plain, tmp_path: Path):
    run(toy(tmp_path / "out"))
    for name in ("scenes-00.tar", "products.tar"):
        (tmp_path / "out" / name).write_bytes((SCENES / name).read_bytes())
    assert not any(scene.painted for scene in read_scenes(tmp_path / "out"))
    assert any(scene.painted for scene in read_scenes(tmp_path / "out", painted=True))


def test_a_coarse_painter_paints_small_pictures_in_few_steps():
    fine, coarse = paint.load_painter("embedded", False).sampling, paint.load_painter("embedded", True).sampling
    assert (coarse.native_side, coarse.refine, coarse.steps) == (fine.native_side // 2, 0, 6)
