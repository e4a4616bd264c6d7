"""The ads of a run judged anew: scores by hand, nothing judged twice, broken runs, the same over Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caig.cli import main
from caig.errors import CatalogError, InputError
from caig.recipes import generate, rescore
from caig.recipes.generate import Config
from caig.types import Product
from tests.project import ROOT
from tests.recipes.fake_pipeline import FakePipeline

MODEL = ("--reward-model", "python:cli_fakes:Rewards")


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two products with two ads each, and one that failed."""
    monkeypatch.syspath_prepend(ROOT / "tests/cli")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photo.png")
    shelf = [Product(id=id, title=f"product {id}", category="box", image=tmp_path / "photo.png") for id in "abc"]
    broken = FakePipeline({"b": ValueError("no")})
    generate.run(Config(out=tmp_path / "out", n=2, size=(64, 64)), broken, shelf, progress=lambda line: None)
    return tmp_path / "out"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]


def test_scores_are_the_models(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fake's utility is a picture's mean over 255."""
    assert main(["rescore", str(out), *MODEL]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out / "scores.jsonl")
    found = lines(out)
    assert [line["product_id"] for line in found] == ["a", "a", "c", "c"]
    for line in found:
        picture = np.asarray(Image.open(out / line["file"]).convert("RGB"))
        assert line["utility"] == pytest.approx(picture.mean() / 255)
        assert line["ctr"] == pytest.approx(0.04 * line["utility"]) and line["basis"] == "simulated"
        assert (line["model"], line["fingerprint"]) == ("fake rewards", None)


def test_nothing_is_judged_twice(out: Path) -> None:
    from cli_fakes import Rewards

    class Counting(Rewards):
        asked = 0

        def score(self, *arguments: Any, **named: Any) -> Any:
            self.asked += 1
            return super().score(*arguments, **named)

    model = Counting()
    for _ in range(2):
        rescore.run(out, lambda ads: {index: rescore.judge(model, one) for index, one in enumerate(ads)})
    assert model.asked == 2
    model.name = "another"
    rescore.judge(model, rescore.read_ads(out)[0])
    assert model.asked == 3


def test_what_is_no_run_or_no_longer_whole(out: Path, tmp_path: Path) -> None:
    from cli_fakes import Rewards

    with pytest.raises(InputError, match="expected a run with ads, got none. Name the --out of a caig generate"):
        rescore.read_ads(tmp_path / "nothing")
    first = rescore.read_ads(out)[0]
    (out / first.lines[0]["file"]).write_bytes(b"another")
    with pytest.raises(CatalogError, match="expected the manifest's picture, got none or another"):
        rescore.judge(Rewards(), first)
    assert not (out / "scores").exists()


def over_ray(out: Path, model: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(ROOT / place) for place in ("src", "", "tests/cli"))}
    command = [sys.executable, "-m", "caig", "rescore", str(out), "--reward-model", model, "--ray", "local"]
    return subprocess.run([*command, "--workers", "2"], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_over_ray(out: Path) -> None:
    assert main(["rescore", str(out), *MODEL]) == 0
    alone = lines(out)
    for path in (out / "scores").iterdir():
        path.unlink()
    done = over_ray(out, "python:cli_fakes:Rewards")
    assert done.returncode == 0, done.stderr
    assert lines(out) == alone and len(list((out / "scores").iterdir())) == 2


@pytest.mark.slow
def test_workers_that_cannot_load_their_model(out: Path) -> None:
    done = over_ray(out, "python:cli_fakes:no_model")
    assert done.returncode == 2
    assert "error: --ray: expected workers that load the models and go on, got" in done.stderr
