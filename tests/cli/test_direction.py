"""Options that say how the pictures shall be: what reaches the manifest and the pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_fakes import FAKES
from PIL import Image

from caig.imaging.placing import PRESETS

ALL = tuple(FAKES)
ONE = ("generate", "--image", "photo.png", "--title", "Red box", "-n", "1")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("preset", ["leaderboard", "skyscraper", "medium-rectangle"])
def test_presets(caig, tmp_path: Path, preset: str) -> None:
    assert caig(*ONE, "--size", preset, fakes=ALL).code == 0
    with Image.open(tmp_path / "out/photo/rank-1.png") as picture:
        assert picture.size == PRESETS[preset]


def test_theme_and_negative_reach_the_manifest(caig, tmp_path: Path) -> None:
    assert caig(*ONE, "--size", "96x96", "--theme", "deep forest", "--negative", "fruit", fakes=ALL).code == 0
    (line,) = lines(tmp_path / "out")
    assert (line["theme"], line["negative"]) == ("deep forest", "fruit")
    assert "forest" in line["description"] or "moss" in line["description"]
    assert "Red box on table 1" in line["description"], "what the writer says of things stays"


def test_the_product_moves_out_of_the_clear_space_and_its_calm_is_measured(caig, tmp_path: Path) -> None:
    assert caig(*ONE, "--size", "100x100", "--keep-clear", "left", fakes=ALL).code == 0
    (line,) = lines(tmp_path / "out")
    assert line["clear"] == {"x": 0, "y": 0, "w": 0.4, "h": 1}
    assert line["placement"]["x"] > 0.5 and line["fidelity"]["unrest"] < 0.02
    assert line["promises"]["limits"]["at_most"]["unrest"] > 0.02


def test_like_makes_the_same_for_another_size(caig, tmp_path: Path) -> None:
    caig(*ONE, "--size", "96x96", "--out", "first", fakes=ALL)
    (first,) = lines(tmp_path / "first")
    done = caig(*ONE[:-2], "--size", "4:5", "--like", "first/photo/rank-1.png", "--out", "second", fakes=ALL)
    assert done.code == 0, done.err
    (second,) = lines(tmp_path / "second")
    for name in ("description", "seed", "description_seed", "description_author"):
        assert second[name] == first[name]
    assert second["like"] == first["creative_id"] and second["size"] == [1080, 1350]
    assert np.allclose(second["palette"]["mean"], first["palette"]["mean"], atol=1)
    done = caig(*ONE[:-2], "-n", "2", "--like", "first/photo/rank-1.png", "--out", "third", fakes=ALL)
    assert done.err == (
        "error: n: expected none with like, or 1 ad, got '2'. A like creative comes once, with its own description.\n"
    )


def test_a_reference_gives_its_palette(caig, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (120, 140, 90)).save(tmp_path / "green.png")
    assert caig(*ONE, "--size", "96x96", "--reference", "green.png", fakes=ALL).code == 0
    (line,) = lines(tmp_path / "out")
    assert line["palette"]["mean"][1] == pytest.approx(-14, abs=4), "as green as the reference"


def test_paint_says_what_stays_broken(caig) -> None:
    options = ("--image", "photo.png", "--description", "x", "--size", "96x96", "--keep-clear", "top", "--rolls", "2")
    model = ("--background-model", "python:cli_fakes:RestlessBackgrounds")
    done = caig("paint", *options, "--out", "ad.png", *model)
    assert (done.code, done.out) == (0, "ad.png\n")
    assert done.err == "ad.png: painted 2 times, still: clear space not calm\n"


def test_generate_says_what_stays_broken(caig) -> None:
    model = ("--background-model", "python:cli_fakes:RestlessBackgrounds")
    done = caig(*ONE, "--size", "96x96", "--keep-clear", "top", *model, fakes=(ALL[0], ALL[2]))
    assert done.code == 0
    assert done.err.splitlines()[-1] == "1 ad of 1 with a broken promise; out/index.html says which"
    assert "1 ad painted again, 1 still with: clear space not calm" in done.err


def test_help_lists_the_themes(caig) -> None:
    from caig.data.themes import themes

    shown = " ".join(caig("generate", "--help").out.replace("│", " ").split())
    assert all(name.split()[0] in shown for name in themes())
