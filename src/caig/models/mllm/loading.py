"""Checkpoint folders of multimodal language models, in and out.

Remote code is never run and only safetensors are read. Device and dtype are chosen, told in the log, and can be forced.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PROCESSOR_MAPPING, AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils.logging import disable_progress_bar

from caig.errors import CheckpointError, MissingExtraError
from caig.models.hub import Dtype, place

log = logging.getLogger(__name__)
# "local_files_only" and no remote code, spelled out: where it is left open transformers asks on the terminal.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
VIDEO = "video_preprocessor_config.json"
NOT_QUANTIZED = [r"model\.(?!language_model\.).+", "lm_head"]  # all but the language model


def load_mllm(
    folder: Path,
    device: str | None = None,
    *,
    dtype: Dtype | None = None,
    four_bit: bool = False,
    checkpointing: bool = False,
) -> tuple[Any, Any]:
    """Load (model, processor) from a checkpoint folder, in evaluation mode.

    `device` and `dtype` None are as `caig.models.hub.place` chooses. `four_bit`
    keeps the language model's linear layers as NF4 (needs bitsandbytes; arXiv 2305.14314), `checkpointing` recomputes
    activations in training, which trades time for memory. Raises CheckpointError when transformers cannot load the
    folder, InputError for an impossible device or dtype, MissingExtraError without bitsandbytes.
    """
    disable_progress_bar()
    device, chosen = place("prompt", device, dtype)
    options: dict[str, Any] = {"dtype": getattr(torch, chosen)}
    if four_bit:
        options |= {"quantization_config": _four_bit(options["dtype"]), "device_map": {"": device}}
    try:
        loader: Any = AutoModelForImageTextToText  # its own type hints miss the classmethod
        model, found = loader.from_pretrained(
            str(folder), use_safetensors=True, output_loading_info=True, **LOCAL, **options
        )
        processor = load_processor(folder)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise _broken(folder, f"{type(error).__name__}: {str(error)[:200]}") from error
    if found["missing_keys"]:  # transformers would go on with random ones
        raise _broken(folder, f"no weights for {', '.join(sorted(found['missing_keys'])[:3])}")
    if model.config.is_encoder_decoder:
        raise _broken(folder, f"an encoder-decoder, {type(model).__name__}")
    _complete(processor.tokenizer, model.config.get_text_config())
    if checkpointing:
        model.activation_checkpointing_enable()
    log.debug("%s: %s on %s, %s", folder, type(model).__name__, device, "4-bit" if four_bit else str(model.dtype)[6:])
    return (model if four_bit else model.to(device)).eval(), processor


def load_processor(folder: Path) -> Any:
    """The checkpoint's processor for pictures and words. A video part is left out: it needs torchvision."""
    kind = PROCESSOR_MAPPING.get(type(AutoConfig.from_pretrained(folder, **LOCAL)), None)
    if kind is None or "video_processor" not in kind.get_attributes():
        return AutoProcessor.from_pretrained(folder, **LOCAL)
    return _without_video(kind, folder).from_pretrained(folder, **LOCAL)


def save_mllm(model: Any, processor: Any, folder: Path) -> None:
    """Write model (safetensors; fp32 as fp16) and processor in the layout that `load_mllm` and transformers read."""
    disable_progress_bar()
    (copy.deepcopy(model).half() if model.dtype == torch.float32 else model).save_pretrained(folder)
    processor.save_pretrained(folder)


def _without_video(kind: Any, folder: Path) -> Any:
    """The processor class `kind`, of the same name, for tokenizer and image processor alone.

    The video part's settings are saved along, for those who load the saved folder with transformers itself.
    """

    def get_attributes(cls: Any) -> list[str]:
        return [part for part in kind.get_attributes() if part != "video_processor"]

    def arguments(cls: Any, *given: Any, **options: Any) -> list[Any]:
        return [*kind._get_arguments_from_pretrained.__func__(cls, *given, **options), None]  # None: no video part

    def save_pretrained(self: Any, save_directory: Path, **rest: Any) -> None:
        kind.save_pretrained(self, save_directory, **rest)
        if settings := _video_settings(folder):
            (Path(save_directory) / VIDEO).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    parts = {"get_attributes": classmethod(get_attributes), "_get_arguments_from_pretrained": classmethod(arguments)}
    own = {**parts, "save_pretrained": save_pretrained, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), own)


def _video_settings(folder: Path) -> Any:
    """Where transformers looks for them, in its order; the last are the image processor's, which it falls back on."""
    files = [folder / name for name in ("processor_config.json", VIDEO, "preprocessor_config.json")]
    first, *others = [json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {} for path in files]
    return next(filter(None, (first.get("video_processor"), *others)), None)


def _complete(tokenizer: Any, config: Any) -> None:
    """What `encode` relies on: how long a prompt with its answer may be, and a token to pad with."""
    positions = getattr(config, "max_position_embeddings", None)
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    if tokenizer.pad_token is None:  # masked wherever it stands
        tokenizer.pad_token = tokenizer.eos_token


def _four_bit(dtype: torch.dtype) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", "4bit")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTIZED,
    )


def _broken(folder: Path, got: str) -> CheckpointError:
    return CheckpointError(
        str(folder),
        expected="an image-text-to-text checkpoint of transformers, decoder only",
        got=got,
        next_step="Give a folder written by save_pretrained, model and processor.",
    )
