"""The prompt model: writes background descriptions for a product from its photo, title and attributes.

Sampling follows the paper (temperature 1.0, one of the paraphrased instructions) with three deviations: a nucleus of
`TOP_P`; Gumbel-max draws from each candidate's own generator in place of the global one, so that a seed gives the same
texts; and candidates that name the product, or repeat a text or a setting, are drawn again: a background holds no
second product, and the ads of a product should differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from caig.models.adapters import load_adapted
from caig.models.describing import MAX_TOKENS, TOP_P, describe_distinct, tidy, write_request
from caig.models.hub import Dtype
from caig.models.mllm import Prefill, append, encode, end_token, prefill
from caig.types import Description, Product


class PromptModel:
    """Any image-text-to-text checkpoint that writes descriptions."""

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        self.model, self.processor, self.name = model, processor, name
        self.fingerprint: str | None = None
        ends = model.generation_config.eos_token_id
        own = {processor.tokenizer.eos_token_id, end_token(processor)}
        self._ends = sorted({*own, *(ends if isinstance(ends, list) else [ends])} - {None})

    @classmethod
    def from_pretrained(
        cls, name: str = "embedded", *, device: str | None = None, dtype: Dtype | None = None, four_bit: bool = False
    ) -> PromptModel:
        """Load a checkpoint by name (see `caig.models.hub`); options as in `load_mllm`. CheckpointError if broken.

        An adapter's folder loads together with the checkpoint under it."""
        model, processor, fingerprint = load_adapted(name, "prompt", device, dtype=dtype, four_bit=four_bit)
        prompt_model = cls(model, processor, name=name)
        prompt_model.fingerprint = fingerprint
        return prompt_model

    def describe(self, product: Product, n: int, *, seed: int, differ: bool = True) -> list[Description]:
        """Write `n` descriptions of `product`, whose image is u8[H, W, 3] or None.

        Same seed, same texts. Candidate k depends on (seed, product id, k) and on the candidates before it, never on
        `n`; only rounding may differ with the batch. Each candidate is drawn up to `TRIES` times until it does not name
        the product, and text and setting (where it names a known one) differ from those before it, so a small model
        may still repeat a setting. Without `differ` each is drawn by itself: what the model prefers, not what it knows.
        Raises InputError for n < 1 and ImageError for a photo that was not read yet.
        """
        return self.describe_batch([product], n, seed=seed, differ=differ)[0]

    @torch.inference_mode()
    def describe_batch(
        self, products: Sequence[Product], n: int, *, seed: int, differ: bool = True
    ) -> list[list[Description]]:
        """`describe` for one or more products at a time, which all have a photo or all have none: the same texts but
        for rounding, in less time, and in the memory of as many prompts and texts."""
        read = self._read(products, [write_request(product, n, seed=seed) for product in products])

        def draw(rows: Sequence[int], seeds: Sequence[int]) -> list[str]:
            return self._continue(read, rows, seeds)

        return describe_distinct(draw, products, n, seed=seed, author=self.name, differ=differ)

    def _read(self, products: Sequence[Product], requests: Sequence[str]) -> Prefill:
        """One forward pass over photos and words."""
        photos = [product.image for product in products]
        return prefill(self.model, encode(self.processor, requests, photos, self.model.device, room=MAX_TOKENS))

    def _continue(self, read: Prefill, rows: Sequence[int], seeds: Sequence[int]) -> list[str]:
        """Sample one continuation per seed, all in one batch: of the prompt in that row of `read`, which is kept."""
        return [self._decode(tokens) for tokens in self._sample(read.select(rows), seeds).tolist()]

    def _sample(self, read: Prefill, seeds: Sequence[int]) -> Tensor:
        """Tokens i64[B, T] that follow `read`, row b drawn by `seeds[b]`; what stands after an end token is void."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        ends = torch.tensor(self._ends, device=self.model.device)
        logits = read.logits.index_fill(1, ends, -torch.inf)  # a description holds at least one token
        tokens = [self._draw(logits, generators)]
        ended = torch.zeros_like(tokens[0], dtype=torch.bool)
        while len(tokens) < MAX_TOKENS and not ended.all():
            read, _ = append(self.model, read, tokens[-1][:, None])
            tokens.append(self._draw(read.logits, generators))
            ended |= torch.isin(tokens[-1], ends)
        return torch.stack(tokens, 1)

    def _draw(self, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Token i64[B] that follows in each row."""
        return gumbel_max(logits, generators)

    def _decode(self, tokens: list[int]) -> str:
        """Text up to the first end token; one that has none was cut by `MAX_TOKENS`."""
        end = next((i for i, token in enumerate(tokens) if token in self._ends), None)
        return tidy(self.processor.tokenizer.decode(tokens[:end], skip_special_tokens=True), complete=end is not None)


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
