"""From a model's name to its files and its place: `embedded`, a known name, a folder, `owner/name[@revision]` on the
Hugging Face hub, `openai:URL#model` (describing only), or `python:module:factory` for a team's own model.

Weights are safetensors, whatever a file is called (`caig.models.weights`); a repository's code is never fetched or run.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import shlex
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from caig.errors import CheckpointError, InputError
from caig.models import registry
from caig.models.protocols import BackgroundModel, PromptModel, RewardModel
from caig.models.weights import check_weights

Role = Literal["prompt", "background", "reward"]
Dtype = Literal["float32", "bfloat16", "float16"]
PROTOCOLS = {"prompt": PromptModel, "background": BackgroundModel, "reward": RewardModel}
CLASSES = {
    "prompt": "caig.models.prompt_model:PromptModel",
    "background": "caig.models.background_model:BackgroundModel",
    "reward": "caig.models.reward_model:RewardModel",
}
OPENAI = "caig.models.openai_model:OpenAIPromptModel"
ON_GPU: dict[Role, Dtype] = {"prompt": "bfloat16", "background": "float16", "reward": "bfloat16"}
EMBEDDED: dict[tuple[str, Role], str] = {
    ("embedded", "prompt"): "tuned",
    ("embedded-pretrained", "prompt"): "prompt",
    ("embedded", "background"): "background",
    ("embedded", "reward"): "reward",
}
"""Name and role -> folder of `caig/weights`; the tuned prompt model is an adapter of the pre-trained one."""
NAMES = "embedded, a folder, owner/name on the hub, or python:module:factory"
HUB_NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w.-]+))?")
RECIPE = "background.json"  # says of which checkpoints a background model is composed
ACCEPTED = "CAIG_ACCEPTED_LICENCES"  # in the environment, so that worker processes know it too
log = logging.getLogger(__name__)


def load_model(name: str, role: Role, *, device: str | None = None, dtype: Dtype | None = None, **options: Any) -> Any:
    """Load the model called `name`; CheckpointError when it is unknown, incomplete or not of the role's protocol.

    `device` None takes a GPU when there is one; `dtype` None fp32 on a CPU, half precision on a GPU. What was chosen is
    logged. `options` are those of the role's `from_pretrained`.
    """
    if name.startswith("python:"):
        return _call_factory(name, role)
    if name.startswith("openai:") and role == "prompt":  # describes elsewhere: no device, no dtype
        return _attribute(OPENAI)(name)
    resolve(name, role)  # a wrong name is told at once, before torch is imported
    log.info("%s model %s: %s, %s", role, name, *place(role, device, dtype))
    forced = {key: value for key, value in {"device": device, "dtype": dtype, **options}.items() if value is not None}
    return _attribute(CLASSES[role]).from_pretrained(name, **forced)


def resolve(name: str, role: Role) -> Path:
    """Return the folder that holds the checkpoint called `name`, fetching it from the hub if it must be.

    CheckpointError when there is none, when its weights are not safetensors, when its licence was not accepted, or when
    it is on the hub only and this machine is offline.
    """
    if folder := EMBEDDED.get((name, role)):
        return _checked(Path(str(files("caig") / "weights" / folder)), name, role)
    if role == "background" and name in registry.backgrounds():
        return registry.backgrounds()[name]
    if Path(name).is_dir():
        return _checked(Path(name), name, role)
    if (hub_name := HUB_NAME.fullmatch(name)) and not name.startswith("."):
        return fetch(hub_name["repo"], hub_name["revision"], f"{role} model")
    raise CheckpointError(f"{role} model", expected=NAMES, got=repr(name), next_step="Check the name or the path.")


def fetch(repo: str, revision: str | None = None, what: str = "checkpoint") -> Path:
    """Return the folder of the hub's `repo`, from the cache or the network; a known one at its pinned revision.

    CheckpointError, with the command that fetches it, when it is not in the cache and the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    known = registry.find(repo)
    if known:
        check_licence(known)
    revision, patterns = _what_to_fetch(known, revision)
    offline = os.environ.get("HF_HUB_OFFLINE", "") in {"1", "true", "TRUE", "yes"}
    try:
        folder = Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=list(known.without) if known else None,
                local_files_only=offline,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise CheckpointError(
            f"{what} {repo!r}",
            expected="a local folder, or a checkpoint in the hub cache",
            got="neither, and the hub can't be reached" if offline else type(error).__name__,
            next_step=f"On a machine with network run: {fetch_command(repo, revision)}",
        ) from None
    if revision is None:
        log.warning("%s is not pinned; name %s@%s to get the same weights again", repo, repo, folder.name)
    check_weights(folder, f"{what} {repo!r}")
    return folder


