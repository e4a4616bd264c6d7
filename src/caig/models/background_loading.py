"""Loads a background model: one diffusers folder, or a base, a ControlNet and a LoRA that a `background.json` names.

    {"base": "owner/name", "controlnet": "owner/name", "lora": "owner/name", "lora_file": "x.safetensors",
     "scheduler": {"class": "LCMScheduler"}, "sampling": {"steps": 8, "guidance": 1.0}}

Each part is a folder (relative to the file) or a name on the hub; all but `base` may be left out. A base of Stable
Diffusion 1.5 or XL, with 4 or 9 input channels, becomes diffusers' ControlNet inpainting pipeline of its kind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from diffusers import (
    ControlNetModel,
    SchedulerMixin,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
)
from diffusers.utils.logging import disable_progress_bar
from safetensors import SafetensorError

from caig.errors import CheckpointError, InputError
from caig.models.hub import HUB_NAME, RECIPE, fetch, fingerprint
from caig.models.weights import check_weights

SAMPLING = "sampling.json"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a checkpoint likes to be sampled; kept in its `sampling.json`. Defaults: the paper's for SD 1.5."""

    steps: int = 30
    guidance: float = 7.5
    """Classifier-free guidance; 1 or less: none, and half the price."""
    control: Literal["canny", "inpaint"] = "canny"
    """What the ControlNet sees: the product's edges, or the picture with -1 where it is to be painted."""
    controlnet_scale: float = 1.0
    native_side: int = 512
    """Side of the square that the model paints best; other shapes get the same area."""
    erode: int = 1
    """Pixels taken off the product's mask, so that the model paints right up to it."""
    refine: int = 0
    """Timestep of 1,000 at which a start goes on, noised: a plate where the checkpoint has some, else a picture painted
    at half the side and enlarged; 0: painted from noise at once, or a plate left as it is."""
    enlarges: bool = False
    """Whether the decoder was trained on enlarged latents too, and so decodes larger canvases at twice the side."""


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What a background model is made of."""

    base: str
    controlnet: str | None = None
    lora: str | None = None
    lora_file: str | None = None
    lora_scale: float = 1.0
    scheduler: Mapping[str, Any] | None = None
    """diffusers' class and what to change in its config; None: the base's own."""
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def parts(self) -> list[str]:
        """Names of the checkpoints."""
        return [part for part in (self.base, self.controlnet, self.lora) if part]


def read_composition(folder: Path) -> Composition:
    """The folder's `background.json`, or the folder itself as the base; CheckpointError for unknown keys."""
    if not (folder / RECIPE).is_file():
        return Composition(base=str(folder), sampling=read_sampling(folder))
    record = _read_record(folder / RECIPE, Composition)
    sampling = _only_fields(record.pop("sampling", {}), Sampling, folder / RECIPE)
    return Composition(**record, sampling=Sampling(**sampling))


def read_sampling(folder: Path) -> Sampling:
    """The checkpoint's `sampling.json`, or the defaults; unknown keys are an error."""
    path = folder / SAMPLING
    return Sampling(**_read_record(path, Sampling)) if path.is_file() else Sampling()


def load_pipeline(folder: Path, device: str, dtype: torch.dtype, name: str) -> tuple[Any, Sampling, str]:
    """Return (diffusers pipeline, sampling, fingerprint of all parts); CheckpointError when a part cannot be loaded."""
    composition = read_composition(folder)
    folders = [locate(part, folder) for part in composition.parts]
    disable_progress_bar()  # of loading; caig tells its own progress
    try:
        pipeline = _assemble(composition, folder, dtype)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"background model {name!r}",
            expected="a diffusers folder with a ControlNet inpainting pipeline",
            got=str(error).splitlines()[0],
            next_step=f"Name such a folder, or one with a {RECIPE} that names a base and a ControlNet.",
        ) from None
    settle(pipeline, device, dtype)
    return pipeline, composition.sampling, _fingerprint(folder, folders)


