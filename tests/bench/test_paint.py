"""The published way to paint, and the script that holds caig's against it, on a tiny checkpoint."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caig.models.background_model import BackgroundModel
from caig.testing import check_background_model, sample_canvas
from caig.types import Description
from tests.project import ROOT
from tests.tiny import tiny_background

LINE = re.compile(
    r"(?P<way>caig|published way) +(?P<rate>[\d.]+) (\w+)/s +x[\d.]+ \[[\d.]+, [\d.]+\] +[\d.]+ GB$", re.M
)


def ways_of(script: str, *arguments: str) -> dict[str, float]:
    """Run a script of bench/ and return way -> rate."""
    done = subprocess.run([sys.executable, f"bench/{script}", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return {found["way"]: float(found["rate"]) for found in LINE.finditer(done.stdout)}


def test_the_published_way_paints_one_at_a_time_from_noise(tmp_path: Path) -> None:
    """Its 30 steps with guidance are 60 rows of the UNet a picture, whatever the checkpoint asks for (3 steps here)."""
    import published

    model = BackgroundModel.from_pretrained(str(tiny_background(tmp_path / "model")), device="cpu")
    painter = published.Painter(model)
    rows = []
    painter.pipeline.unet.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    wishes = [Description(product_id="s", text=text, author="", seed=0) for text in ("sandy beach", "kitchen table")]
    pictures = painter.paint(sample_canvas(96, 64), wishes, seeds=[1, 1])
    assert rows == [2] * published.STEPS * 2
    assert [picture.shape for picture in pictures] == [(64, 96, 3)] * 2
    assert not np.array_equal(*pictures), "the text is read"
    again = painter.paint(sample_canvas(96, 64), wishes[1:], seeds=[1])
    assert np.array_equal(again[0], pictures[1]), "alone as among others"


@pytest.mark.slow
def test_it_keeps_the_protocol(tmp_path: Path) -> None:
    import published

    model = BackgroundModel.from_pretrained(str(tiny_background(tmp_path / "model")), device="cpu")
    check_background_model(published.Painter(model))


@pytest.mark.slow
def test_the_script(tmp_path: Path) -> None:
    folder = str(tiny_background(tmp_path / "model"))
    rates = ways_of("paint.py", "--models", folder, "--sides", "64", "-n", "2", "--turns", "1", "--device", "cpu")
    assert rates["caig"] > rates["published way"] > 0
