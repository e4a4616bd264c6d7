"""A multimodal language model as judge: does a background suit a product?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from caig.data.instructions import product_facts
from caig.models.adapters import load_adapted
from caig.models.mllm import answer_log_probs, encode_training
from caig.types import Product

QUESTION = (
    "Product: {product}. Would an ad for it look natural and fitting in front of this background: {text}? Yes or no?"
)
ANSWERS = ("Yes", "No")


class Judge:
    """Any image-text checkpoint; it needs to have learned to answer questions, which the embedded one has not."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    @classmethod
    def from_pretrained(cls, name: str) -> Judge:
        """Load a checkpoint by name (see `caig.models.hub`); CheckpointError if broken."""
        model, processor, _ = load_adapted(name, "prompt")
        return cls(model, processor)

    @torch.inference_mode()
    def suits(self, product: Product, texts: Sequence[str]) -> list[float]:
        """P(Yes) / (P(Yes) + P(No)) that each text suits `product`, whose image is u8[H, W, 3] or None."""
        facts = product_facts(product.title, product.category, product.attributes)
        image = product.image if isinstance(product.image, np.ndarray) else None
        questions = [QUESTION.format(product=facts, text=text) for text in texts]
        count = len(texts)
        batch = encode_training(self.processor, questions, [image] * count, [ANSWERS] * count, self.model.device)
        scores = answer_log_probs(self.model, batch.inputs, batch.answers, batch.mask, batch.repeats).sum(1)
        return scores.view(count, 2).softmax(1)[:, 0].tolist()
