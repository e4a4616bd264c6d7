"""`caig shop` on the fixture's 14 scenes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from caig.data.clicks import read_clicks

SCENES = str(Path(__file__).parents[1] / "data")


def rows(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_simulate_writes_a_log_that_the_reward_recipe_reads(caig: Callable) -> None:
    done = caig("shop", "simulate", "--scenes", SCENES, "--out", "logs/w3.parquet", "--world-seed", "3")
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == ["logs/w3.parquet", "logs/w3-creatives.csv", "logs/w3-truth.csv"]
    log = pl.read_parquet("logs/w3.parquet")
    assert len(log) == 14 * 2500
    read = read_clicks(Path("logs/w3-creatives.csv"), images=[Path(SCENES)])
    assert len(read.creatives) == 14 and not read.rejected
    assert {c.creative_id: c.image for c in read.creatives}["s000244"] == "scenes-00.tar#s000244.image.webp"
    assert sum(c.counts.impressions for c in read.creatives) == len(log)
    assert sum(c.counts.clicks for c in read.creatives) == log["clicked"].sum()
    assert all(0.005 <= float(row["ctr"]) <= 0.10 for row in rows("logs/w3-truth.csv"))


@pytest.mark.parametrize(
    "option",
    [
        ("--world-seed", "1"),
        ("--seed", "1"),
        ("--impressions", "300"),
        ("--policy", "adaptive"),
        ("--days", "2"),
        ("--positions", "2"),
        ("--position-bias",),
        ("--drift",),
        ("--conversions",),
    ],
)
def test_every_option_changes_the_log(option: tuple[str, ...], caig: Callable) -> None:
    logs = []
    for number, extra in enumerate(((), option)):
        base = ("--impressions", "200") if "--impressions" not in extra else ()
        assert caig("shop", "simulate", "--scenes", SCENES, "--out", f"{number}.parquet", *base, *extra).code == 0
        logs.append(pl.read_parquet(f"{number}.parquet"))
    assert not logs[0].equals(logs[1])


def test_sheet(caig: Callable) -> None:
    sizes = {}
    for each in (1, 2):
        done = caig(
            "shop", "sheet", "--scenes", SCENES, "--world-seed", "1", "--each", str(each), "--out", "a/sheet.png"
        )
        assert (done.code, done.out.split()) == (0, ["a/sheet.png"])
        with Image.open("a/sheet.png") as sheet:
            sizes[each] = sheet.size
            assert len(sheet.getcolors(sheet.width * sheet.height)) > 1000, "pictures, not blanks"
    assert sizes[2][1] == sizes[1][1] and sizes[2][0] - sizes[1][0] == 2 * 144


def test_learnability_prints_an_estimate_a_line(caig: Callable) -> None:
    done = caig("shop", "study", "learnability", "--scenes", SCENES, "--worlds", "1", "--folds", "2")
    assert done.code == 0, done.err
    assert "world 0: way from chance to the ceiling" in done.out and "(n=2)" in done.out


def test_a_folder_without_scenes_is_one_line(caig: Callable) -> None:
    done = caig("shop", "simulate", "--scenes", ".", "--out", "log.parquet")
    assert done.code == 2 and "expected a folder with scenes-*.tar" in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("study", "options", "last"),
    [
        ("ceiling", ("--products", "12", "--ads", "3"), "caig-published: coverage of the 95 % interval"),
        ("confounding", ("--products", "12", "--ads", "3", "--impressions", "60000"), "recovered of naive to uniform"),
    ],
)
def test_studies_of_click_logs_print_an_estimate_a_line(caig: Callable, study: str, options: tuple, last: str) -> None:
    done = caig("shop", "study", study, "--worlds", "2", *options)
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 8 and done.out.splitlines()[-1].startswith(last)
    assert "--worlds" in caig("shop", "study", study, "--help").out
