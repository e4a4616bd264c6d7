"""With Blender: every name has its builder, and the pictures are the same bytes on every run."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from caig_scenes.render import Run, render
from caig_scenes.vocabulary import vocabulary

RUN = Run(products=2, scenes=2, seed=5)


def test_every_name_of_the_vocabulary_has_its_builder() -> None:
    from caig_scenes.backdrops import BACKDROPS
    from caig_scenes.floors import FLOORS
    from caig_scenes.lights import LIGHTS
    from caig_scenes.products import SHAPES
    from caig_scenes.props import PROPS

    words = vocabulary()
    for name, table in (("floors", FLOORS), ("backdrops", BACKDROPS), ("props", PROPS), ("lights", LIGHTS)):
        assert set(words[name]) == set(table), name
    assert {shape for row in words["categories"].values() for shape in row["shapes"]} == set(SHAPES)


@pytest.mark.slow
def test_same_bytes_on_every_run_and_after_a_kill(tmp_path: Path) -> None:
    first, cut = tmp_path / "first", tmp_path / "cut"
    render(RUN, first, 1)
    process = multiprocessing.get_context("spawn").Process(target=render, args=(RUN, cut, 1))
    process.start()
    while not (list(cut.glob("parts/products-0000.tar")) or (cut / "products.tar").exists()):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    render(RUN, cut, 2)
    for path in sorted(first.glob("*.tar")):
        assert (cut / path.name).read_bytes() == path.read_bytes(), path.name
