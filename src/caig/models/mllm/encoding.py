"""Chat turns with pictures, and the answers to them, as tokens: processor and chat template are the checkpoint's own.

Prompts are padded left and answers right, so that the two meet. Nothing is ever cut: a prompt that is too long for the
model is an error, because a picture that lost some of its tokens is no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from caig.errors import CheckpointError, InputError
from caig.types import Pixels

IGNORED = -100  # label of a token without loss
Pictures = Pixels | Sequence[Pixels] | None  # of one turn


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingBatch:
    """B encoded prompts and the answers to them, `repeats` a prompt, side by side."""

    inputs: Any
    answers: Tensor
    """i64[B·repeats, T], each closed by the template's end token and padded right."""
    mask: Tensor
    """i64[B·repeats, T], 1 on answer tokens."""
    repeats: int

    @property
    def labels(self) -> Tensor:
        """Targets i64[B·repeats, T]: the answers' tokens; padding carries no loss, nor does any prompt."""
        return self.answers.masked_fill(self.mask == 0, IGNORED)


def chat_prompt(processor: Any, text: str, *, images: int) -> str:
    """One user turn in the checkpoint's own chat template, `images` pictures first, up to where the answer starts."""
    return _render(processor, [_user_turn(text, images)], add_generation_prompt=True)


def encode(
    processor: Any, texts: Sequence[str], images: Sequence[Pictures], device: Any = "cpu", *, room: int = 0
) -> Any:
    """Model inputs for one user turn per text, padded left, with its u8[H, W, 3] picture or pictures, if any.

    `room` tokens are kept free for an answer. Raises InputError for a text with control tokens and for a prompt longer
    than the model can read, CheckpointError for a checkpoint without chat template.
    """
    rows = [_as_list(pictures) for pictures in images]
    for text in texts:
        _check_text(processor, text)
    prompts = [chat_prompt(processor, text, images=len(row)) for text, row in zip(texts, rows, strict=True)]
    pictures = [[Image.fromarray(image) for image in row] for row in rows if row]
    processor.tokenizer.padding_side = "left"
    inputs = processor(
        text=prompts,
        images=pictures or None,
        return_tensors="pt",
        padding=True,
        truncation=False,
        add_special_tokens=not _opens_with_bos(processor, prompts[0]),
    )
    _check_length(processor, inputs, room)
    return inputs.to(device)


def encode_answers(processor: Any, answers: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokens i64[N, T] of the answers as they follow a prompt, each closed by the template's end token, and their mask.

    Padded right; `mask` i64[N, T] is 1 on answer tokens.
    """
    rows = [_answer_tokens(processor, answer) for answer in answers]
    length = max(map(len, rows))
    tokens = [row + [processor.tokenizer.pad_token_id] * (length - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
    return torch.tensor(tokens), torch.tensor(mask)


def encode_training(
    processor: Any,
    texts: Sequence[str],
    images: Sequence[Pictures],
    answers: Sequence[Sequence[str]],
    device: Any = "cpu",
) -> TrainingBatch:
    """Prompts (see `encode`) with their answers, as many for each prompt.

    Raises InputError when their numbers differ, or when a prompt with its longest answer is longer than the model can
    read.
    """
    counts = {len(own) for own in answers}
    if len(counts) != 1 or 0 in counts or len(answers) != len(texts):
        got = f"{len(texts)} prompts with {sorted(len(own) for own in answers)}"
        raise InputError("answers", expected="as many for each prompt", got=got, next_step="Give one or more to each.")
    tokens, mask = encode_answers(processor, [text for own in answers for text in own])
    inputs = encode(processor, texts, images, device, room=tokens.shape[1])
    return TrainingBatch(inputs=inputs, answers=tokens.to(device), mask=mask.to(device), repeats=counts.pop())


def end_token(processor: Any) -> int:
    """The token that closes an answer: what the chat template writes after it, else the tokenizer's end token."""
    tokenizer = processor.tokenizer
    _, after = _around_answer(processor)
    written = tokenizer.encode(after.strip(), add_special_tokens=False)[:1]
    return written[0] if written and written[0] in tokenizer.all_special_ids else tokenizer.eos_token_id


def _answer_tokens(processor: Any, answer: str) -> list[int]:
    """Tokens of `answer` after a prompt, with what the template writes before it (often a space) and the end token."""
    tokenizer = processor.tokenizer
    _check_text(processor, answer)
    prompt, before = chat_prompt(processor, "?", images=0), _around_answer(processor)[0]
    head = tokenizer.encode(prompt, add_special_tokens=False)
    whole = tokenizer.encode(prompt + before + answer, add_special_tokens=False)
    # In the context of its prompt: by itself a sentencepiece tokenizer would write a second space before it.
    own = whole[len(head) :] if whole[: len(head)] == head else tokenizer.encode(before + answer)
    return [*own, end_token(processor)]


def _around_answer(processor: Any) -> tuple[str, str]:
    """What the chat template writes before an answer (after the generation prompt) and after it."""
    turn, answer = _user_turn("?", 0), "answer"
    reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    prompt, whole = _render(processor, [turn], add_generation_prompt=True), _render(processor, [turn, reply])
    if not whole.startswith(prompt):  # templates of thinking models: what they open is closed by the model itself
        return "", whole.rpartition(answer)[2]
    before, _, after = whole.removeprefix(prompt).rpartition(answer)
    return before, after


def _user_turn(text: str, images: int) -> dict[str, Any]:
    return {"role": "user", "content": [*({"type": "image"} for _ in range(images)), {"type": "text", "text": text}]}


def _render(processor: Any, turns: Sequence[Any], *, add_generation_prompt: bool = False) -> str:
    options = {"chat_template": processor.chat_template, "add_generation_prompt": add_generation_prompt}
    try:  # through the tokenizer: some processors look at their video part on the way
        return processor.tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except ValueError as error:
        raise CheckpointError(
            "chat template",
            expected="one in the checkpoint's folder",
            got=str(error)[:160],
            next_step="Add its chat_template.jinja; an instruct checkpoint has one.",
        ) from error


def _opens_with_bos(processor: Any, prompt: str) -> bool:
    """Some templates write the start token themselves, others leave it to the tokenizer."""
    bos = processor.tokenizer.bos_token
    return bos is not None and prompt.startswith(bos)


def _check_text(processor: Any, text: str) -> None:
    """InputError for a text that holds one of the tokens by which the model knows pictures and turns."""
    found = [token for token in processor.tokenizer.all_special_tokens if len(token) > 2 and token in text]
    if found:
        raise InputError(
            "text",
            expected="words",
            got=f"the control token {found[0]!r} in {text[:80]!r}",
            next_step="Take it out of title or attributes.",
        )


def _check_length(processor: Any, inputs: Any, room: int) -> None:
    limit = processor.tokenizer.model_max_length
    lengths = inputs["attention_mask"].sum(1)
    row = int(lengths.argmax())
    length = int(lengths[row])
    if length + room > limit:
        token = getattr(processor.tokenizer, "image_token_id", None) or getattr(processor, "image_token_id", -1)
        pictures = int((inputs["input_ids"][row] == token).sum())
        raise InputError(
            f"prompt {row}",
            expected=f"at most {limit} tokens, {room} of them for the answer",
            got=f"{length + room}, {pictures} of them of pictures",
            next_step="Shorten the text or show fewer or smaller pictures; nothing is cut.",
        )


def _as_list(pictures: Pictures) -> list[Pixels]:
    if pictures is None:
        return []
    return list(pictures) if isinstance(pictures, Sequence) else [pictures]
