"""From a model's name to its files: `embedded`, a folder, `owner/name` on the Hugging Face hub, or
`python:module:factory` for a team's own model."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from caig.errors import CheckpointError
from caig.models.protocols import BackgroundModel, PromptModel, RewardModel

Role = Literal["prompt", "background", "reward"]
PROTOCOLS = {"prompt": PromptModel, "background": BackgroundModel, "reward": RewardModel}
CLASSES = {
    "prompt": "caig.models.prompt_model:PromptModel",
    "background": "caig.models.background_model:BackgroundModel",
    "reward": "caig.models.reward_model:RewardModel",
}
NAMES = "embedded, a folder, owner/name on the hub, or python:module:factory"
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def load_model(name: str, role: Role) -> Any:
    """Load the model called `name`; CheckpointError when it is unknown, incomplete or not of the role's protocol."""
    if name.startswith("python:"):
        return _call_factory(name, role)
    resolve(name, role)  # a wrong name is told at once, before torch is imported
    return _attribute(CLASSES[role]).from_pretrained(name)


def resolve(name: str, role: Role) -> Path:
    """Return the folder that holds the checkpoint called `name`, fetching it from the hub if it must be.

    CheckpointError when there is none, or when it is on the hub only and this machine is offline.
    """
    if name == "embedded":
        return _existing(Path(str(files("caig") / "weights" / role)), name, role)
    if Path(name).is_dir():
        return _existing(Path(name), name, role)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return _fetch(name, role)
    raise CheckpointError(f"{role} model", expected=NAMES, got=repr(name), next_step="Check the name or the path.")


def fingerprint(folder: Path) -> str:
    """First 16 hex digits of a hash over the folder's weights and configs: what made a picture, for its manifest."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".tar"} and path.name != "training.json":
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _existing(folder: Path, name: str, role: Role) -> Path:
    if not any(folder.rglob("*.safetensors")):
        raise CheckpointError(
            f"{role} model {name!r}",
            expected="a folder with safetensors weights",
            got=f"none in {folder}",
            next_step=f"Train one with `caig train {role}` or name another.",
        )
    return folder


def _fetch(name: str, role: Role) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE", "") in {"1", "true", "TRUE", "yes"}
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=offline))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{role} model {name!r}",
            expected="a local folder, or a checkpoint in the hub cache",
            got="neither, and the hub can't be reached" if offline else type(error).__name__,
            next_step=f"On a machine with network run: hf download {name}",
        ) from None


def _call_factory(name: str, role: Role) -> Any:
    model = _attribute(name.removeprefix("python:"))()
    protocol = PROTOCOLS[role]
    if not isinstance(model, protocol):
        raise CheckpointError(
            name,
            expected=f"a factory of a {role} model (caig.models.protocols.{protocol.__name__})",
            got=type(model).__name__,
            next_step="Give it the protocol's attributes and methods.",
        )
    return model


def _attribute(path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"python:{path}", expected="python:module:factory", got=str(error), next_step="Check the import path."
        ) from None
