"""caig evaluate promises: estimates by hand from manifest lines, sheets, and the ControlNet left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caig.errors import InputError
from caig.pipeline import AdPipeline
from caig.recipes.promises import MEASURES, Config, badness, compared, measured, run
from caig.types import Canvas, Description, Pixels, Product, Score
from tests.recipes.fake_pipeline import GOOD


class Writer:
    name = "writer"

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        return [Description(product_id=product.id, text="a", author="writer", seed=k) for k in range(n)]


class Painter:
    """Without its ControlNet it paints the product on to one side."""

    name = "painter"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def with_controlnet_scale(self, scale: float) -> Painter:
        return Painter(scale)

    def from_noise(self) -> Painter:
        return Painter(self.scale)

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        pictures = [np.full_like(canvas.image, 110 + seed % 60) for seed in seeds]
        for picture in pictures if self.scale == 0 else []:
            picture[np.roll(canvas.product, 4, 1) > 0.5] = (160, 20, 40)
        return pictures


class Judge:
    name = "judge"

    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        return [Score(creative_id=i, utility=0.0, ctr=0.1, low=0.0, high=0.2, basis="simulated") for i in ids]


@pytest.fixture
def products() -> list[Product]:
    photo = np.full((100, 80, 3), 255, np.uint8)
    photo[20:80, 25:55] = (160, 20, 40)
    return [Product(id=name, title=name, image=photo) for name in "ab"]


def pipeline(painter: Any) -> AdPipeline:
    return AdPipeline(prompt_model=Writer(), background_model=painter, reward_model=Judge())


def line(product: str, *tries: tuple[str, ...], seed: int = 0, extension: float = 0.0) -> dict[str, Any]:
    """Manifest line of an ad that was painted `len(tries)` times, each with the promises that it broke."""
    first = replace(GOOD, extension=extension)
    rolled = [{"seed": seed + k, **vars(replace(first, broken=broken))} for k, broken in enumerate(tries)]
    promises = {"broken": tries[-1], "rolls": len(tries), "tries": rolled}
    return {"product_id": product, "seed": seed, "fidelity": vars(first), "promises": promises}


def test_estimates_by_hand() -> None:
    """Of four ads two pass at once, one at the second try, one never in three."""
    halo = ("halo",)
    ads = [line("a", ()), line("a", ()), line("b", halo, ()), line("b", halo, ("floating",), halo)]
    found = {estimate.name: estimate for estimate in measured(ads)}
    assert found["kept at the first try"].value == 0.5
    assert found["rolls per image"].value == (1 + 1 + 2 + 3) / 4
    assert found["delivered broken"].value == 0.25
    assert found["halo, at the first try"].value == 0.5 and found["floating, at the first try"].value == 0
    assert found["grain, mean of first tries"].value == pytest.approx(1.1)
    assert "overhang, mean of first tries" not in found, "none was seen"
    assert all(estimate.n == 4 and estimate.low <= estimate.value <= estimate.high for estimate in found.values())


def test_the_controlnet_is_compared_on_equal_seeds() -> None:
    ads = [line("a", (), seed=1, extension=0.01), line("b", (), seed=2, extension=0.02)]
    without = [line("a", (), seed=1, extension=0.05), line("b", (), seed=2, extension=0.04), line("b", (), seed=9)]
    rise = compared(ads, without)[0]
    assert (rise.name, rise.n) == ("extension, from noise, without ControlNet minus with", 2)
    assert rise.value == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("measure", "worse", "better"),
    [("halo", 0.2, 0.1), ("contact", 0.1, 0.2), ("overhang", 0.5, -0.5), ("sharpness", 0.3, 0.9), ("grain", 3.0, 1.1)],
)
def test_worse_comes_first(measure: str, worse: float, better: float) -> None:
    assert badness(measure, worse) > badness(measure, better)


def test_a_run_leaves_sheets_and_resumes(tmp_path: Path, products: list[Product]) -> None:
    said: list[str] = []
    config = Config(out=tmp_path / "p", n=2, size=(96, 96))
    found = {e.name: e for e in run(config, pipeline(Painter()), products, progress=said.append)}
    assert found["kept at the first try"].value == 1.0 and found["rolls per image"].n == 4
    assert found["extension, from noise, without ControlNet minus with"].low > 0.03, (
        "without it the product is painted on"
    )
    for measure in MEASURES:
        with Image.open(tmp_path / f"p/worst-{measure}.png") as sheet:
            assert sheet.width > 200 or measure == "overhang"
    said.clear()
    run(config, pipeline(Painter()), products, progress=said.append)
    assert [text.split(":")[0] for text in said] == ["0 products to do, 2 done before"] * 3


def test_a_model_without_a_controlnet_is_measured_too(tmp_path: Path, products: list[Product]) -> None:
    class Plain:
        name, paint = "plain", Painter().paint

    found = run(Config(out=tmp_path, n=1, size=(96, 96)), pipeline(Plain()), products, progress=lambda text: None)
    assert not any("ControlNet" in estimate.name for estimate in found)
    assert not (tmp_path / "controlnet").exists() and not (tmp_path / "no-controlnet").exists()


def test_no_usable_product(tmp_path: Path) -> None:
    bad = Product(id="a", title="a", image=np.full((64, 64, 3), 255, np.uint8))
    with pytest.raises(InputError, match="promises: expected at least one product with ads, got none"):
        run(Config(out=tmp_path, size=(96, 96)), pipeline(Painter()), [bad], progress=lambda text: None)
