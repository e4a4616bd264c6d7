"""The judge of match rates: P(Yes) against P(No), held against a plain forward pass over question and answer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from caig.data.instructions import product_facts
from caig.models.judge import ANSWERS, QUESTION, Judge
from caig.models.mllm import answer_log_probs, encode_training
from caig.models.mllm.encoding import encode, encode_answers
from caig.types import Product
from tests.recipes.pcpo_toys import write_prompt_model

TEXTS = ["sandy beach by the sea, golden hour sunlight", "rustic kitchen table", "sandy beach"]


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge.from_pretrained(str(write_prompt_model(tmp_path_factory.mktemp("judge"))))


@pytest.fixture
def product() -> Product:
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    return Product(id="mug", title="blue mug", category="mug", image=photo)


def log_probability(judge: Judge, product: Product, text: str, answer: str) -> float:
    """log P(answer, end | question), every token read in one pass, no cache."""
    question = QUESTION.format(product=product_facts(product.title, product.category, {}), text=text)
    inputs = encode(judge.processor, [question], [product.image], "cpu")
    tokens = encode_answers(judge.processor, [answer])[0]
    joined = torch.cat([inputs["input_ids"], tokens], 1)
    more = {"attention_mask": torch.ones_like(joined), "pixel_values": inputs["pixel_values"]}
    logits = judge.model(input_ids=joined, **more).logits[0, -tokens.shape[1] - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, tokens[0][:, None]).sum())


@torch.inference_mode()
def test_it_weighs_yes_against_no(judge: Judge, product: Product):
    yes, no = ANSWERS
    for text, share in zip(TEXTS, judge.suits(product, TEXTS), strict=True):
        odds = log_probability(judge, product, text, yes) - log_probability(judge, product, text, no)
        required = 1 / (1 + np.exp(-odds))
        print(f"{text}: required {required:.6f}, measured {share:.6f}")
        assert share == pytest.approx(required, abs=1e-5)


def test_a_text_is_judged_alike_alone_and_among_others(judge: Judge, product: Product):
    assert judge.suits(product, TEXTS) == pytest.approx([judge.suits(product, [t])[0] for t in TEXTS], abs=1e-5)


def test_it_learns_what_it_is_taught(tmp_path: Path, product: Product):
    judge = Judge.from_pretrained(str(write_prompt_model(tmp_path / "judge")))
    facts = product_facts(product.title, product.category, {})
    questions = [QUESTION.format(product=facts, text=text) for text in TEXTS[:2]]
    batch = encode_training(judge.processor, questions, [product.image] * 2, [["Yes"], ["No"]], judge.model.device)
    optimizer = torch.optim.Adam(judge.model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = -answer_log_probs(judge.model, batch.inputs, batch.answers, batch.mask, batch.repeats).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    beach, kitchen = judge.suits(product, TEXTS[:2])
    assert beach > 0.9
    assert kitchen < 0.1
