"""A catalogue over Ray: two local workers leave what none leave, a killed one loses nothing, what is done is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from caig import batch
from caig.errors import InputError, MissingExtraError
from caig.recipes import generate
from caig.recipes.generate import Config
from tests.project import ROOT
from tests.ray_toys import BROKEN, CONFIG, shelf
from tests.recipes.fake_pipeline import FakePipeline

CHANGING = ("seconds", "traceback")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for k in range(6):
        Image.new("RGB", (40, 40), (40 * k, 90, 10)).save(folder / f"{k}.png")
    return folder


def lines(out: Path) -> list[dict[str, Any]]:
    """The manifest without times, and without the lines of source in a traceback."""
    read = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CHANGING} for line in read]


def over_ray(out: Path, folder: Path, *more: str) -> str:
    command = [sys.executable, "-m", "tests.ray_toys", str(out), str(folder), *more]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # one product is broken
    return done.stdout


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_leave_what_none_leave(folder: Path, tmp_path: Path) -> None:
    """The first run is killed at p3; a second one finds everything done but for the product that is broken."""
    alone = generate.run(Config(out=tmp_path / "alone", **CONFIG), FakePipeline(BROKEN), shelf(folder))  # type: ignore[arg-type]
    assert over_ray(tmp_path / "ray", folder, "--kill") == "10 ads, 1 failures, 0 kept\n"
    assert lines(tmp_path / "ray") == lines(alone.out) and len(alone.ads) == 10
    makers = {path.name: path.read_text().splitlines() for path in (tmp_path / "ray-notes").iterdir()}
    killed, *again = makers["p3"]
    assert again and killed not in again, "p3 was begun again by another process"
    assert len({maker for own in makers.values() for maker in own}) >= 2
    assert over_ray(tmp_path / "ray", folder, "--kill") == "10 ads, 1 failures, 5 kept\n"
    assert (tmp_path / "ray-notes/p0").read_text().splitlines() == makers["p0"], "what was done is not done again"
    assert lines(tmp_path / "ray") == lines(alone.out)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'Run: pip install "caig\[ray\]"'):
        batch.run(Config(out=tmp_path / "out"), FakePipeline, shelf(folder))
    assert not (tmp_path / "out").exists()


def test_workers_and_address_are_checked(tmp_path: Path, folder: Path) -> None:
    config = Config(out=tmp_path / "out")
    with pytest.raises(InputError, match="workers: expected 1 or more, got 0"):
        batch.run(config, FakePipeline, shelf(folder), workers=0)
    with pytest.raises(InputError, match="--ray: expected local, or the address of a running Ray cluster, got 'no"):
        batch.run(config, FakePipeline, shelf(folder), cluster="nowhere")
    assert not (tmp_path / "out").exists()