def compile_parts(pipeline: Any) -> None:
    """Have UNet and ControlNet compiled at their first pass (torch.compile); InputError where no C++ compiler is."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(compiler) is None:
        hint = "Install one and name it in CXX, or leave --compile out."
        raise InputError("--compile", expected="a C++ compiler", got=f"no {compiler}", next_step=hint)
    for part in (pipeline.unet, pipeline.controlnet):
        part.compile()


def locate(part: str, folder: Path) -> Path:
    """Folder of a part: a path, relative to `folder` or not, or a name on the hub."""
    path = folder / part  # an absolute part stands for itself
    if path.is_dir():
        check_weights(path, part)
        return path
    if hub_name := HUB_NAME.fullmatch(part):
        return fetch(hub_name["repo"], hub_name["revision"])
    raise CheckpointError(
        f"{folder / RECIPE}", expected="folders, or owner/name on the hub", got=repr(part), next_step="Check the path."
    )


def _assemble(composition: Composition, folder: Path, dtype: torch.dtype) -> Any:
    base = locate(composition.base, folder)
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    is_xl = "XL" in index["_class_name"]
    loader = StableDiffusionXLControlNetInpaintPipeline if is_xl else StableDiffusionControlNetInpaintPipeline
    given: dict[str, Any] = {} if is_xl else {"safety_checker": None, "requires_safety_checker": False}
    if composition.controlnet:
        path = locate(composition.controlnet, folder)
        given["controlnet"] = ControlNetModel.from_pretrained(path, **_how(path, dtype))
    pipeline = loader.from_pretrained(base, **_how(base / "unet", dtype), **given)
    if pipeline.unet.config.time_cond_proj_dim is not None:
        raise ValueError("a UNet distilled with its guidance inside (time_cond_proj_dim)")
    if composition.scheduler is not None:
        pipeline.scheduler = _scheduler(composition.scheduler, pipeline)
    if composition.lora:
        _fuse_lora(pipeline, locate(composition.lora, folder), composition)
    return pipeline


def _how(folder: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of from_pretrained; fp16 files are taken where there are no others."""
    halves, all_files = (len(list(folder.glob(pattern))) for pattern in ("*.fp16*.safetensors", "*.safetensors"))
    variant = {"variant": "fp16"} if 0 < halves == all_files else {}
    return {"dtype": dtype, "use_safetensors": True, "local_files_only": True, **variant}


def _scheduler(record: Mapping[str, Any], pipeline: Any) -> Any:
    changes = {key: value for key, value in record.items() if key != "class"}
    scheduler = getattr(diffusers, str(record.get("class")), None)
    if not (isinstance(scheduler, type) and issubclass(scheduler, SchedulerMixin)):
        raise ValueError(f"scheduler {record.get('class')!r}, which is none of diffusers'")
    return scheduler.from_config(pipeline.scheduler.config, **changes)  # pyright: ignore[reportAttributeAccessIssue]


def _fuse_lora(pipeline: Any, folder: Path, composition: Composition) -> None:
    """Add the LoRA to the weights: afterwards it costs nothing."""
    pipeline.load_lora_weights(folder, weight_name=composition.lora_file, use_safetensors=True, local_files_only=True)
    pipeline.fuse_lora(lora_scale=composition.lora_scale)
    pipeline.unload_lora_weights()


def settle(pipeline: Any, device: str, dtype: torch.dtype) -> None:
    """Put the parts where they work best."""
    pipeline.to(device)
    if dtype == torch.float16 and hasattr(pipeline, "tokenizer_2") and pipeline.vae.config.force_upcast:
        pipeline.vae.to(torch.float32)  # SDXL's own decoder overflows in fp16, and its config says so
    for part in (pipeline.unet, pipeline.controlnet, pipeline.vae):
        part.to(memory_format=torch.channels_last)  # measured: 512² decoded in 0.7 of the time on a CPU


def _fingerprint(folder: Path, parts: list[Path]) -> str:
    if not (folder / RECIPE).is_file():
        return fingerprint(folder)
    digests = [(folder / RECIPE).read_text(encoding="utf-8"), *(fingerprint(part) for part in parts)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def _read_record(path: Path, kind: Any) -> dict[str, Any]:
    try:
        return _only_fields(json.loads(path.read_text(encoding="utf-8")), kind, path)
    except ValueError as error:
        raise CheckpointError(str(path), expected="JSON", got=str(error), next_step="Write it anew.") from None


def _only_fields(record: Any, kind: Any, path: Path) -> dict[str, Any]:
    known = {entry.name for entry in fields(kind)}
    if not isinstance(record, dict) or record.keys() - known or (kind is Composition and "base" not in record):
        got = str(sorted(record.keys() - known)) if isinstance(record, dict) and record.keys() - known else repr(record)
        raise CheckpointError(
            str(path), expected=f"only {sorted(known)}", got=got, next_step="Remove the unknown keys."
        )
    return record
