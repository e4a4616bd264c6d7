"""Import of the published CAIG checkpoints: from the original LLaVA-1.6 layout to the one that transformers loads.

The original class, `LlavaLlamaForCausalLM`, keeps `mm_*` settings in its config, the projector in `model.mm_projector`,
and the vision tower inside (`model.vision_tower.vision_tower.…`) or in a folder of its own; the reward model has heads
`score` and `sku_ctr_linear_fc`, each Linear(d, 2), on the last token. Here they become LLaVA-NeXT, whose arithmetic is
the same: anyres tiles, CLIP's last but one layer without its class token, a newline after each row.

Every tensor of the source is used, or is one that its config implies (rotary frequencies, position numbers): anything
else, and anything missing, is an error that lists it.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

from caig.artifacts import published_folder, to_json
from caig.errors import CheckpointError
from caig.models.llava_words import IMAGE, PROMPT_SYSTEM, build_processor
from caig.models.weights import as_safetensors, weight_files

RECORD = "import.json"
HEADS: Final = {"score": "classification", "sku_ctr_linear_fc": "regression"}
SIDE = 512  # of each of the two pictures that the reward model sees side by side
HEAD_WIDTH = 64  # of an attention head, in every CLIP vision tower of OpenAI
IMPLIED = re.compile(r"\.(rotary_emb\.inv_freq|position_ids)$")  # derived from the config, never learned
ELSEWHERE = re.compile(r"^(text_model\.|logit_scale$|text_projection\.|visual_projection\.)")  # CLIP's other half
REQUIRED: Final = {
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_patch_merge_type": "spatial_unpad",
    "image_aspect_ratio": "anyres",
}
RENAMED: Final = {
    "model.mm_projector.0.": "model.multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "model.multi_modal_projector.linear_2.",
    "model.embed_tokens.": "model.language_model.embed_tokens.",
    "model.layers.": "model.language_model.layers.",
    "model.norm.": "model.language_model.norm.",
}
TOWER = "model.vision_tower.vision_tower.vision_model."
State = dict[str, Tensor]


def import_prompt_model(source: Path, out: Path, *, vision_tower: Path | None = None) -> Path:
    """Write the prompt model in `source` as a folder that `PromptModel.from_pretrained` loads; returns `out`.

    `vision_tower` is the CLIP folder when `source` does not hold the tower. Raises CheckpointError, and writes nothing,
    when the config is of another kind or a tensor is unknown, missing or of another shape.
    """
    return _import(source, out, vision_tower, heads=False)


def import_reward_model(source: Path, out: Path, *, vision_tower: Path | None = None) -> Path:
    """The same for the reward model: heads and `reward.json` beside it; its CTRs are not calibrated."""
    return _import(source, out, vision_tower, heads=True)


def _import(source: Path, out: Path, vision_tower: Path | None, *, heads: bool) -> Path:
    if out.exists():
        hint = "Choose another --out."
        raise CheckpointError(str(out), expected="no such folder yet", got="one that is there", next_step=hint)
    settings = _read_settings(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".import-", dir=out.parent) as scratch:  # as large as the checkpoint
        state = _read(source, Path(scratch) / "source")
        if vision_tower is not None:
            state |= {_in_source(key): value for key, value in _read(vision_tower, Path(scratch) / "tower").items()}
        judged = {name: state.pop(name) for name in list(state) if heads and name.split(".")[0] in HEADS}
        with published_folder(out) as folder:
            _write(folder, settings, state, source, heads=judged if heads else None)
    return out


def _write(folder: Path, settings: Mapping[str, Any], state: State, source: Path, heads: State | None) -> None:
    processor = build_processor(
        source, settings, _tower_sizes(state), system="" if heads is not None else PROMPT_SYSTEM
    )
    config = _config(settings, state, processor, tied=heads is not None and "lm_head.weight" not in state)
    with init_empty_weights(include_buffers=False):
        model = LlavaNextForConditionalGeneration(config)
    state, implied = _renamed(state, model.state_dict(), config)
    if heads is not None:
        _save_heads(folder, heads, config)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    record = {"source": source.name, "imported": len(state), "implied": implied, "heads": sorted(heads or ())}
    (folder / RECORD).write_text(to_json(record, indent=2) + "\n", encoding="utf-8")


def _read_settings(source: Path) -> dict[str, Any]:
    """The original config; CheckpointError unless it is of the one kind that is imported."""
    path = source / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(path, "an original LLaVA config", str(error)) from None
    others = {key: settings.get(key) for key, value in REQUIRED.items() if settings.get(key, value) != value}
    if "mm_vision_tower" not in settings or others:
        got = others or "no mm_vision_tower"
        raise _wrong(path, f"LLaVA-1.6 settings {REQUIRED}", str(got))
    return settings


def _read(folder: Path, scratch: Path) -> State:
    """Every tensor of the folder's weight files; pickles are converted in a process of their own."""
    scratch.mkdir()
    files = weight_files(folder)
    if not files:
        raise _wrong(folder, "weight files", "none")
    state: State = {}
    for path in as_safetensors(files, scratch):
        with safe_open(path, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name in state:
                    raise _wrong(folder, "each tensor once", f"{name} in two files")
                state[name] = tensors.get_tensor(name)
    return state


def _in_source(key: str) -> str:
    """The name that a tensor of a CLIP folder has inside an original LLaVA checkpoint."""
    return TOWER + key.removeprefix("vision_model.") if key.startswith("vision_model.") else key


def _tower_sizes(state: State) -> dict[str, int]:
    """The tower's sizes, read from its weights: the original config only names it."""
    try:
        patches = state[f"{TOWER}embeddings.patch_embedding.weight"]
        positions = state[f"{TOWER}embeddings.position_embedding.weight"]
        wide = state[f"{TOWER}encoder.layers.0.mlp.fc1.weight"]
    except KeyError as error:
        raise CheckpointError(
            "vision tower",
            expected="its weights inside the checkpoint, or beside it",
            got=f"no {error.args[0]}",
            next_step="Give the CLIP folder that mm_vision_tower names with --vision-tower FOLDER.",
        ) from None
    layers = {
        int(found[1]) for key in state if (found := re.match(re.escape(TOWER) + r"encoder\.layers\.(\d+)\.", key))
    }
    return {
        "hidden_size": patches.shape[0],
        "patch_size": patches.shape[-1],
        "image_size": patches.shape[-1] * round((len(positions) - 1) ** 0.5),
        "intermediate_size": wide.shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, patches.shape[0] // HEAD_WIDTH),
    }


def _config(settings: Mapping[str, Any], state: State, processor: Any, *, tied: bool) -> LlavaNextConfig:
    known = {key: value for key, value in settings.items() if key in LlamaConfig().to_dict() and value is not None}
    kept = {
        key: value for key, value in known.items() if key not in ("architectures", "model_type", "transformers_version")
    }
    embedding = state.get("model.embed_tokens.weight")
    image_token = processor.tokenizer.convert_tokens_to_ids(IMAGE)
    rows = max(image_token + 1, 0 if embedding is None else len(embedding))
    tower = _tower_sizes(state)
    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(**tower, projection_dim=tower["hidden_size"], hidden_act="quick_gelu"),
        text_config=LlamaConfig(**(kept | {"vocab_size": rows, "tie_word_embeddings": tied})),
        image_token_index=image_token,
        image_grid_pinpoints=processor.image_processor.image_grid_pinpoints,
        vision_feature_layer=settings["mm_vision_select_layer"],
        image_seq_length=(tower["image_size"] // tower["patch_size"]) ** 2,
        tie_word_embeddings=tied,
        dtype=torch.float16 if embedding is None else embedding.dtype,
    )


def _renamed(state: State, expected: Mapping[str, Tensor], config: LlavaNextConfig) -> tuple[State, list[str]]:
    """(tensors under transformers' names, names left out because the config implies them).

    CheckpointError that lists every unknown and missing tensor, and those of another shape.
    """
    nested = any(".vision_tower.vision_model." in name for name in expected)  # up to transformers 5.2
    found: State = {}
    implied: list[str] = []
    for name, tensor in state.items():
        if IMPLIED.search(name) or ELSEWHERE.match(name):
            implied.append(name)
        else:
            found[_new_name(name, nested)] = tensor
    found = {name: _grown(name, tensor, config).to(config.dtype) for name, tensor in found.items()}
    if config.tie_word_embeddings and "model.language_model.embed_tokens.weight" in found:
        found["lm_head.weight"] = found["model.language_model.embed_tokens.weight"]
    _check_same(found, expected)
    return found, sorted(implied)


def _new_name(name: str, nested: bool) -> str:
    if name.startswith(TOWER):
        return f"model.vision_tower.{'vision_model.' if nested else ''}{name.removeprefix(TOWER)}"
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _grown(name: str, tensor: Tensor, config: LlavaNextConfig) -> Tensor:
    """Word embeddings and their head with rows for the image token: the mean row, which is never the likeliest word."""
    missing = (
        config.text_config.vocab_size - len(tensor) if name.endswith(("embed_tokens.weight", "lm_head.weight")) else 0
    )
    if missing <= 0:
        return tensor
    return torch.cat([tensor, tensor.float().mean(0, keepdim=True).to(tensor.dtype).expand(missing, -1)])


def _check_same(found: State, expected: Mapping[str, Tensor]) -> None:
    problems = {
        "unknown": sorted(found.keys() - expected.keys()),
        "missing": sorted(expected.keys() - found.keys()),
        "of another shape": sorted(
            f"{name} {tuple(found[name].shape)} for {tuple(expected[name].shape)}"
            for name in found.keys() & expected.keys()
            if found[name].shape != expected[name].shape
        ),
    }
    if any(problems.values()):
        got = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise _wrong("tensors", "those of LLaVA-1.6, all of them and no other", got)


def _save_heads(folder: Path, heads: State, config: LlavaNextConfig) -> None:
    """Write both heads, and `reward.json`, which says how pictures enter and that CTRs are not calibrated."""
    width = config.text_config.hidden_size
    expected = {
        f"{name}.{part}": torch.empty(2, width) if part == "weight" else torch.empty(2) for name, part in _parts()
    }
    # transformers' sequence classification heads have no bias.
    _check_same({"score.bias": torch.zeros(2), **heads}, expected)
    save_file(
        {
            f"{HEADS[name]}.{part}": heads.get(f"{name}.{part}", torch.zeros(2)).float().contiguous()
            for name, part in _parts()
        },
        folder / "reward_head.safetensors",
    )
    (folder / "reward.json").write_text(to_json(_calibration(), indent=2) + "\n", encoding="utf-8")


def _parts() -> Iterator[tuple[str, str]]:
    return ((name, part) for name in HEADS for part in ("weight", "bias"))


def _calibration() -> dict[str, Any]:
    """Utilities as published; until a click log calibrates them, CTRs are 1 %, give or take a factor of seven."""
    unknown = {"offset": 0.0, "spread": 1.0, "global_offset": 0.0, "global_spread": 1.0}
    scale = {"temperature": 1.0, "slope": 1.0, "base_rates": {}, "global_rate": 0.01}
    return (
        unknown
        | scale
        | {
            "calibrated_on": "nothing",
            "image_side": SIDE,
            "form": "joint",
            "layout": "left-right",
        }
    )


def _wrong(path: Path | str, expected: str, got: str) -> CheckpointError:
    return CheckpointError(
        str(path), expected=expected, got=got, next_step="Name a published CAIG checkpoint's folder."
    )
