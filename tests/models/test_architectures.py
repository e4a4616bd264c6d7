"""The table: architecture x (load, describe, log-probs, score, train step, save, reload), on tiny random checkpoints in
the layout of the real ones. Parity with transformers' own forward pass stands in test_mllm_reading.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caig.models import prompt_model as module
from caig.models.describing import write_request
from caig.models.mllm import TrainingBatch, answer_log_probs, encode, encode_training, load_mllm, save_mllm
from caig.models.prompt_model import PromptModel
from caig.models.reward_model import Calibration, RewardModel, RewardNetwork, save_reward, width_of
from caig.testing import check_prompt_model, check_reward_model, sample_product
from caig.types import Product
from tests.models.architectures import ARCHITECTURES

CLASSES = {
    "LLaVA 1.5": ("LlavaForConditionalGeneration", "LlavaProcessor"),
    "LLaVA-NeXT": ("LlavaNextForConditionalGeneration", "LlavaNextProcessor"),
    "Qwen2.5-VL": ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor"),
    "Qwen3-VL": ("Qwen3VLForConditionalGeneration", "Qwen3VLProcessor"),
    "Gemma 3": ("Gemma3ForConditionalGeneration", "Gemma3Processor"),
}
CALIBRATION = Calibration(
    temperature=1.0,
    slope=0.5,
    offset=0.0,
    spread=0.2,
    base_rates={"mug": 0.02},
    global_rate=0.03,
    global_offset=0.0,
    global_spread=0.5,
    calibrated_on="simulated",
    image_side=64,
)
ANSWERS = [["wooden desk, soft light", "sandy beach by the sea"], ["rustic kitchen table", "sea"]]


@dataclass(frozen=True)
class Made:
    name: str
    folder: Path
    prompt: PromptModel


@pytest.fixture(scope="module", params=ARCHITECTURES)
def made(request: pytest.FixtureRequest, checkpoint: Callable[[str], Path]) -> Made:
    folder = checkpoint(request.param)
    return Made(request.param, folder, PromptModel.from_pretrained(str(folder), device="cpu"))


def batch_for(processor: Any) -> TrainingBatch:
    product = sample_product()
    return encode_training(processor, ["mug", "a navy mug for coffee"], [product.image, product.image[:90]], ANSWERS)


def log_probs(model: Any, processor: Any) -> torch.Tensor:
    batch = batch_for(processor)
    return answer_log_probs(model, batch.inputs, batch.answers, batch.mask, batch.repeats).sum(1)


def test_load(made: Made):
    names = type(made.prompt.model).__name__, type(made.prompt.processor).__name__
    assert names == CLASSES[made.name]
    assert len(list(made.folder.glob("*.safetensors"))) > 1, "in shards, as the real ones are"
    assert made.prompt.fingerprint


def test_describe(made: Made, monkeypatch: pytest.MonkeyPatch):
    """Contract; four distinct texts; the same ones whatever was described in between, and however many at a time."""
    monkeypatch.setattr(module, "MAX_TOKENS", 12)  # random weights seldom end a text themselves
    check_prompt_model(made.prompt)
    product = sample_product()
    four = [d.text for d in made.prompt.describe(product, 4, seed=1)]
    made.prompt.describe(Product(id="b", title="leek"), 1, seed=1)
    assert [d.text for d in made.prompt.describe(product, 2, seed=1)] == four[:2]
    assert len(set(four)) == 4


def plain_tokens(prompt: PromptModel, product: Product) -> list[int]:
    """Greedy continuation by transformers' own generate."""
    inputs = encode(prompt.processor, [write_request(product, 1, seed=0)], [product.image])
    settings: dict[str, Any] = {"do_sample": False, "min_new_tokens": 1, "max_new_tokens": 24}
    out = prompt.model.generate(**inputs, **settings, eos_token_id=prompt._ends, pad_token_id=0)
    return out[0, inputs["input_ids"].shape[1] :].tolist()


@torch.inference_mode()
def test_describe_greedily_equals_generate(made: Made, monkeypatch: pytest.MonkeyPatch):
    """With a nucleus of one token; a photo, words alone, and the photo again."""
    monkeypatch.setattr(module, "TOP_P", 1e-9)
    monkeypatch.setattr(module, "MAX_TOKENS", 24)
    photo = sample_product()
    words = Product(id="b", title="a leek from the market", category="vegetable")
    for product in (photo, words, photo):
        read = made.prompt._read([product], [write_request(product, 1, seed=0)])
        expected = plain_tokens(made.prompt, product)
        rows = made.prompt._sample(read.select([0, 0, 0]), [1, 2, 3]).tolist()
        print(f"{made.name}: {len(expected)} tokens required equal")
        assert len(expected) > 1 and [row[: len(expected)] for row in rows] == [expected] * 3


