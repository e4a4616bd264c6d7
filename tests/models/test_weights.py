"""Weight files: content decides, pickles never run, and a converted folder loads as it did."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from caig.cli import main
from caig.errors import CheckpointError
from caig.models.hub import resolve
from caig.models.unpickle import convert, tensors_in
from caig.models.weights import as_safetensors, check_weights, convert_folder, kind_of

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Malicious:
    """Unpickled, it would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.write_text, (self.mark, "owned"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "owned.txt"


def write(path: Path, kind: str, mark: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "safetensors":
        save_file(TENSORS, path)
    elif kind == "torch":
        torch.save(TENSORS, path)
    elif kind == "legacy torch":
        torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    elif kind == "malicious pickle":
        path.write_bytes(pickle.dumps({"weight": Malicious(mark)}))
    elif kind == "malicious torch":
        torch.save({"weight": Malicious(mark)}, path)
    else:
        path.write_bytes(b"x" * 200)
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("safetensors", "safetensors"),
        ("torch", "pickle"),
        ("legacy torch", "pickle"),
        ("malicious pickle", "pickle"),
        ("text", "unknown"),
    ],
)
def test_content_decides_never_the_name(tmp_path: Path, mark: Path, name: str, content: str, kind: str) -> None:
    assert kind_of(write(tmp_path / name, content, mark)) == kind


@pytest.mark.parametrize("content", [b"", b"{}", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 9])
def test_what_only_looks_like_safetensors_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert kind_of(tmp_path / "model.safetensors") == "unknown"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
@pytest.mark.parametrize("content", ["malicious pickle", "malicious torch"])
def test_a_malicious_pickle_never_runs(tmp_path: Path, mark: Path, name: str, content: str) -> None:
    """Neither where a model is named nor where weights are converted (here in this process)."""
    path = write(tmp_path / "model" / name, content, mark)
    with pytest.raises(CheckpointError, match="caig import weights"):
        resolve(str(tmp_path / "model"), "prompt")
    with pytest.raises(Exception, match="Weights only load failed"):
        convert(path, tmp_path / "model.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"], (
        "the code in the file ran, or something was written"
    )


def test_a_malicious_folder_is_not_converted(tmp_path: Path, mark: Path) -> None:
    """The same through a process of its own: one line says why, and nothing is left of the attempt."""
    path = write(tmp_path / "model/pytorch_model.bin", "malicious torch", mark)
    with pytest.raises(CheckpointError) as error:
        convert_folder(tmp_path / "model", tmp_path / "out")
    assert str(error.value).startswith(
        f"{path}: expected safetensors, or a pickle of tensors only, got UnpicklingError"
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_the_malicious_pickle_would_run(tmp_path: Path, mark: Path) -> None:
    pickle.loads(write(tmp_path / "model.bin", "malicious pickle", mark).read_bytes())
    assert mark.read_text() == "owned"


def test_a_pickle_called_safetensors_is_told_what_it_is(tmp_path: Path, mark: Path) -> None:
    write(tmp_path / "model.safetensors", "torch", mark)
    with pytest.raises(CheckpointError) as error:
        check_weights(tmp_path, "mine")
    assert "expected safetensors, as its name says, got a pickle, which can carry code" in str(error.value)


def test_a_broken_file_is_told_to_be_fetched_again(tmp_path: Path, mark: Path) -> None:
    write(tmp_path / "model.safetensors", "text", mark)
    with pytest.raises(CheckpointError, match="a broken file. Fetch the file again"):
        check_weights(tmp_path, "mine")


@pytest.mark.parametrize("content", ["torch", "legacy torch"])
def test_a_converted_file_holds_the_same_tensors(tmp_path: Path, mark: Path, content: str) -> None:
    convert(write(tmp_path / "model.safetensors", content, mark), tmp_path / "out")
    assert all(torch.equal(load_file(tmp_path / "out")[name], value) for name, value in TENSORS.items())


def test_tied_tensors_and_trainers_wrappers_are_converted(tmp_path: Path) -> None:
    shared = torch.ones(2, 2)
    torch.save({"state_dict": {"a": shared, "b": shared}, "epoch": 3}, tmp_path / "model.ckpt")
    convert(tmp_path / "model.ckpt", tmp_path / "out")
    found = load_file(tmp_path / "out")
    assert set(found) == {"a", "b"} and torch.equal(found["a"], found["b"])


@pytest.mark.parametrize(
    ("content", "why"), [({"a": torch.ones(1), "lr": 0.1}, "not tensors: lr"), ([torch.ones(1)], "a list in place of")]
)
def test_anything_but_tensors_is_refused(content: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tensors_in(content)


def test_safetensors_called_bin_are_taken_without_unpickling(tmp_path: Path, mark: Path) -> None:
    path = write(tmp_path / "pytorch_model.bin", "safetensors", mark)
    assert as_safetensors([path], tmp_path / "elsewhere") == [path]


def test_the_command_converts_a_folder(tmp_path: Path, mark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shards and their index, parts of a pipeline, safetensors called .bin; a trainer's own state stays behind."""
    source, out = tmp_path / "model", tmp_path / "out"
    write(source / "pytorch_model-00001-of-00001.bin", "torch", mark)
    write(source / "unet/diffusion_pytorch_model.bin", "legacy torch", mark)
    write(source / "vae/diffusion_pytorch_model.bin", "safetensors", mark)
    index = {"metadata": {}, "weight_map": dict.fromkeys(TENSORS, "pytorch_model-00001-of-00001.bin")}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (source / "optimizer.pt").write_bytes(b"no weights")
    assert main(["import", "weights", str(source), "--out", str(out)]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [str(path.relative_to(out)) for path in written] == [
        "model-00001-of-00001.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    for path in written:
        assert all(torch.equal(load_file(path)[name], value) for name, value in TENSORS.items())
    found = json.loads((out / "model.safetensors.index.json").read_text())
    assert set(found["weight_map"].values()) == {"model-00001-of-00001.safetensors"}
    expected = {"model-00001-of-00001.safetensors", "model.safetensors.index.json", "unet", "vae"}
    assert {path.name for path in out.iterdir()} == expected


@pytest.mark.parametrize("case", ["no weights", "out exists", "two formats"])
def test_what_cannot_be_converted_is_told_why(tmp_path: Path, mark: Path, case: str) -> None:
    source, out = tmp_path / "model", tmp_path / "out"
    source.mkdir()
    expected = {
        "no weights": "with weight files",
        "out exists": "no such folder yet",
        "two formats": "one file to become",
    }
    if case != "no weights":
        write(source / "pytorch_model.bin", "torch", mark)
    if case == "two formats":
        write(source / "model.safetensors", "safetensors", mark)
    if case == "out exists":
        out.mkdir()
    with pytest.raises(CheckpointError, match=expected[case]):
        convert_folder(source, out)
    assert out.exists() == (case == "out exists")


def test_safetensors_whose_header_opens_like_a_pickle(tmp_path: Path) -> None:
    """The header's length stands first, padded to multiples of 8: one in 32 opens with the pickle's 0x80."""
    path = tmp_path / "model.safetensors"
    for extra in range(0, 256, 8):
        save_file(TENSORS, path, {"note": "x" * extra})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80 and kind_of(path) == "safetensors"
