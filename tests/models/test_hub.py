"""Names of models: what resolves, and what each wrong name is told."""

from pathlib import Path

import pytest

from caig.errors import CheckpointError
from caig.models.hub import fingerprint, load_model, resolve


def test_a_folder_with_safetensors_resolves_to_itself(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert resolve(str(tmp_path), "prompt") == tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "prompt model: expected embedded, a folder, owner/name on the hub, or python:module:factory"),
        ("some/where/deep", "prompt model: expected embedded"),
        ("python:no.such.module:factory", "python:no.such.module:factory: expected python:module:factory"),
        ("python:caig.seeding:nothing", "python:caig.seeding:nothing: expected python:module:factory"),
        ("python:builtins:dict", "expected a factory of a prompt model (caig.models.protocols.PromptModel), got dict"),
    ],
)
def test_wrong_names_are_told_what_is_expected(name: str, message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        load_model(name, "prompt")
    assert message in str(error.value)


def test_an_empty_folder_is_told_how_to_train(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Train one with `caig train reward`"):
        resolve(str(tmp_path), "reward")


def test_a_hub_name_offline_gives_the_fetch_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="hf download nobody/nothing-here"):
        resolve("nobody/nothing-here", "background")


def test_fingerprint_follows_weights_and_configs_only(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    before = fingerprint(tmp_path)
    (tmp_path / "training.json").write_text("{}")
    (tmp_path / "README.md").write_text("hello")
    assert fingerprint(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"y")
    assert fingerprint(tmp_path) != before