@torch.inference_mode()
def test_describe_alone_equals_describe_in_a_batch(made: Made, monkeypatch: pytest.MonkeyPatch):
    """Several texts of a product, and two products of which one has fewer words and a photo of another shape."""
    monkeypatch.setattr(module, "MAX_TOKENS", 24)
    first = sample_product()
    second = Product(id="b", title="leek", category="vegetable", image=first.image[:64].copy())
    requests = [write_request(product, 1, seed=0) for product in (first, second)]
    reads = [made.prompt._read([product], [words]) for product, words in zip((first, second), requests, strict=True)]
    together = made.prompt._continue(made.prompt._read([first, second], requests), [1, 0, 0, 1], [1, 2, 3, 4])
    alone = [
        made.prompt._continue(reads[row], [0], [seed])[0] for row, seed in zip([1, 0, 0, 1], [1, 2, 3, 4], strict=True)
    ]
    assert together == alone and len(set(together)) == 4


@torch.no_grad()
def test_log_probs(made: Made):
    """Finite, negative, different for different answers; the padding of a batch makes no difference."""
    model, processor = made.prompt.model, made.prompt.processor
    together = log_probs(model, processor)
    assert together.isfinite().all() and (together < 0).all() and len(set(together.tolist())) == 4
    alone = encode_training(processor, ["mug"], [sample_product().image], [ANSWERS[0][1:]])
    own = answer_log_probs(model, alone.inputs, alone.answers, alone.mask, 1).sum()
    print(f"required: equal to 1e-4; measured: {abs(own - together[1]):.1e}")
    assert abs(own - together[1]) < 1e-4


def test_score(made: Made, tmp_path: Path):
    """The siamese reward model over this backbone: contract, and independence of order and companions."""
    model, processor = load_mllm(made.folder, "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RewardNetwork(model, width_of(model))
    save_reward(network, processor, CALIBRATION, tmp_path)
    reward = RewardModel.from_pretrained(str(tmp_path), device="cpu")
    check_reward_model(reward)
    images = [np.random.default_rng(k).integers(0, 256, (40, 30 + 20 * k, 3), np.uint8) for k in range(3)]
    three = [score.utility for score in reward.score(sample_product(), images, ids=list("abc"))]
    alone = reward.score(sample_product(), images[1:2], ids=["b"])[0].utility
    assert len(set(three)) == 3 and alone == pytest.approx(three[1], abs=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["cache", "checkpointing"])
def test_train_step(made: Made, checkpointing: bool):
    """A few steps on the answers alone lower the loss, and every weight stays finite."""
    model, processor = load_mllm(made.folder, "cpu", checkpointing=checkpointing)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(4):
        loss = -log_probs(model, processor).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{made.name}: loss {losses[0]:.2f} -> {losses[-1]:.2f}")
    assert losses[-1] < losses[0] - 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@torch.no_grad()
def test_save_and_reload(made: Made, tmp_path: Path):
    """Saved as fp16 and loaded again: the same log-probabilities up to fp16's rounding, the same template and ends."""
    before = made.prompt
    save_mllm(before.model, before.processor, tmp_path)
    after = PromptModel.from_pretrained(str(tmp_path), device="cpu")
    gap = (log_probs(before.model, before.processor) - log_probs(after.model, after.processor)).abs().max()
    print(f"{made.name}: required below 0.1 nat an answer, measured {gap:.1e}")
    assert 0 < gap < 0.1
    assert (type(after.model), after._ends) == (type(before.model), before._ends)
    assert after.processor.chat_template == before.processor.chat_template
    assert after.fingerprint != before.fingerprint


@pytest.mark.gpu
def test_bfloat16_on_a_gpu(made: Made):
    prompt = PromptModel.from_pretrained(str(made.folder))
    check_prompt_model(prompt)
    assert prompt.model.dtype == torch.bfloat16


def test_bfloat16(made: Made):
    """What a GPU runs by default, here on the CPU: pictures and words through all parts in half precision."""
    prompt = PromptModel.from_pretrained(str(made.folder), device="cpu", dtype="bfloat16")
    assert prompt.model.dtype == torch.bfloat16
    assert all(description.text for description in prompt.describe(sample_product(), 2, seed=0))
    model, processor = made.prompt.model, made.prompt.processor
    with torch.no_grad():
        gap = (log_probs(prompt.model, processor) / log_probs(model, processor) - 1).abs().max()
    print(f"{made.name}: required within 10 %, measured {gap:.1%}")
    assert gap < 0.1
