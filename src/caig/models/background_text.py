"""Descriptions as the background model's text encoders read them: one encoder (SD 1.5) or two (SDXL)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Words:
    """Encoded texts, one row per picture, or two with guidance: all negatives, then all prompts."""

    states: Tensor  # f[R, T, C]
    pooled: Tensor | None  # f[R, P], of SDXL's second encoder


@torch.inference_mode()
def encode_texts(pipeline: Any, texts: Sequence[str], negatives: Sequence[str] | None) -> Words:
    """Encode each different text once; a warning shows what an encoder cannot read. `negatives` None: no guidance."""
    prompts = [*(negatives or ()), *texts]
    unique = list(dict.fromkeys(prompts))
    states, pooled = _read(pipeline, unique)
    rows = [unique.index(prompt) for prompt in prompts]
    words = Words(states[rows], None if pooled is None else pooled[rows])
    if pooled is not None and negatives and pipeline.config.force_zeros_for_empty_prompt:
        # Where the config says so, SDXL was trained with zeros in place of an empty text.
        given = torch.tensor([1.0 if text else 0.0 for text in negatives] + [1.0] * len(texts)).to(words.states)
        return Words(words.states * given[:, None, None], pooled[rows] * given[:, None])
    return words


def _read(pipeline: Any, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """States f[N, T, C] and, of SDXL, pooled states f[N, P]: last but one layers of both encoders side by side."""
    if not hasattr(pipeline, "tokenizer_2"):
        return pipeline.text_encoder(_ids(pipeline, pipeline.tokenizer, texts))[0], None
    states, pooled = [], None
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        output = encoder(_ids(pipeline, tokenizer, texts), output_hidden_states=True)
        states.append(output.hidden_states[-2])
        pooled = output[0]  # the second encoder's projection; the first one's is not used
    return torch.cat(states, -1), pooled


def _ids(pipeline: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    for text in texts:
        warn_of_cut(tokenizer, text)
    limit = tokenizer.model_max_length
    ids = tokenizer(list(texts), padding="max_length", max_length=limit, truncation=True)["input_ids"]
    return torch.tensor(ids, device=pipeline.device)


def warn_of_cut(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Log a warning with the words that the text encoder will not see."""
    limit = tokenizer.model_max_length
    ids = tokenizer(text, truncation=False)["input_ids"]
    if len(ids) > limit:
        cut = tokenizer.decode(ids[limit - 1 : -1])
        log.warning("description has %d tokens, the text encoder reads %d; cut: %r", len(ids), limit, cut)
