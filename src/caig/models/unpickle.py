"""`python -m caig.models.unpickle SOURCE TARGET …`: pickles of tensors become safetensors, in a process of its own.

`weights_only=True` refuses every name outside torch's own list of tensor types, so that no code in the file runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WRAPPERS = ("state_dict", "model", "module")  # under which trainers keep the tensors


def tensors_in(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, wrapped or not; ValueError when there is anything else among them."""
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"a {type(content).__name__} in place of tensors by name")
    others = sorted(str(name) for name, value in content.items() if not isinstance(value, Tensor))
    if others:
        raise ValueError(f"not tensors: {', '.join(others[:5])}")
    return dict(content)


def convert(source: Path, target: Path) -> None:
    """Write the tensors of the pickle `source` as safetensors."""
    with source.open("rb") as file:  # by its path, torch would go by the suffix
        content = tensors_in(torch.load(file, map_location="cpu", weights_only=True))
    # Tensors that share memory (tied weights) are written once each: safetensors knows no sharing.
    save_file({name: value.clone().contiguous() for name, value in content.items()}, target, metadata={"format": "pt"})


def main(paths: Sequence[str]) -> None:
    """Convert each (source, target) pair; the first that fails ends the process with one line."""
    for source, target in zip(paths[::2], paths[1::2], strict=True):
        try:
            convert(Path(source), Path(target))
        except Exception as error:  # whatever the file holds, the caller gets one line
            sys.exit(f"{source}: {type(error).__name__}: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main(sys.argv[1:])
