"""A fresh small multimodal language model: a LLaVA like the published backbone (CLIP tower, two-layer projector, Llama)
with small sizes and its own byte-level BPE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>")
PAD, BOS, EOS, IMAGE = range(4)
POSITIONS = 1024  # the longest prompt with its answer, in tokens
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
    """Pixels of a token's side."""
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
        model_max_length=POSITIONS,
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


def _clip(size: BackboneSize) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        image_size=size.image,
        patch_size=size.patch,
        hidden_size=size.vision_width,
        intermediate_size=size.vision_width * 7 // 2,
        num_hidden_layers=size.vision_layers,
        num_attention_heads=max(1, size.vision_width // 64),
        projection_dim=size.vision_width,
    )


def _config(size: BackboneSize, vocabulary: int) -> LlavaConfig:
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=size.width * 5 // 2,
        num_hidden_layers=size.layers,
        num_attention_heads=max(1, size.width // 64),
        num_key_value_heads=max(1, size.width // 64),
        max_position_embeddings=POSITIONS,
        initializer_range=size.initializer,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    # The tower's last layer is used (-1): at this size none is to spare.
    return LlavaConfig(
        vision_config=_clip(size),
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=(size.image // size.patch) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
