"""Names of models: what resolves and where it is placed, and what each wrong name is told."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from caig.errors import CheckpointError, InputError
from caig.models import hub, registry
from caig.models.hub import accept_licences, fetch_command, fingerprint, load_model, place, resolve


def weights(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": torch.full((2,), value)}, path)
    return path


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache on a machine without network, no licence accepted."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv(hub.ACCEPTED, "")
    return tmp_path


def cached(cache: Path, name: str, revision: str, *files: str) -> Path:
    """Put a checkpoint into the cache, as the hub's client would."""
    folder = cache / f"models--{name.replace('/', '--')}" / "snapshots" / revision
    for file in files:
        weights(folder / file)
    return folder


def test_a_folder_with_safetensors_resolves_to_itself(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors")
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


def test_an_empty_folder_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a folder with safetensors weights, got none in .*`caig train`"):
        resolve(str(tmp_path), "reward")


def test_a_hub_name_offline_gives_the_fetch_command(cache: Path) -> None:
    with pytest.raises(CheckpointError, match="hf download nobody/nothing-here"):
        resolve("nobody/nothing-here", "background")


def test_a_known_name_offline_gives_the_exact_command(cache: Path) -> None:
    with pytest.raises(CheckpointError) as error:
        resolve("Qwen/Qwen3-VL-4B-Instruct", "prompt")
    assert str(error.value).endswith(
        "got neither, and the hub can't be reached. On a machine with network run: hf download "
        "Qwen/Qwen3-VL-4B-Instruct --include '*.json' --include '*.safetensors' --include '*.txt' --include '*.model' "
        "--include '*.jinja' --revision ebb281ec70b05090aa6165b016eac8ec08e71b17"
    )


def test_of_a_repository_with_many_models_only_the_wanted_files_are_fetched() -> None:
    wanted = "Hyper-SD15-8steps-lora.safetensors Hyper-SDXL-8steps-lora.safetensors"
    assert fetch_command("ByteDance/Hyper-SD").startswith(f"hf download ByteDance/Hyper-SD {wanted} --revision")


def test_half_precision_files_are_fetched_where_there_are_some() -> None:
    command = fetch_command("stabilityai/stable-diffusion-xl-base-1.0")
    assert "'*.fp16.safetensors'" in command and "'*.safetensors'" not in command
    assert "--exclude 'safety_checker/*'" in fetch_command("stable-diffusion-v1-5/stable-diffusion-v1-5")


def test_a_known_name_resolves_at_its_pinned_revision(cache: Path) -> None:
    known = registry.find("Qwen/Qwen3-VL-4B-Instruct")
    assert known and not hub.is_cached(known)
    cached(cache, known.name, "0" * 40, "model.safetensors")
    assert not hub.is_cached(known), "another revision"
    folder = cached(cache, known.name, known.revision, "model.safetensors")
    assert resolve(known.name, "prompt") == folder and hub.is_cached(known)
    other = cached(cache, known.name, "1" * 40, "model.safetensors")
    assert resolve(f"{known.name}@{'1' * 40}", "prompt") == other, "a revision of the user's own"


def test_a_name_without_revision_is_told_how_to_pin_it(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = cached(cache, "some/model", "2" * 40, "model.safetensors")
    (refs := folder.parents[1] / "refs").mkdir()
    (refs / "main").write_text("2" * 40)
    assert resolve("some/model", "prompt") == folder
    assert f"name some/model@{'2' * 40} to get the same weights again" in caplog.text


def test_a_non_commercial_licence_asks_for_consent(cache: Path) -> None:
    known = registry.find("Qwen/Qwen2.5-VL-3B-Instruct")
    assert known and known.non_commercial
    folder = cached(cache, known.name, known.revision, "model.safetensors")
    with pytest.raises(CheckpointError, match="allows no commercial use, got none. .* --accept-licence qwen-research"):
        resolve(known.name, "prompt")
    accept_licences(["another"])
    with pytest.raises(CheckpointError, match="qwen-research"):
        resolve(known.name, "prompt")
    accept_licences(["qwen-research"])
    assert resolve(known.name, "prompt") == folder


def test_every_known_checkpoint_is_pinned_and_licensed() -> None:
    names = [checkpoint.name for checkpoint in registry.checkpoints()]
    assert len(names) == len(set(names)) > 10
    for checkpoint in registry.checkpoints():
        assert len(checkpoint.revision) == 40 and set(checkpoint.revision) <= set("0123456789abcdef"), checkpoint.name
        assert checkpoint.licence and checkpoint.gigabytes > 0 and checkpoint.settings
        assert all(not pattern.endswith((".bin", ".py")) for pattern in checkpoint.patterns())


def test_what_known_backgrounds_and_presets_name_is_known() -> None:
    for folder in registry.backgrounds().values():
        record = json.loads((folder / hub.RECIPE).read_text())
        assert {record[part] for part in ("base", "controlnet", "lora") if part in record} <= {
            checkpoint.name for checkpoint in registry.checkpoints()
        }
    for preset in registry.presets().values():
        for name in (preset.prompt_model, preset.background_model, preset.reward_model):
            assert name == "embedded" or registry.find(name) or name in registry.backgrounds()


def test_an_unknown_preset_is_told_which_there_are() -> None:
    with pytest.raises(InputError, match="expected one of embedded, caig-published, sdxl-qwen3vl-4b, got 'best'"):
        registry.preset("best")


def test_place_chooses_and_can_be_forced() -> None:
    gpu = torch.cuda.is_available()
    assert place("prompt") == (("cuda", "bfloat16") if gpu else ("cpu", "float32"))
    assert place("background", "cpu") == ("cpu", "float32")
    assert place("background", "cpu", "bfloat16") == ("cpu", "bfloat16")
    assert place("background", "meta") == ("meta", "float16"), "half precision anywhere but on a CPU"
    assert place("reward", "meta") == ("meta", "bfloat16")


@pytest.mark.parametrize(("device", "dtype", "option"), [("tpu9", None, "--device"), ("cpu", "int4", "--dtype")])
def test_an_impossible_place_is_refused(device: str, dtype, option: str) -> None:
    with pytest.raises(InputError, match=f"{option}: expected"):
        place("prompt", device, dtype)


def test_fingerprint_follows_weights_and_configs_only(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    weights(folder / "model.safetensors")
    before = fingerprint(folder)
    (folder / "training.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    assert fingerprint(folder) == before
    weights(folder / "model.safetensors", 2.0)
    assert fingerprint(folder) != before


def test_fingerprint_trusts_the_cache_for_the_digest_of_a_large_file(tmp_path: Path) -> None:
    """A snapshot in the hub's cache links to a blob named by its SHA-256: nothing is read again."""
    import hashlib

    plain, snapshot = tmp_path / "plain", tmp_path / "snapshot"
    path = weights(plain / "model.safetensors")
    blob = tmp_path / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
    blob.parent.mkdir()
    blob.write_bytes(path.read_bytes())
    snapshot.mkdir()
    (snapshot / "model.safetensors").symlink_to(blob)
    assert fingerprint(snapshot) == fingerprint(plain)
