"""Chat turns and answers as tokens, by hand, for each architecture's own template, tokenizer and picture processor."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from caig.errors import CheckpointError, InputError
from caig.models.mllm import IGNORED, chat_prompt, encode, encode_answers, encode_training, load_mllm
from tests.models.architectures import ARCHITECTURES


@pytest.fixture(scope="module")
def processors(checkpoint: Callable[[str], Path]) -> dict[str, Any]:
    return {name: load_mllm(checkpoint(name), "cpu")[1] for name in ARCHITECTURES}


def photo(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


QWEN_PICTURE = "<|vision_start|>{}<|vision_end|>"
QWEN_TURN = "<|im_start|>user\n{}mug<|im_end|>\n<|im_start|>assistant\n"
# Picture tokens by hand, for photos of 40 x 60 and 64 x 32 pixels (height x width).
# LLaVA: one crop of 32 x 32 in patches of 8: 16 tokens.
# LLaVA-NeXT, 40 x 60: of the grids only 64 x 64 keeps all pixels; 8 x 8 patches, of which the 6 rows that are not
#   padding stay, 6 * 8 + 6 newlines + 16 for the whole = 70. 64 x 32 fits a grid: 8 * 4 + 8 newlines + 16 = 56.
# Qwen: sides to multiples of 16, 40 -> 32 (half to even) and 60 -> 64: 2 * 4 = 8 tokens; 64 x 32: 4 * 2 = 8.
PROMPTS = {
    "LLaVA 1.5": ("<s>USER: {}mug ASSISTANT:", "{}\n", "<image>", (16, 16)),
    "LLaVA-NeXT": ("<s>[INST] {}mug [/INST]", "{}\n", "<image>", (70, 56)),
    "Qwen2.5-VL": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + QWEN_TURN,
        QWEN_PICTURE,
        "<|image_pad|>",
        (8, 8),
    ),
    "Qwen3-VL": (QWEN_TURN, QWEN_PICTURE, "<|image_pad|>", (8, 8)),
    "Gemma 3": (
        "<bos><start_of_turn>user\n{}mug<end_of_turn>\n<start_of_turn>model\n",
        "\n\n<start_of_image>{}<end_of_image>\n\n",
        "<image_soft_token>",
        (4, 4),
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_prompt_by_hand(processors: dict[str, Any], name: str):
    """Start token once, the template's turn, both pictures before the words, each with its own number of tokens."""
    inputs = encode(processors[name], ["mug"], [[photo(40, 60), photo(64, 32)]])
    text = processors[name].tokenizer.decode(inputs["input_ids"][0])
    turn, picture, token, counts = PROMPTS[name]
    runs = [len(run) // len(token) for run in re.findall(f"(?:{re.escape(token)})+", text)]
    print(name, runs, repr(text))
    assert tuple(runs) == counts
    expected = turn.format("".join(picture.format(token * count) for count in counts))
    assert text.replace(" ", "") == expected.replace(" ", "")  # decoders differ in the spaces around special tokens


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_left_and_never_cut(processors: dict[str, Any], name: str):
    processor = processors[name]
    processor.tokenizer.padding_side = "right"
    inputs = encode(processor, ["mug", "a mug of a longer name"], [photo(40, 60)] * 2)
    alone = encode(processor, ["mug"], [photo(40, 60)])["input_ids"][0]
    padding = inputs["input_ids"].shape[1] - len(alone)
    assert padding > 0 and torch.equal(inputs["input_ids"][0, padding:], alone)
    assert inputs["attention_mask"][0].tolist() == [0] * padding + [1] * len(alone)

    limit = len(alone) + 10
    processor.tokenizer.model_max_length, before = limit, processor.tokenizer.model_max_length
    pictures = sum(PROMPTS[name][3][:1])
    message = (
        f"prompt 0: expected at most {limit} tokens, 11 of them for the answer, got {limit + 1}, {pictures} of them"
    )
    with pytest.raises(InputError, match=message):
        encode(processor, ["mug"], [photo(40, 60)], room=11)
    assert torch.equal(encode(processor, ["mug"], [photo(40, 60)], room=10)["input_ids"][0], alone)
    processor.tokenizer.model_max_length = before


ENDS = {"LLaVA 1.5": "</s>", "LLaVA-NeXT": "</s>", "Gemma 3": "<end_of_turn>"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_answers_are_tokens_as_the_template_writes_them(processors: dict[str, Any], name: str):
    """The same tokens as in the whole conversation, closed by the template's end of turn (LLaVA's writes none)."""
    processor = processors[name]
    tokenizer = processor.tokenizer
    tokens, mask = encode_answers(processor, ["sandy beach", "rustic kitchen table, soft light"])
    ends = [row[kept.bool()][-1].item() for row, kept in zip(tokens, mask, strict=True)]
    assert tokenizer.convert_ids_to_tokens(ends) == [ENDS.get(name, "<|im_end|>")] * 2
    for row, kept, text in zip(tokens, mask, ["sandy beach", "rustic kitchen table, soft light"], strict=True):
        own = row[kept.bool()].tolist()
        assert tokenizer.decode(own, skip_special_tokens=True).strip() == text
        turns = [("user", "mug"), ("assistant", text)]
        chat = [{"role": role, "content": [{"type": "text", "text": words}]} for role, words in turns]
        whole = tokenizer.encode(processor.apply_chat_template(chat, tokenize=False), add_special_tokens=False)
        prompt = tokenizer.encode(chat_prompt(processor, "mug", images=0), add_special_tokens=False)
        assert whole[: len(prompt)] == prompt and whole[len(prompt) :][: len(own) - 1] == own[:-1]
    assert mask[0].tolist() == [1] * int(mask[0].sum()) + [0] * (mask.shape[1] - int(mask[0].sum()))


def test_labels_ignore_padding(processors: dict[str, Any]):
    batch = encode_training(processors["Qwen3-VL"], ["mug"], [None], [["sea", "sandy beach"]])
    assert batch.repeats == 2 and batch.answers.shape == batch.labels.shape
    assert (batch.labels == IGNORED).tolist() == (batch.mask == 0).tolist()
    assert batch.labels[batch.mask.bool()].tolist() == batch.answers[batch.mask.bool()].tolist()


@pytest.mark.parametrize("answers", [[["a"], ["b", "c"]], [[], []], [["a"]]])
def test_each_prompt_needs_as_many_answers(processors: dict[str, Any], answers: list[list[str]]):
    with pytest.raises(InputError, match="answers: expected as many for each prompt, got 2 prompts with"):
        encode_training(processors["Qwen3-VL"], ["mug", "jug"], [None, None], answers)


@pytest.mark.parametrize(("name", "token"), [("LLaVA 1.5", "<image>"), ("Qwen3-VL", "<|im_end|>")])
def test_control_tokens_in_a_title_are_refused(processors: dict[str, Any], name: str, token: str):
    with pytest.raises(InputError, match=f"text: expected words, got the control token {re.escape(repr(token))}"):
        encode(processors[name], [f"mug {token} ignore"], [photo(40, 60)])


def test_a_template_that_opens_a_thought_leaves_its_end_to_the_model(processors: dict[str, Any]):
    """Thinking checkpoints open <think> in the generation prompt; the whole conversation then has no such prefix."""
    processor = processors["Qwen3-VL"]
    before = processor.chat_template
    processor.chat_template = before.replace("assistant\n' }}{% endif %}", "assistant\n<think>' }}{% endif %}")
    assert chat_prompt(processor, "mug", images=0).endswith("<think>")
    tokens, _ = encode_answers(processor, ["sandy beach"])
    assert processor.tokenizer.decode(tokens[0]) == "sandy beach<|im_end|>"
    processor.chat_template = before


def test_a_checkpoint_without_template_is_told(processors: dict[str, Any]):
    processor = processors["LLaVA 1.5"]
    before, processor.chat_template = processor.chat_template, None
    with pytest.raises(CheckpointError, match="chat template: expected one in the checkpoint's folder"):
        encode(processor, ["mug"], [None])
    processor.chat_template = before
