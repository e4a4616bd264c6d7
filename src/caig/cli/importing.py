"""`caig import`: other people's checkpoints become folders that caig loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options

Source = Annotated[Path, Parameter(help="Folder of the checkpoint.")]
Out = Annotated[Path, Parameter(help="Folder to write; it must not exist yet.")]
Tower = Annotated[Path | None, Parameter(help="Folder of its CLIP vision tower, where the checkpoint has none inside.")]


def weights(source: Source, *, out: Out) -> None:
    """Copy a checkpoint, every weight file as safetensors: .bin and .pt files are read in a process of their own, as
    tensors only."""
    from caig.models.weights import convert_folder

    print(*convert_folder(source, out), sep="\n")


def caig_prompt_model(source: Source, *, out: Out, vision_tower: Tower = None) -> None:
    """Turn the published CAIG prompt model (original LLaVA-1.6 layout) into a folder for --prompt-model."""
    options.quiet()
    from caig.models.llava_import import import_prompt_model

    print(import_prompt_model(source, out, vision_tower=vision_tower))


def caig_reward_model(source: Source, *, out: Out, vision_tower: Tower = None) -> None:
    """Turn the published CAIG reward model (original LLaVA-1.6 layout, two heads) into a folder for --reward-model.

    It ranks as published; its predicted CTRs mean nothing until they are calibrated.
    """
    options.quiet()
    from caig.models.llava_import import import_reward_model

    print(import_reward_model(source, out, vision_tower=vision_tower))
