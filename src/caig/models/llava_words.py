"""How the original LLaVA-1.6 turns a conversation into tokens and a picture into tiles, as a transformers processor.

It cuts the text at the image's mark and tokenizes the pieces one by one, so that each gets the leading space of
SentencePiece; here one string with `<image>` as a special token is tokenized, and a check says that both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AddedToken, LlamaTokenizer, LlavaNextImageProcessorPil, LlavaNextProcessor

from caig.errors import CheckpointError, MissingExtraError

IMAGE = "<image>"
PROMPT_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
TEMPLATE = (
    "{{{{ bos_token }}}}{system}{{% for message in messages %}}"
    "{{% if message['role'] == 'user' %}}USER: {{% else %}}ASSISTANT: {{% endif %}}"
    "{{% for part in message['content'] %}}"
    "{{{{ '<image>\n' if part['type'] == 'image' else part['text'] }}}}{{% endfor %}}"
    "{{% if message['role'] == 'assistant' %}}{{{{ eos_token }}}}{{% else %}} {{% endif %}}{{% endfor %}}"
    "{{% if add_generation_prompt %}}ASSISTANT:{{% endif %}}"
)
SAMPLE = "Write a background for an ad of Oat milk, 1 l. Vanilla"


def build_processor(source: Path, settings: Mapping[str, Any], tower: Mapping[str, int], *, system: str) -> Any:
    """The processor of the checkpoint in `source`; `system` opens each conversation ("" for the reward model).

    CheckpointError when there is no tokenizer, or when it would cut a prompt otherwise than the original.
    """
    side = tower["image_size"]
    pictures = LlavaNextImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        # The original writes (width, height), transformers (height, width).
        image_grid_pinpoints=[[height, width] for width, height in settings["image_grid_pinpoints"]],
    )
    tokenizer = _tokenizer(source)
    processor = LlavaNextProcessor(
        image_processor=pictures,
        tokenizer=tokenizer,
        patch_size=tower["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.format(system=system),
    )
    _check_cuts(source, processor)
    return processor


def _tokenizer(source: Path) -> Any:
    if not any((source / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        expected = "tokenizer.model or tokenizer.json"
        raise CheckpointError(str(source), expected=expected, got="neither", next_step="Copy it from the original.")
    if not (source / "tokenizer.json").is_file():
        try:
            import sentencepiece  # noqa: F401
        except ImportError:
            raise MissingExtraError("sentencepiece", "llava") from None
    tokenizer = LlamaTokenizer.from_pretrained(source, legacy=True, local_files_only=True)
    tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    return tokenizer


def _check_cuts(source: Path, processor: Any) -> None:
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": SAMPLE}]}
    prompt = processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    tokenizer = processor.tokenizer
    whole = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    before, after = (
        tokenizer(piece, add_special_tokens=False)["input_ids"]
        for piece in prompt.removeprefix(tokenizer.bos_token).split(IMAGE)
    )
    apart = [tokenizer.bos_token_id, *before, tokenizer.convert_tokens_to_ids(IMAGE), *after]
    if whole != apart:
        raise CheckpointError(
            str(source), expected=f"tokens {apart}", got=str(whole), next_step="Give LLaVA-1.6's own tokenizer."
        )
