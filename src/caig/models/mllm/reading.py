"""What a multimodal language model makes of encoded prompts: features of pictures, caches, logits, log-probabilities.

Position ids are always given, never left to the model: with padding on the left they count real tokens only, and models
with positions in space (Qwen's multimodal rope) keep an offset between calls that another prompt would spoil.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from caig.models.mllm.encoding import IGNORED, encode
from caig.types import Pixels

OF_TOKENS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "position_ids")


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureFeatures:
    """One picture as the language model reads it."""

    tokens: Tensor
    """f[n, d], in place of its n image tokens."""
    deep: tuple[Tensor, ...] = field(default=())
    """f[n, d] each, added after the first layers (Qwen3-VL's deepstack); most models have none."""
    stacked: bool = False
    """The model keeps its pictures, all of n tokens, in one tensor."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefill:
    """B prompts read once, and whatever was appended to them."""

    cache: Any
    logits: Tensor
    """f[B, V], of the token that follows."""
    mask: Tensor
    """i64[B, L], 1 on the tokens read."""
    position: Tensor
    """i64[B, 1], of the token that follows."""

    def repeat(self, repeats: int) -> Prefill:
        """Each prompt `repeats` times, side by side. The cache is changed in place: `self` is used up."""
        self.cache.batch_repeat_interleave(repeats)
        logits, mask, position = (x.repeat_interleave(repeats, 0) for x in (self.logits, self.mask, self.position))
        return Prefill(cache=self.cache, logits=logits, mask=mask, position=position)

    def select(self, rows: Sequence[int]) -> Prefill:
        """The prompts of `rows`, any of them as often as it stands there, with a cache of their own."""
        index = torch.tensor(rows, device=self.logits.device)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(index)
        return Prefill(cache=cache, logits=self.logits[index], mask=self.mask[index], position=self.position[index])


def prefill(model: Any, inputs: Any) -> Prefill:
    """Read encoded prompts once; gradients flow through the cache."""
    positions = positions_of(model, inputs)
    output = model(**{**inputs, "position_ids": positions}, use_cache=True, logits_to_keep=1)
    last = positions[..., -1:]
    return Prefill(
        cache=output.past_key_values,
        logits=output.logits[:, -1],
        mask=inputs["attention_mask"],
        position=(last if last.ndim == 2 else last.amax(0)) + 1,
    )


def append(model: Any, read: Prefill, tokens: Tensor, mask: Tensor | None = None) -> tuple[Prefill, Tensor]:
    """Read tokens i64[B, T] that follow; returns what is then read and the logits f[B, T, V] after each of them.

    Attention is paid to tokens where `mask` i64[B, T] is 1; None is all ones. `read` is used up.
    """
    seen = torch.cat([read.mask, torch.ones_like(tokens) if mask is None else mask], 1)
    positions = read.position + torch.arange(tokens.shape[1], device=tokens.device)
    output = model(
        input_ids=tokens, attention_mask=seen, position_ids=positions, past_key_values=read.cache, use_cache=True
    )
    after = Prefill(
        cache=output.past_key_values, logits=output.logits[:, -1], mask=seen, position=positions[:, -1:] + 1
    )
    return after, output.logits


def answer_logits(model: Any, inputs: Any, answers: Tensor, mask: Tensor, repeats: int) -> Tensor:
    """Next-token logits f[B·repeats, T, V] of `answers` i64[B·repeats, T] that continue B encoded prompts.

    Each prompt is read once and its cache repeated for its `repeats` answers, which lie side by side. Position t
    predicts `answers[:, t]`: the prompt's last token opens the answer. `mask` i64[B·repeats, T] is 1 on answer tokens.
    Gradients flow through the cache. Gradient checkpointing allows no cache: each prompt is then read with each answer.
    """
    if model.training and model.is_activation_checkpointing:
        rows = [_joined_logits(model, inputs, answers[k::repeats], mask[k::repeats]) for k in range(repeats)]
        return torch.stack(rows, 1).flatten(0, 1)
    read = prefill(model, inputs).repeat(repeats)
    return torch.cat([read.logits[:, None], append(model, read, answers, mask)[1][:, :-1]], 1)


def answer_log_probs(model: Any, inputs: Any, answers: Tensor, mask: Tensor, repeats: int) -> Tensor:
    """Natural log-probability f32[B·repeats, T] of each answer token given its prompt and the tokens before it.

    0 where `mask` is 0, so that the sum over dimension 1 is the log-probability of the answer. Arguments as in
    `answer_logits`.
    """
    logits = answer_logits(model, inputs, answers, mask, repeats).float()
    return -F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view_as(answers) * mask


def join(model: Any, inputs: Any, answers: Tensor, mask: Tensor) -> dict[str, Any]:
    """B prompts and an answer to each as whole sequences with `labels` i64[B, L + T], for a plain `model(**joined)`.

    Only answer tokens carry a label; prompts and padding have IGNORED.
    """
    ids, prompt_mask = inputs["input_ids"], inputs["attention_mask"]
    kinds = {key: F.pad(inputs[key], (0, answers.shape[1])) for key in OF_TOKENS[2:4] if key in inputs}
    positions = positions_of(model, inputs)
    steps = 1 + torch.arange(answers.shape[1], device=answers.device)
    return {
        **inputs,
        **kinds,
        "input_ids": torch.cat([ids, answers], 1),
        "attention_mask": torch.cat([prompt_mask, mask], 1),
        "position_ids": torch.cat([positions, positions[..., -1:] + steps], -1),
        "labels": torch.cat([torch.full_like(ids, IGNORED), answers.masked_fill(mask == 0, IGNORED)], 1),
    }


def positions_of(model: Any, inputs: Any) -> Tensor:
    """Position ids of encoded prompts: i64[B, L], or i64[3, B, L] (time, height, width) for a multimodal rope.

    They count real tokens only, so that a prompt reads the same alone and padded.
    """
    mask = inputs["attention_mask"]
    rope = getattr(core(model), "get_rope_index", None)
    if rope is None or inputs.get("image_grid_thw") is None:
        return (mask.cumsum(1) - 1).clamp(min=0)
    keys = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    return rope(**{key: inputs[key] for key in keys})[0]


@torch.no_grad()
def see(model: Any, inputs: Any) -> list[PictureFeatures]:
    """Features of the pictures in encoded prompts, in order: vision tower and projector, run once, without gradients.

    A picture has the same features in every prompt, and under every LoRA on the language model. (SmolVLM and Idefics,
    whose pictures are tiles with words between them, give an entry a prompt: use all of a batch, in order.)
    """
    of_pictures = {key: value for key, value in inputs.items() if key not in OF_TOKENS}
    if not of_pictures:
        return []
    output = core(model).get_image_features(**of_pictures, return_dict=True)
    deep = getattr(output, "deepstack_features", None) or []
    layers = [list(layer) for layer in deep]
    stacked = isinstance(output.pooler_output, Tensor)
    return [
        PictureFeatures(tokens=tokens, deep=tuple(layer[k] for layer in layers), stacked=stacked)
        for k, tokens in enumerate(output.pooler_output)
    ]


def see_alone(model: Any, processor: Any, picture: Pixels) -> PictureFeatures:
    """Features of one picture u8[H, W, 3] by itself, to stand in any prompt."""
    return see(model, encode(processor, [""], [picture], model.device))[0]


def with_features(inputs: Any, features: Sequence[PictureFeatures]) -> dict[str, Any]:
    """Encoded prompts with `features` (see `see`), one for each of their pictures in order, in place of the pixels."""
    rest = {key: value for key, value in inputs.items() if not key.startswith("pixel_")}
    if not features:
        return rest
    tokens = [one.tokens for one in features]
    layers = [list(layer) for layer in zip(*(one.deep for one in features), strict=True)]
    seen = SimpleNamespace(
        pooler_output=torch.stack(tokens) if features[0].stacked else tokens, deepstack_features=layers
    )
    return {**rest, "mm_encoder_outputs": {"image": seen}}


def core(model: Any) -> Any:
    """The network under a language model head, and under peft's wrapper where there is one."""
    whole = model.get_base_model() if hasattr(model, "get_base_model") else model
    return whole.model


def decoder_layers(model: Any) -> list[Any]:
    """The layers of the language model, in order."""
    return [part for part in core(model).get_decoder().modules() if isinstance(part, GradientCheckpointingLayer)]


def _joined_logits(model: Any, inputs: Any, answers: Tensor, mask: Tensor) -> Tensor:
    """`answer_logits` for one answer a prompt, by a plain pass over prompt and answer."""
    joined = join(model, inputs, answers, mask)
    del joined["labels"]
    return model(**joined, use_cache=False, logits_to_keep=answers.shape[1] + 1).logits[:, :-1]
