"""Shards and whole runs, with a draw function that needs no Blender."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from caig_scenes.cli import main
from caig_scenes.render import SHARD, Run, render
from caig_scenes.shards import read_members, write_shard

RUN = Run(products=25, scenes=45, plates=21, seed=3)


def draw(record: dict) -> dict[str, bytes]:
    return {"image.webp": json.dumps(record).encode(), "product.webp": record["id"].encode()}


def slow_draw(record: dict) -> dict[str, bytes]:
    """Leaves a trace of every picture, so that one can see whether anybody still draws."""
    with open(os.environ["TRACE"], "a") as trace:
        trace.write(record["id"] + "\n")
    time.sleep(0.05)
    return draw(record)


DRAWN = {kind: draw for kind in ("product", "scene", "plate")}
SLOW = {kind: slow_draw for kind in ("product", "scene", "plate")}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_is_the_same_over_any_number_of_processes(tmp_path: Path) -> None:
    for jobs in (1, 3):
        render(RUN, tmp_path / str(jobs), jobs, draws=DRAWN)
    assert files(tmp_path / "1") == files(tmp_path / "3")
    names = {
        name for k in range(-(-RUN.scenes // SHARD)) for name, _ in read_members(tmp_path / f"1/scenes-{k:04d}.tar")
    }
    assert len(names) == 3 * RUN.scenes and "s000044.json" in names
    assert set(files(tmp_path / "1")) == {
        "products.tar",
        "run.json",
        "suitability.json",
        *(f"scenes-{k:04d}.tar" for k in range(3)),
        *(f"plates-{k:04d}.tar" for k in range(2)),
    }


def test_scenes_and_plates_of_another_side_keep_their_ratio(tmp_path: Path) -> None:
    for side in (0, 96):
        render(replace(RUN, side=side), tmp_path / str(side), 1, draws=DRAWN)
    for name in ("scenes-0000.tar", "plates-0000.tar"):
        planned, small = (
            [json.loads(data) for file, data in read_members(tmp_path / side / name) if file.endswith(".json")]
            for side in ("0", "96")
        )
        for before, after in zip(planned, small, strict=True):
            assert max(after["size"]) == 96 and {**after, "size": before["size"]} == before
            assert after["size"][0] / after["size"][1] == pytest.approx(before["size"][0] / before["size"][1], rel=0.05)


def test_a_killed_run_takes_its_workers_along_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "trace"
    monkeypatch.setenv("TRACE", str(trace))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    render(RUN, whole, 2, draws=DRAWN)
    process = multiprocessing.get_context("spawn").Process(target=render, args=(RUN, cut, 1), kwargs={"draws": SLOW})
    process.start()
    while not list(cut.glob("parts/products-*.tar")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    time.sleep(0.3)
    drawn = trace.read_text()
    time.sleep(0.5)
    assert trace.read_text() == drawn, "a worker outlived the run"
    assert not (cut / "products.tar").exists()
    render(RUN, cut, 2, draws=SLOW)
    assert files(cut) == files(whole)
    again = trace.read_text().removeprefix(drawn).split()
    assert "p0000" not in again, "what was finished is not drawn again"


def test_a_failed_shard_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        write_shard(
            tmp_path / "scenes-0000.tar", [{"id": "s000000"}, {}], lambda record: {"image.webp": record["id"].encode()}
        )
    assert not (tmp_path / "scenes-0000.tar").exists()


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    render(RUN, tmp_path, 1, draws=DRAWN)
    with pytest.raises(SystemExit, match="expected the run .*'seed': 4.*Use another --out"):
        render(Run(products=25, scenes=45, seed=4), tmp_path, 1, draws=DRAWN)


def test_the_command_refuses_nonsense(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--jobs", "0"])
    assert "at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="expected scenes-"):
        main(["sheet", str(tmp_path), str(tmp_path / "sheet.jpg")])
