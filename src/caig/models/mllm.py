"""The multimodal language model under the prompt and the reward model: build a small one, load and save any.

The embedded one is a LLaVA like the published backbone (CLIP tower, two-layer projector, Llama) with small sizes and
its own byte-level BPE. Everything below works for any checkpoint that transformers loads as an image-text-to-text
model; remote code is never run and only safetensors are read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.utils.logging import disable_progress_bar

from caig.errors import CheckpointError
from caig.types import Pixels

SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>")
PAD, BOS, EOS, IMAGE = range(4)
CHAT_TEMPLATE = (
    "{{ '<s>' }}{% for message in messages %}{{ '<' + message['role'] + '>' }}"
    "{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{% if message['role'] == 'assistant' %}{{ '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class BackboneSize:
    """Sizes of a small LLaVA; the defaults hold 6.1 M parameters, 12.3 MB as fp16."""

    image: int = 128
    patch: int = 16
    vision_width: int = 192
    vision_layers: int = 4
    width: int = 256
    layers: int = 5
    vocabulary: int = 2000
    initializer: float = 0.02
    """Standard deviation of the language model's first weights."""


def build_backbone(
    texts: Iterable[str], *, seed: int, size: BackboneSize = BackboneSize()
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A fresh model, its weights a function of `seed` alone, and a processor whose BPE was trained on `texts`."""
    processor = _processor(_tokenizer(texts, size.vocabulary), size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return LlavaForConditionalGeneration(_config(size, len(processor.tokenizer))), processor


def load_mllm(folder: Path, device: str | None = None) -> tuple[Any, Any]:
    """Load (model, processor) from a checkpoint folder: fp32 on a CPU, bf16 on a GPU, in evaluation mode.

    `device` None takes a GPU when there is one. CheckpointError when transformers cannot load the folder.
    """
    disable_progress_bar()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    try:
        loader: Any = AutoModelForImageTextToText  # its own type hints miss the classmethod
        model = loader.from_pretrained(str(folder), dtype=dtype, use_safetensors=True, local_files_only=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            str(folder),
            expected="an image-text-to-text checkpoint of transformers",
            got=f"{type(error).__name__}: {str(error)[:200]}",
            next_step="Give a folder written by save_pretrained, model and processor.",
        ) from error
    return model.to(device).eval(), processor


def save_mllm(model: Any, processor: Any, folder: Path) -> None:
    """Write model (fp16 safetensors) and processor in the layout that `load_mllm` and transformers read."""
    disable_progress_bar()
    copy.deepcopy(model).half().save_pretrained(folder)
    processor.save_pretrained(folder)


def chat_prompt(processor: Any, text: str, *, image: bool) -> str:
    """One user turn in the checkpoint's own chat template, up to where the answer starts."""
    parts = [{"type": "image"}] if image else []
    turn = {"role": "user", "content": [*parts, {"type": "text", "text": text}]}
    return processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)


def encode(processor: Any, texts: Sequence[str], images: Sequence[Pixels | None], device: Any = "cpu") -> Any:
    """Model inputs for one user turn per text, left-padded, with its u8[H, W, 3] image where there is one."""
    prompts = [chat_prompt(processor, text, image=image is not None) for text, image in zip(texts, images, strict=True)]
    pictures = [[Image.fromarray(image)] for image in images if image is not None]
    processor.tokenizer.padding_side = "left"
    # The template has written the special tokens already.
    inputs = processor(
        text=prompts, images=pictures or None, return_tensors="pt", padding=True, add_special_tokens=False
    )
    return inputs.to(device)


def answer_logits(model: Any, inputs: Any, answers: Tensor, mask: Tensor, repeats: int) -> Tensor:
    """Next-token logits f32[B·repeats, T, V] of `answers` i64[B·repeats, T] that continue B encoded prompts.

    Each prompt is read once and its cache repeated for its `repeats` answers, which lie side by side. Position t
    predicts `answers[:, t]`: the prompt's last token opens the answer. `mask` i64[B·repeats, T] is 1 on answer tokens.
    Gradients flow through the cache.
    """
    prompt_mask = inputs["attention_mask"]
    positions = (prompt_mask.cumsum(1) - 1).clamp(min=0)
    head = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask")}
    cache = model.model(
        **head,
        input_ids=inputs["input_ids"][:, :-1],
        attention_mask=prompt_mask[:, :-1],
        position_ids=positions[:, :-1],
        use_cache=True,
    ).past_key_values
    cache.batch_repeat_interleave(repeats)
    last, start = (x[:, -1:].repeat_interleave(repeats, 0) for x in (inputs["input_ids"], positions))
    return model(
        input_ids=torch.cat([last, answers[:, :-1]], 1),
        attention_mask=torch.cat([prompt_mask.repeat_interleave(repeats, 0), mask[:, :-1]], 1),
        position_ids=start + torch.arange(answers.shape[1], device=answers.device),
        past_key_values=cache,
    ).logits


def _tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text can be written, unseen words in pieces."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        BpeTrainer(vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )


def _processor(tokenizer: PreTrainedTokenizerFast, size: BackboneSize) -> LlavaProcessor:
    side = {"height": size.image, "width": size.image}
    images = CLIPImageProcessorPil(size={"shortest_edge": size.image}, crop_size=side)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _config(size: BackboneSize, vocabulary: int) -> LlavaConfig:
    vision = CLIPVisionConfig(
        image_size=size.image,
        patch_size=size.patch,
        hidden_size=size.vision_width,
        intermediate_size=size.vision_width * 7 // 2,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=max(1, size.vision_width // 64),
        projection_dim=size.vision_width,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=size.width * 5 // 2,
        num_hidden_layers=size.layers,
        num_attention_heads=max(1, size.width // 64),
        num_key_value_heads=max(1, size.width // 64),
        max_position_embeddings=1024,
        initializer_range=size.initializer,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    # The tower's last layer is used (-1): at this size none is to spare.
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=(size.image // size.patch) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