def fetch_command(repo: str, revision: str | None = None) -> str:
    """The shell command that puts `repo` into the hub's cache, as caig would."""
    known = registry.find(repo)
    revision, patterns = _what_to_fetch(known, revision)
    if known and known.files:
        wanted = list(known.files)
    else:
        wanted = [word for pattern in patterns for word in ("--include", pattern)]
        wanted += [word for pattern in (known.without if known else ()) for word in ("--exclude", pattern)]
    return shlex.join(["hf", "download", repo, *wanted, *(("--revision", revision) if revision else ())])


def is_cached(checkpoint: registry.Checkpoint) -> bool:
    """Whether the checkpoint's weights lie in the hub's cache, at the pinned revision."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(os.environ.get("HF_HUB_CACHE", HF_HUB_CACHE)) / f"models--{checkpoint.name.replace('/', '--')}"
    snapshot = folder / "snapshots" / checkpoint.revision
    weights = [pattern for pattern in checkpoint.patterns() if pattern.endswith(".safetensors")]
    return all(any(snapshot.rglob(pattern)) for pattern in weights)


def accept_licences(names: Iterable[str]) -> None:
    """Record that the user accepts these licences, by name, for this process and those that it starts."""
    accepted = {*os.environ.get(ACCEPTED, "").split(), *names}
    os.environ[ACCEPTED] = " ".join(sorted(accepted))


def check_licence(checkpoint: registry.Checkpoint) -> None:
    """CheckpointError for a non-commercial licence that the user did not accept."""
    if checkpoint.non_commercial and checkpoint.licence not in os.environ.get(ACCEPTED, "").split():
        raise CheckpointError(
            checkpoint.name,
            expected=f"consent to its licence {checkpoint.licence}, which allows no commercial use",
            got="none",
            next_step=f"Read https://huggingface.co/{checkpoint.name}, then add --accept-licence {checkpoint.licence}",
        )


def place(role: Role, device: str | None = None, dtype: Dtype | None = None) -> tuple[str, Dtype]:
    """Device and dtype for a model: as asked, else a GPU when there is one, and half precision there.

    InputError for a device that this machine lacks, or a dtype that is none of the three.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, AttributeError):
        expected = "cpu, or a device that torch finds on this machine"
        raise InputError(
            "--device", expected=expected, got=repr(device), next_step="Leave it out, or use cpu."
        ) from None
    chosen = dtype or ("float32" if device.startswith("cpu") else ON_GPU[role])
    if chosen not in ("float32", "bfloat16", "float16"):
        expected = "float32, bfloat16 or float16"
        raise InputError("--dtype", expected=expected, got=repr(chosen), next_step="Choose one of these.")
    return device, chosen


def fingerprint(folder: Path) -> str:
    """First 16 hex digits of a hash over the folder's weights and configs: what made a picture, for its manifest."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in {".safetensors", ".json", ".tar"} and path.name != "training.json":
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(_digest(path))
    return digest.hexdigest()[:16]


def _digest(path: Path) -> bytes:
    """SHA-256 of a file; the hub's cache names its large files by it."""
    blob = path.resolve().name
    if path.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", blob):
        return bytes.fromhex(blob)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _what_to_fetch(known: registry.Checkpoint | None, revision: str | None) -> tuple[str | None, list[str]]:
    if known is None:
        return revision, ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    return revision or known.revision, known.patterns()


def _checked(folder: Path, name: str, role: Role) -> Path:
    if not (role == "background" and (folder / RECIPE).is_file()):
        check_weights(folder, f"{role} model {name!r}")
    return folder


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
