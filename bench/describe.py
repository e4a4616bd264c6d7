"""Descriptions per second and peak memory of prompt models: python bench/describe.py --models embedded,llava-1.6-7b

`llava-1.6-7b` and `qwen3-vl-4b` are full-size architectures with random weights; anything else is a name that caig
loads. caig reads photo and words once and writes n descriptions at once; the published way reads and writes n times.
Random weights seldom end a text, so each is as long as allowed.
"""

from __future__ import annotations

import published
from full_size import language_model
from turns import Run, compare_both

from caig.models.prompt_model import PromptModel
from caig.testing import sample_product


def ours(name: str, n: int, device: str, dtype: str) -> Run:
    """Describe a product n times at once."""
    model = PromptModel(*language_model(name, "prompt", device, dtype), name=name)
    return lambda turn: len(model.describe(sample_product(), n, seed=turn))


def theirs(name: str, n: int, device: str, dtype: str) -> Run:
    """Describe a product n times, one after another."""
    model, processor = language_model(name, "prompt", device, dtype)
    return lambda turn: len(published.describe(model, processor, sample_product(), n, seed=turn))


if __name__ == "__main__":
    compare_both(__doc__, "prompt", ours, theirs, n=4, what="descriptions of a product", unit="descriptions")
