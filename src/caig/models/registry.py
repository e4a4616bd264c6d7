"""Checkpoints, background models and presets that caig knows by name; the data lie in `known/`.

Each checkpoint has its licence, its size and a pinned revision: the same name gives the same weights next year. What is
not listed loads too; the list only says what was looked up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from caig.errors import InputError

KNOWN = Path(__file__).parent / "known"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint on the Hugging Face hub."""

    name: str
    roles: tuple[str, ...]
    """prompt, reward; or a part of a background model: background base, controlnet, lora."""
    revision: str
    licence: str
    gigabytes: float
    """Of what `patterns` fetches."""
    settings: str
    non_commercial: bool = False
    variant: str | None = None
    """fp16: `*.fp16.safetensors` is loaded in place of the fp32 weights beside it."""
    files: tuple[str, ...] = ()
    """The files wanted, where the repository holds many models."""
    without: tuple[str, ...] = ()
    """Patterns of files that caig does not use."""

    def patterns(self) -> list[str]:
        """What to fetch: configs, tokenizers and safetensors, never code and never a pickle."""
        weights = f"*.{self.variant}.safetensors" if self.variant else "*.safetensors"
        return list(self.files) or ["*.json", weights, "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Models and settings that go together; None leaves a setting as the command has it."""

    name: str
    prompt_model: str
    background_model: str
    reward_model: str
    about: str
    size: str | None = None
    scale: float | None = None
    gpu_memory: str = NOT_MEASURED
    seconds_per_image: str = NOT_MEASURED

    @property
    def models(self) -> tuple[str, str, str]:
        """Names of the prompt, the background and the reward model."""
        return self.prompt_model, self.background_model, self.reward_model


@cache
def checkpoints() -> tuple[Checkpoint, ...]:
    """Every known checkpoint on the hub."""
    records = json.loads((KNOWN / "checkpoints.json").read_text(encoding="utf-8"))
    lists = ("roles", "files", "without")
    return tuple(
        Checkpoint(**{key: tuple(value) if key in lists else value for key, value in record.items()})
        for record in records
    )


@cache
def presets() -> dict[str, Preset]:
    """Presets by name."""
    records = json.loads((KNOWN / "presets.json").read_text(encoding="utf-8"))
    return {name: Preset(name=name, **record) for name, record in records.items()}


def preset(name: str) -> Preset:
    """The preset called `name`; InputError when there is none."""
    if name not in presets():
        expected = f"one of {', '.join(presets())}"
        raise InputError("--preset", expected=expected, got=repr(name), next_step="See `caig models`.")
    return presets()[name]


def find(name: str) -> Checkpoint | None:
    """The known checkpoint called `name` (owner/name), or None."""
    return next((checkpoint for checkpoint in checkpoints() if checkpoint.name == name), None)


def backgrounds() -> dict[str, Path]:
    """Folder of each background model that is composed of known checkpoints, by name."""
    return {path.parent.name: path.parent for path in sorted((KNOWN / "backgrounds").glob("*/background.json"))}


def parts_of(folder: Path) -> list[str]:
    """Names of the checkpoints that a known background model is made of."""
    record = json.loads((folder / "background.json").read_text(encoding="utf-8"))
    return [record[part] for part in ("base", "controlnet", "lora") if part in record]
