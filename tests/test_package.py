"""What is installed: the wheel holds every file of src/caig, the pins fit the ranges, and the fixture is whole."""

from __future__ import annotations

import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from caig.data.scenes import read_products, read_scenes, read_suitability
from tests.project import ROOT

DATA = ROOT / "tests/data"


def test_pins_fit_the_ranges() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    wanted = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    assert {need.name for need in wanted if canonicalize_name(need.name) not in pins} == set()
    assert [str(need) for need in wanted if pins[canonicalize_name(need.name)] not in need.specifier] == []


@pytest.mark.slow
def test_the_wheel_holds_every_file(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, check=True, capture_output=True, text=True)
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    expected = {name.removeprefix("src/") for name in tracked.stdout.splitlines() if (ROOT / name).is_file()}
    assert expected and expected <= packed
    assert {name for name in packed if "__pycache__" in name} == set()


def test_the_fixture_covers_splits_settings_and_shapes() -> None:
    scenes, products = read_scenes(DATA), read_products(DATA)
    assert (
        {scene.split for scene in scenes} == {product.split for product in products} == {"train", "validation", "test"}
    )
    assert {scene.product["id"] for scene in scenes} <= {product.id for product in products}
    assert len({scene.record["setting"] for scene in scenes}) == len(scenes) == 14
    assert {tuple(scene.record["size"]) for scene in scenes} == {(256, 256), (352, 192), (192, 352)}
    suitable = read_suitability(DATA)
    assert any(scene.record["setting"] in suitable[scene.product["category"]] for scene in scenes)


def test_pictures_of_the_fixture_are_as_large_as_their_records_say() -> None:
    for scene in read_scenes(DATA):
        width, height = scene.record["size"]
        assert scene.image().shape == (height, width, 3)
        assert scene.cutout().shape == (height, width, 4)
        assert 0.01 < (scene.cutout()[..., 3] > 127).mean() < 0.6
    assert {product.rgba().shape for product in read_products(DATA)} == {(288, 288, 4)}
