"""Low-rank adapters (LoRA, arXiv 2106.09685) on the language model of an image-text checkpoint, through peft.

Only linear layers of the language model are adapted: CLIP's and Llama's layers share names (`q_proj`, …), and an
adapter on the vision tower would make every kept picture feature stale. The adapter switched off is the model as it
was, so no second copy is needed as the reference of preference optimisation. A saved adapter is an ordinary peft folder
whose `base_model_name_or_path` is a caig name (`embedded`, a folder, `owner/name`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from torch import Tensor, nn

from caig.errors import CheckpointError
from caig.models.hub import Role, fingerprint, resolve
from caig.models.mllm import load_mllm

CONFIG = "adapter_config.json"


def language_linears(model: Any) -> list[str]:
    """Full names of the linear layers of `model`'s language model; never of the vision tower, projector or head."""
    inside = {id(part) for part in model.model.language_model.modules() if isinstance(part, nn.Linear)}
    return [name for name, part in model.named_modules() if id(part) in inside]


def add_adapter(model: Any, *, rank: int, alpha: float, dropout: float, base: str, seed: int) -> None:
    """Put a fresh adapter, switched on, into `model`; all other weights are frozen. It changes nothing yet (B = 0).

    Args:
        rank: r of LoRA
        alpha: the adapter's output is scaled by alpha / rank
        dropout: on the adapter's input, in training, 0 to 1
        base: name of the checkpoint that `model` came from, kept for whoever loads the adapter
        seed: of its first weights; the global generator is left as it was
    """
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=language_linears(model)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model.add_adapter(config)
    model.peft_config["default"].base_model_name_or_path = base


def train_adapter(model: Any) -> None:
    """Let the adapter that `model` was loaded with learn on, in full precision; all other weights are frozen."""
    model.requires_grad_(False)
    for weight in adapter_weights(model).values():
        weight.data = weight.data.float()
        weight.requires_grad_(True)


@contextmanager
def reference(model: Any) -> Iterator[None]:
    """Within the block `model` is its reference: the adapter is off. Blocks may stand in one another."""
    off = any(part.disable_adapters for part in model.modules() if isinstance(part, BaseTunerLayer))
    model.disable_adapters()
    try:
        yield
    finally:
        if not off:
            model.enable_adapters()


def adapter_weights(model: Any) -> Mapping[str, Tensor]:
    """The adapter's parameters by name: all that training changes."""
    return {name: value for name, value in model.named_parameters() if "lora_" in name}


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter as a peft folder: `adapter_config.json` and fp16 `adapter_model.safetensors`."""
    copy.deepcopy(model).half().save_pretrained(folder)


def load_adapted(name: str, role: Role, device: str | None = None, **options: Any) -> tuple[Any, Any, str]:
    """Load (model, processor, fingerprint) by name: a whole checkpoint, or an adapter and the base that it names.

    `options` are those of `load_mllm`. A base given as a relative path is looked up beside the adapter when the working
    directory has none. CheckpointError when the base or the adapter is missing, broken, or they do not fit.
    """
    folder = resolve(name, role)
    if not (folder / CONFIG).is_file():
        return *load_mllm(folder, device, **options), fingerprint(folder)
    base = resolve(base_of(folder), role)
    model, processor = load_mllm(base, device, **options)
    try:
        model.load_adapter(str(folder))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            str(folder),
            expected=f"an adapter of {base}",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            next_step="Name the checkpoint that it was trained on in adapter_config.json.",
        ) from error
    return model.eval(), processor, f"{fingerprint(base)}+{fingerprint(folder)}"


def base_of(folder: Path) -> str:
    """Name of the checkpoint under the adapter in `folder`."""
    try:
        name = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(
            str(folder / CONFIG), expected="a peft config", got=str(error)[:200], next_step="Write it with peft."
        ) from error
    beside = folder / (name or "")
    return str(beside) if name and not Path(name).exists() and beside.is_dir() else str(name)
