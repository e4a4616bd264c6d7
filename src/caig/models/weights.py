"""Weight files: what they are is read from their content, never from their name, and only safetensors are loaded.

A pickle (`.bin`, `.pt`, `.ckpt`) can carry code. It is read in a process of its own with `weights_only=True`, which
knows tensors and plain containers only, and written as safetensors; `caig import weights` does that for a folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from caig.artifacts import published_folder
from caig.errors import CheckpointError

Kind = Literal["safetensors", "pickle", "unknown"]
SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}
LARGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
NOT_LOADED = {
    "optimizer.pt",
    "scheduler.pt",
    "training_args.bin",
    "rng_state.pth",
}  # a trainer's, no weights of a model
CONVERT = "Convert it once: caig import weights {folder} --out OUT, then name OUT."


def kind_of(path: Path) -> Kind:
    """What a weight file's content is; a torch archive (zip) counts as a pickle, for it holds one."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        # First, for one header's length in 32 opens with the byte that opens a pickle.
        if len(start) == 8 and 2 <= length <= LARGEST_HEADER and _is_header(file.read(length)):
            return "safetensors"
        return "pickle" if start.startswith((ZIP, PICKLE)) else "unknown"


def weight_files(folder: Path) -> list[Path]:
    """Weight files anywhere in `folder`, by suffix; what they hold, `kind_of` says."""
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.name not in NOT_LOADED)


def check_weights(folder: Path, name: str) -> None:
    """CheckpointError unless `folder` holds safetensors, and every file that is called so is one."""
    found = [path for path in weight_files(folder) if path.suffix == ".safetensors"]
    if not found:
        others = [path.name for path in weight_files(folder)]
        raise CheckpointError(
            name,
            expected="a folder with safetensors weights",
            got=f"{', '.join(others[:3])} in {folder}" if others else f"none in {folder}",
            next_step=CONVERT.format(folder=folder) if others else "Train one with `caig train`, or name another.",
        )
    for path in found:
        kind = kind_of(path)
        if kind != "safetensors":
            raise CheckpointError(
                str(path),
                expected="safetensors, as its name says",
                got="a pickle, which can carry code" if kind == "pickle" else "something else, or a broken file",
                next_step=CONVERT.format(folder=folder) if kind == "pickle" else "Fetch the file again.",
            )


def as_safetensors(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Each path itself if its content is safetensors; pickles are converted into `folder`, all in one process.

    CheckpointError when a file is neither, or when a pickle holds anything but tensors and plain containers.
    """
    kinds = [kind_of(path) for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if kind == "unknown":
            raise _unreadable(str(path), "neither")
    found = [
        path if kind == "safetensors" else folder / f"{number}-{path.stem}.safetensors"
        for number, (path, kind) in enumerate(zip(paths, kinds, strict=True))
    ]
    _unpickle([pair for pair in zip(paths, found, strict=True) if pair[0] != pair[1]])
    return found


def _unpickle(pairs: Sequence[tuple[Path, Path]]) -> None:
    if not pairs:
        return
    convert = [sys.executable, "-m", "caig.models.unpickle", *(str(path) for pair in pairs for path in pair)]
    done = subprocess.run(convert, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    if done.returncode:
        for _, target in pairs:
            target.unlink(missing_ok=True)
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        name, _, why = last[0].partition(": ")
        raise _unreadable(name, why[:300])


def convert_folder(source: Path, out: Path) -> list[Path]:
    """Copy the checkpoint in `source` to `out`, every weight file as safetensors; returns the weight files written.

    All or nothing: after an error there is no `out`.
    """
    files = weight_files(source)
    if not files:
        raise CheckpointError(
            str(source), expected="a folder with weight files", got="none", next_step="Check the path."
        )
    if out.exists():
        raise CheckpointError(
            str(out), expected="no such folder yet", got="one that is there", next_step="Choose another --out."
        )
    with published_folder(out) as work:
        shutil.copytree(source, work, dirs_exist_ok=True, ignore=lambda folder, names: _left_out(folder, names, files))
        targets = [work / path.relative_to(source).with_name(_safe_name(path.name)) for path in files]
        _check_distinct(files, targets)
        for found, target in zip(as_safetensors(files, work), targets, strict=True):
            shutil.copy2(found, target) if found in files else found.rename(target)
        _rename_in_indexes(work)
    return [out / path.relative_to(work) for path in targets]


def _check_distinct(files: Sequence[Path], targets: Sequence[Path]) -> None:
    for path, target in zip(files, targets, strict=True):
        if targets.count(target) > 1:
            expected, hint = f"one file to become {target.name}", "Keep one of its formats."
            raise CheckpointError(str(path), expected=expected, got="two", next_step=hint)


def _safe_name(name: str) -> str:
    """The safetensors name that transformers and diffusers look for in place of `name`."""
    stem = Path(name).stem
    return f"{stem.removeprefix('pytorch_') if stem.startswith('pytorch_model') else stem}.safetensors"


def _left_out(folder: str, names: Sequence[str], files: Sequence[Path]) -> list[str]:
    return [name for name in names if Path(folder) / name in files or name in NOT_LOADED]


def _rename_in_indexes(folder: Path) -> None:
    """Point sharded checkpoints' indexes at the new names."""
    for index in [*folder.rglob("*.bin.index.json")]:
        record = json.loads(index.read_text())
        record["weight_map"] = {key: _safe_name(name) for key, name in record["weight_map"].items()}
        target = index.with_name(f"{_safe_name(index.name.removesuffix('.index.json'))}.index.json")
        target.write_text(json.dumps(record, indent=2) + "\n")
        index.unlink()


def _is_header(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except ValueError:
        return False


def _unreadable(path: str, why: str) -> CheckpointError:
    return CheckpointError(
        path,
        expected="safetensors, or a pickle of tensors only",
        got=why,
        next_step="Fetch it from a source that you trust.",
    )
