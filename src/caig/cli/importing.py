"""`caig import`: other people's checkpoints become folders that caig loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Source = Annotated[Path, Parameter(help="Folder of the checkpoint.")]
Out = Annotated[Path, Parameter(help="Folder to write; it must not exist yet.")]


def weights(source: Source, *, out: Out) -> None:
    """Copy a checkpoint, every weight file as safetensors: .bin and .pt files are read in a process of their own, as
    tensors only."""
    from caig.models.weights import convert_folder

    print(*convert_folder(source, out), sep="\n")
