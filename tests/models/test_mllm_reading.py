"""Caches, features of pictures, logits and log-probabilities of answers: all against the plain forward pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from caig.models.mllm import (
    answer_log_probs,
    answer_logits,
    encode,
    encode_training,
    join,
    load_mllm,
    see,
    with_features,
)
from tests.models.architectures import ARCHITECTURES

TEXTS = ["mug", "a much longer title of a product, navy blue"]
ANSWERS = [["wooden desk", "sea"], ["sandy beach by the sea, soft light", "kitchen table"]]
TOLERANCE = 1e-4

Loaded = tuple[Any, Any]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def loaded(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> Loaded:
    return load_mllm(checkpoint(request.param), "cpu")


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


PICTURES = [photo(40, 60), [photo(64, 32), photo(30, 30)]]


def plain_logits(model: Any, alone: Any, answer: torch.Tensor) -> torch.Tensor:
    """The logits that predict each token of `answer` i64[T], from one whole sequence without padding and cache."""
    kinds = {
        key: F.pad(alone[key], (0, len(answer))) for key in ("token_type_ids", "mm_token_type_ids") if key in alone
    }
    ids = torch.cat([alone["input_ids"], answer[None]], 1)
    whole = {**alone, **kinds, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return model(**whole, use_cache=False).logits[0, -len(answer) - 1 : -1]


def worst_gap(model: Any, processor: Any, got: torch.Tensor, batch: Any) -> float:
    gaps = []
    for row, (answer, mask) in enumerate(zip(batch.answers, batch.mask, strict=True)):
        alone = encode(processor, [TEXTS[row // 2]], [PICTURES[row // 2]])
        length = int(mask.sum())
        gaps.append((got[row, :length] - plain_logits(model, alone, answer[:length])).abs().max())
    return float(max(gaps))


def check_close(what: str, gap: float) -> None:
    print(f"{what}: required below {TOLERANCE}, measured {gap:.1e}")
    assert gap < TOLERANCE


def test_answers_over_a_shared_cache_equal_whole_sequences(loaded: Loaded):
    """Prompts of different length, with one picture and with two, left-padded, two answers each; twice in a row."""
    model, processor = loaded
    batch = encode_training(processor, TEXTS, PICTURES, ANSWERS)
    assert (batch.inputs["attention_mask"][0] == 0).any(), "the first prompt is padded"
    with torch.no_grad():
        encoded = (batch.inputs, batch.answers, batch.mask, batch.repeats)
        answer_logits(model, *encoded)
        words = encode_training(processor, TEXTS, [None, None], ANSWERS)
        answer_logits(model, words.inputs, words.answers, words.mask, 2)  # leaves no state behind that spoils the next
        check_close("logits", worst_gap(model, processor, answer_logits(model, *encoded), batch))


def test_words_after_pictures_read_as_words_alone(loaded: Loaded):
    model, processor = loaded
    words = encode_training(processor, TEXTS[:1], [None], [["sea"]])
    with torch.no_grad():
        before = answer_logits(model, words.inputs, words.answers, words.mask, 1)
        pictures = encode(processor, TEXTS[1:], PICTURES[1:])
        model(**pictures)
        after = answer_logits(model, words.inputs, words.answers, words.mask, 1)
        plain = plain_logits(model, words.inputs, words.answers[0])
    assert torch.equal(before, after)
    check_close("words", float((after[0] - plain).abs().max()))


def test_features_of_pictures_are_used_again(loaded: Loaded):
    """Seen once, in another order, and shown to other prompts: the same logits as from pixels."""
    model, processor = loaded
    batch = encode_training(processor, TEXTS, PICTURES, ANSWERS)
    once = see(model, encode(processor, ["x", "y", "z"], [PICTURES[1][1], PICTURES[0], PICTURES[1][0]]))
    shown = with_features(batch.inputs, [once[1], once[2], once[0]])
    assert not any(key.startswith("pixel") for key in shown) and not once[0].tokens.requires_grad
    with torch.no_grad():
        got = answer_logits(model, shown, batch.answers, batch.mask, 2)
        check_close("logits from features", worst_gap(model, processor, got, batch))
    words = encode(processor, ["x"], [None])
    assert see(model, words) == [] and with_features(words, []) == dict(words)


def test_training_sequences_carry_labels_on_answers_only(loaded: Loaded):
    """The loss of a plain pass over `join` is the mean over answer tokens of the log-probabilities; by hand too."""
    model, processor = loaded
    batch = encode_training(processor, TEXTS, PICTURES, [own[:1] for own in ANSWERS])
    joined = join(model, batch.inputs, batch.answers, batch.mask)
    tokens = joined["input_ids"][joined["labels"] != -100]
    assert tokens.tolist() == batch.answers[batch.mask.bool()].tolist()
    assert (joined["labels"][:, : batch.inputs["input_ids"].shape[1]] == -100).all()
    with torch.no_grad():
        log_probs = answer_log_probs(model, batch.inputs, batch.answers, batch.mask, 1)
        loss = model(**joined).loss
    assert log_probs.shape == batch.answers.shape and (log_probs[batch.mask == 0] == 0).all()
    check_close("loss", float((loss + log_probs.sum() / batch.mask.sum()).abs()))


def test_gradients_are_the_same_with_cache_and_with_checkpointing(loaded: Loaded):
    model, processor = loaded
    batch = encode_training(processor, TEXTS, PICTURES, ANSWERS)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        answer_log_probs(model, batch.inputs, batch.answers, batch.mask, 2).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    cached = gradients()
    model.train()
    model.activation_checkpointing_enable()
    checkpointed = gradients()
    model.activation_checkpointing_disable()
    model.eval()
    scale = max(float(g.abs().max()) for g in cached)
    assert len(cached) == len(checkpointed) and scale > 0
    gap = max(float((a - b).abs().max()) for a, b in zip(cached, checkpointed, strict=True))
    check_close("gradients, relative", gap / scale)


def test_batches_read_like_single_prompts_at_the_last_token(loaded: Loaded):
    """What the reward model's heads see: the hidden state of the last token."""
    model, processor = loaded
    with torch.no_grad():
        both = model.model(**encode(processor, TEXTS, PICTURES)).last_hidden_state[:, -1]
        alone = [
            model.model(**encode(processor, [text], [own])).last_hidden_state[0, -1]
            for text, own in zip(TEXTS, PICTURES, strict=True)
        ]
    check_close("last hidden state", float((both - torch.stack(alone)).abs().max()))


def test_it_reads_pictures(loaded: Loaded):
    model, processor = loaded
    batch = encode_training(processor, TEXTS, PICTURES, ANSWERS)
    other = encode(processor, TEXTS, [photo(40, 60) // 2, PICTURES[1]])
    with torch.no_grad():
        first, second = (answer_logits(model, i, batch.answers, batch.mask, 2) for i in (batch.inputs, other))
    assert (first[:2] - second[:2]).abs().max() > 1e-3 and torch.allclose(first[2:], second[2:], atol=1e-5)
