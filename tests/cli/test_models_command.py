"""`caig models`, presets, and where models are placed, as the command line has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_fakes import Backgrounds, Prompts, Rewards

from caig.models import registry
from tests.project import ROOT

ONE = ("generate", "--image", "photo.png", "--title", "Box", "-n", "1")


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))


def test_models_are_listed_with_licence_size_and_cache(caig) -> None:
    done = caig("models")
    assert (done.code, done.err) == (0, "")
    rows = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "qwen-research (non-commercial)  7.5   no" in rows["Qwen/Qwen2.5-VL-3B-Instruct"]
    assert rows["sd15-canny"].split()[1:3] == ["no", "stable-diffusion-v1-5/stable-diffusion-v1-5"]
    assert rows["caig-published"].count("not measured") == 2
    assert all(checkpoint.name in rows for checkpoint in registry.checkpoints())


def test_what_is_cached_is_said(caig, tmp_path: Path) -> None:
    known = registry.find("Qwen/Qwen3-VL-4B-Instruct")
    assert known
    snapshot = tmp_path / "cache/models--Qwen--Qwen3-VL-4B-Instruct/snapshots" / known.revision
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"")
    listed = json.loads(caig("models", "--json").out)["checkpoints"]
    assert [entry["name"] for entry in listed if entry["cached"]] == [known.name]
    entry = next(entry for entry in listed if entry["cached"])
    assert entry["revision"] == known.revision and entry["fetch"].startswith("hf download Qwen/Qwen3-VL-4B-Instruct ")


def test_the_documents_name_what_is_known() -> None:
    page = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    known = [*registry.presets(), *registry.backgrounds(), *(checkpoint.name for checkpoint in registry.checkpoints())]
    assert [name for name in known if f"`{name}`" not in page and f"| {name} |" not in page] == []
    for checkpoint in registry.checkpoints():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {checkpoint.name} |")]
        assert checkpoint.licence in row and f"{checkpoint.gigabytes:.1f}" in row
        assert ("non-commercial" in row) == checkpoint.non_commercial


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command asks `load_model` for, by role; it gets small fakes."""
    asked: dict[str, Any] = {}
    fakes = {"prompt": Prompts, "background": Backgrounds, "reward": Rewards}

    def load(name: str, role: str, **options: Any) -> Any:
        asked[role] = (name, {key: value for key, value in options.items() if value is not None})
        return fakes[role]()

    monkeypatch.setattr("caig.models.hub.load_model", load)
    return asked


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out/manifest.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("name", list(registry.presets()))
def test_a_preset_sets_models_size_and_scale(caig, loaded: dict[str, Any], tmp_path: Path, name: str) -> None:
    preset = registry.preset(name)
    assert caig(*ONE, "--preset", name).code == 0
    assert tuple(loaded[role][0] for role in ("prompt", "background", "reward")) == preset.models
    line = manifest(tmp_path)
    if preset.size:
        assert "x".join(map(str, line["size"])) == preset.size
    assert line["placement"]["scale"] == (preset.scale or 0.5)


def test_an_option_beside_a_preset_wins(caig, loaded: dict[str, Any], tmp_path: Path) -> None:
    options = ("--prompt-model", "mine", "--scale", "0.4", "--size", "64x64")
    assert caig(*ONE, "--preset", "caig-published", *options).code == 0
    assert loaded["prompt"][0] == "mine" and loaded["background"][0] == "sd15-canny"
    line = manifest(tmp_path)
    assert line["placement"]["scale"] == 0.4 and line["size"] == [64, 64]


def test_device_dtype_and_compile_reach_the_models(caig, loaded: dict[str, Any]) -> None:
    assert caig(*ONE, "--size", "64x64", "--device", "cpu", "--dtype", "bfloat16", "--compile").code == 0
    place = {"device": "cpu", "dtype": "bfloat16"}
    assert [loaded[role][1] for role in ("prompt", "reward")] == [place] * 2
    assert loaded["background"][1] == place | {"compile": True}


def test_an_accepted_licence_is_kept_for_workers(caig, loaded: dict[str, Any], monkeypatch) -> None:
    import os

    monkeypatch.setenv("CAIG_ACCEPTED_LICENCES", "")
    assert caig(*ONE, "--size", "64x64", "--accept-licence", "qwen-research").code == 0
    assert os.environ["CAIG_ACCEPTED_LICENCES"] == "qwen-research"


def test_where_a_model_was_placed_is_said(caig, tmp_path: Path) -> None:
    done = caig("describe", "--image", "photo.png", "--title", "Box", "-n", "1", "--device", "cpu")
    assert done.code == 0 and "prompt model embedded: cpu, float32\n" in done.err
