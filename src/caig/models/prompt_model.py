"""The prompt model: writes background descriptions for a product from its photo, title and attributes.

Sampling follows the paper (temperature 1.0, one of the paraphrased instructions) with three deviations: a nucleus of
`TOP_P`; Gumbel-max draws from each candidate's own generator in place of the global one, so that a seed gives the same
texts; and candidates that repeat a text or a setting are drawn again, because the ads of a product should differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caig.data.captions import setting_of
from caig.data.instructions import product_facts, write_instruction
from caig.errors import CheckpointError, ImageError, InputError
from caig.models.adapters import load_adapted
from caig.models.mllm import Prefill, append, encode, end_token, prefill
from caig.seeding import seed_for
from caig.types import Description, Product

TASK = "prompt generation"
TOP_P = 0.9
MAX_TOKENS = 64  # longer descriptions end at their last whole phrase; a CLIP text encoder reads 77
TRIES = 4  # draws per candidate until it differs from the ones before it

Attempt = tuple[int, int]  # candidate k, how many times it was drawn before


class PromptModel:
    """Any image-text-to-text checkpoint that writes descriptions."""

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        self.model, self.processor, self.name = model, processor, name
        self.fingerprint: str | None = None
        ends = model.generation_config.eos_token_id
        own = {processor.tokenizer.eos_token_id, end_token(processor)}
        self._ends = sorted({*own, *(ends if isinstance(ends, list) else [ends])} - {None})

    @classmethod
    def from_pretrained(cls, name: str = "embedded", *, device: str | None = None) -> PromptModel:
        """Load a checkpoint by name (see `caig.models.hub`): fp32 on CPU, bf16 on GPU; CheckpointError if broken.

        An adapter's folder loads together with the checkpoint under it."""
        model, processor, fingerprint = load_adapted(name, "prompt", device)
        prompt_model = cls(model, processor, name=name)
        prompt_model.fingerprint = fingerprint
        return prompt_model

    @torch.inference_mode()
    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        """Write `n` descriptions of `product`, whose image is u8[H, W, 3] or None.

        Same seed, same texts. Candidate k depends on (seed, product id, k) and on the candidates before it, never on
        `n`; only rounding may differ with the batch. Each candidate is drawn up to `TRIES` times until its text and
        its setting (where it names a known one) differ from those before it, so a small model may still repeat a
        setting. Raises InputError for n < 1 and ImageError for a photo that was not read yet.
        """
        if n < 1:
            raise InputError("n", expected="at least 1 description", got=str(n), next_step="Ask for 1 or more.")
        read = self._read(product, seed)

        def draw(wanted: Sequence[Attempt]) -> list[str]:
            return self._continue(read, [seed_for(seed, product.id, *attempt) for attempt in wanted])

        chosen = choose_distinct(draw, n)
        if not all(chosen):
            raise CheckpointError(
                f"prompt model {self.name!r}",
                expected="a description",
                got=f"an empty text {TRIES} times for product {product.id!r}",
                next_step="Use a checkpoint trained to write descriptions.",
            )
        return [Description(product_id=product.id, text=text, author=self.name, seed=seed) for text in chosen]

    def _read(self, product: Product, seed: int) -> Prefill:
        """One forward pass over photo, title, category and attributes."""
        if not (product.image is None or isinstance(product.image, np.ndarray)):
            raise ImageError(
                f"product {product.id}",
                expected="its photo as u8[H, W, 3]",
                got=type(product.image).__name__,
                next_step="Read and cut out the photo first (caig.imaging).",
            )
        facts = product_facts(product.title, product.category, product.attributes)
        text = write_instruction(TASK, facts, Random(seed_for(seed, product.id, "instruction")))
        inputs = encode(self.processor, [text], [product.image], self.model.device, room=MAX_TOKENS)
        return prefill(self.model, inputs)

    def _continue(self, read: Prefill, seeds: Sequence[int]) -> list[str]:
        """Sample one continuation per seed, all in one batch over repeats of the cache."""
        return [self._decode(row) for row in self._sample(read.copy().repeat(len(seeds)), seeds).tolist()]

    def _sample(self, read: Prefill, seeds: Sequence[int]) -> Tensor:
        """Tokens i64[B, T] that follow `read`, row b drawn by `seeds[b]`; what stands after an end token is void."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        ends = torch.tensor(self._ends, device=self.model.device)
        logits = read.logits.index_fill(1, ends, -torch.inf)  # a description holds at least one token
        tokens = [gumbel_max(logits, generators)]
        ended = torch.zeros_like(tokens[0], dtype=torch.bool)
        while len(tokens) < MAX_TOKENS and not ended.all():
            read, _ = append(self.model, read, tokens[-1][:, None])
            tokens.append(gumbel_max(read.logits, generators))
            ended |= torch.isin(tokens[-1], ends)
        return torch.stack(tokens, 1)

    def _decode(self, tokens: list[int]) -> str:
        """Text up to the first end token, each phrase once; one cut by `MAX_TOKENS` loses its incomplete last one."""
        end = next((i for i, token in enumerate(tokens) if token in self._ends), None)
        text = " ".join(self.processor.tokenizer.decode(tokens[:end], skip_special_tokens=True).split())
        whole = text if end is not None or ", " not in text else text.rpartition(", ")[0]
        return ", ".join(dict.fromkeys(whole.split(", ")))


def gumbel_max(logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw one token per row of `logits` f[B, V] within the nucleus, i64[B]; row b uses `generators[b]` alone.

    argmax(logits + Gumbel noise) is a draw from softmax(logits) at temperature 1 (Gumbel, 1954).
    """
    uniform = torch.stack([torch.rand(logits.shape[1], generator=g, dtype=torch.float64) for g in generators])
    noise = -(-uniform.log()).log()
    return (nucleus(logits.float(), TOP_P) + noise.to(logits.device)).argmax(1)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """`logits` f32[B, V], -inf outside the fewest tokens that hold `top_p` of the probability (arXiv 1904.09751)."""
    ordered, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    outside = ordered.cumsum(1) - ordered >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), -torch.inf)


def choose_distinct(draw: Callable[[Sequence[Attempt]], list[str]], n: int) -> list[str]:
    """Choose a text per candidate: the first of its draws that repeats no earlier candidate's text or setting.

    `draw([(k, attempt), …])` returns their texts. After `TRIES` draws a repeated setting is allowed, then a repeated
    text. Draws wanted at the same time are made in one batch.
    """
    drawn: list[list[str]] = [[] for _ in range(n)]
    while True:
        chosen: list[str] = []
        wanted: list[Attempt] = []
        for k, texts in enumerate(drawn):
            text = _first_distinct(texts, chosen)
            if text is None and len(texts) < TRIES:
                wanted.append((k, len(texts)))
            else:
                chosen.append(text if text is not None else _least_repeated(texts, chosen))
        if not wanted:
            return chosen
        for (k, _), text in zip(wanted, draw(wanted), strict=True):
            drawn[k].append(text)


def _first_distinct(texts: Sequence[str], earlier: Sequence[str]) -> str | None:
    settings = {setting_of(text) for text in earlier} - {None}
    return next((text for text in texts if text and text not in earlier and setting_of(text) not in settings), None)


def _least_repeated(texts: Sequence[str], earlier: Sequence[str]) -> str:
    fresh = (text for text in texts if text and text not in earlier)
    return next(fresh, next(filter(None, texts), ""))
