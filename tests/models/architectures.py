"""Tiny random checkpoints of the architectures that load by name, in the layout in which the real ones are published:
sharded safetensors, tokenizer, preprocessor_config.json (image processors of the torchvision kind), a video processor
where the real one has one, chat template in its own file with the real one's wording around the turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

WORDS = [
    "Write a background description for this product photo: wooden desk surface, warm lighting, bokeh effect.",
    "rustic kitchen table, soft morning light. sandy beach by the sea, golden hour sunlight. USER: ASSISTANT: [INST]",
] * 3
QWEN_SPECIAL = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]

LLAVA_CHAT = (
    "{% for m in messages %}{{ m['role'] | upper + ': ' }}"
    "{% for c in m['content'] if c['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] + ' ' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
MISTRAL_CHAT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for c in m['content'] if c['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'][0]['text'] + '</s>' }}{% endif %}{% endfor %}"
)
QWEN_CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ c['text'] }}"
    "{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN_SYSTEM = "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}{{ '<start_of_image>' }}{% else %}{{ c['text'] | trim }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Checkpoint:
    """What makes up a checkpoint folder, weights left out."""

    config: Any
    tokenizer: Any
    chat: str
    preprocessor: dict[str, Any]
    processor: dict[str, Any] | None = None
    video: dict[str, Any] | None = None
    ends: tuple[int, ...] = ()


def write(name: str, folder: Path) -> Path:
    """Write the tiny checkpoint of architecture `name`; its weights are a function of nothing but the name."""
    parts = ARCHITECTURES[name]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = hf.AutoModelForImageTextToText.from_config(parts.config)
        for parameter in model.parameters():  # the usual 0.02 makes all texts, pictures and positions look alike
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    if parts.ends:
        model.generation_config.eos_token_id = list(parts.ends)
    model.save_pretrained(folder, max_shard_size="60KB")
    parts.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    files = {
        "chat_template.json": {"chat_template": parts.chat},
        "preprocessor_config.json": parts.preprocessor,
        "processor_config.json": parts.processor,
        "video_preprocessor_config.json": parts.video,
    }
    for file, content in files.items():
        if content is not None:
            (folder / file).write_text(json.dumps(content))
    return folder


def llava() -> Checkpoint:
    """LLaVA 1.5: one square crop a picture."""
    tokenizer = _llama_tokenizer()
    config = hf.LlavaConfig(
        vision_config=_clip(hf.CLIPVisionConfig),
        text_config=_text(hf.LlamaConfig, tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    return Checkpoint(config, tokenizer, LLAVA_CHAT, _clip_processor("LlavaProcessor"), _patches("LlavaProcessor"))


def llava_next() -> Checkpoint:
    """LLaVA-NeXT (1.6, Mistral): the picture whole and in tiles, a newline token after each row."""
    tokenizer = _llama_tokenizer()
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    config = hf.LlavaNextConfig(
        vision_config=_clip(hf.CLIPVisionConfig),
        text_config=_text(hf.MistralConfig, tokenizer, sliding_window=None),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-2,
        image_seq_length=16,
    )
    preprocessor = _clip_processor("LlavaNextProcessor") | {
        "image_processor_type": "LlavaNextImageProcessor",
        "image_grid_pinpoints": pinpoints,
        "do_pad": True,
    }
    return Checkpoint(config, tokenizer, MISTRAL_CHAT, preprocessor, _patches("LlavaNextProcessor"))


def qwen25_vl() -> Checkpoint:
    """Qwen2.5-VL: dynamic resolution, window attention in the tower, multimodal rope."""
    tokenizer = qwen_tokenizer()
    vision = dict(
        depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=32, patch_size=8, window_size=32
    )
    config = hf.Qwen2_5_VLConfig(
        vision_config=vision | {"spatial_merge_size": 2, "temporal_patch_size": 2, "fullatt_block_indexes": [1]},
        text_config=_text(dict, tokenizer) | {"rope_parameters": _mrope()},
        **_qwen_ids(tokenizer),
    )
    return Checkpoint(
        config,
        tokenizer,
        QWEN_SYSTEM + QWEN_CHAT,
        _qwen_processor("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", patch_size=8),
        ends=_qwen_ends(tokenizer),
    )


def qwen3_vl() -> Checkpoint:
    """Qwen3-VL: dynamic resolution, features of early tower layers added to early language layers, interleaved rope."""
    tokenizer = qwen_tokenizer()
    vision = dict(
        depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=32, patch_size=8, in_channels=3
    )
    config = hf.Qwen3VLConfig(
        vision_config=vision
        | {"spatial_merge_size": 2, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        text_config=_text(dict, tokenizer) | {"head_dim": 16, "rope_parameters": _mrope(mrope_interleaved=True)},
        **_qwen_ids(tokenizer),
    )
    return Checkpoint(
        config,
        tokenizer,
        QWEN_CHAT,
        _qwen_processor("Qwen3VLProcessor", "Qwen2VLImageProcessorFast", patch_size=8),
        video=_qwen_processor("Qwen3VLProcessor", None, patch_size=8)
        | {"video_processor_type": "Qwen3VLVideoProcessor"},
        ends=_qwen_ends(tokenizer),
    )


def gemma3() -> Checkpoint:
    """Gemma 3, as any other: SigLIP tower, two-way attention within a picture, sliding windows, its own end of turn."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"]
    special += ["<end_of_image>", "<image_soft_token>"]
    vocabulary, merges = _bpe(WORDS, special, pre_tokenizers.Metaspace(prepend_scheme="never"), ["▁", "\n"])
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = hf.GemmaTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=names)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", "<end_of_turn>"]})
    ids = {f"{k}_index": tokenizer.convert_tokens_to_ids(v) for k, v in names.items()}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    text = _text(
        hf.Gemma3TextConfig, tokenizer, head_dim=16, sliding_window=24, query_pre_attn_scalar=16, layer_types=kinds
    )
    config = hf.Gemma3Config(vision_config=_clip(hf.SiglipVisionConfig), text_config=text, mm_tokens_per_image=4, **ids)
    preprocessor = {
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "size": {"height": 32, "width": 32},
        "image_seq_length": 4,
        "do_pan_and_scan": False,
    }
    processor = {"image_seq_length": 4, "processor_class": "Gemma3Processor"}
    ends = tuple(tokenizer.convert_tokens_to_ids(["<eos>", "<end_of_turn>"]))
    return Checkpoint(config, tokenizer, GEMMA_CHAT, preprocessor, processor, ends=ends)


ARCHITECTURES: dict[str, Callable[[], Checkpoint]] = {
    "LLaVA 1.5": llava,
    "LLaVA-NeXT": llava_next,
    "Qwen2.5-VL": qwen25_vl,
    "Qwen3-VL": qwen3_vl,
    "Gemma 3": gemma3,
}


def qwen_tokenizer(**more: Any) -> Any:
    """Byte-level BPE with Qwen's turns; its end of turn is its end token."""
    vocabulary, merges = _bpe(WORDS, [], pre_tokenizers.ByteLevel(add_prefix_space=False), _byte_letters())
    special = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "additional_special_tokens": QWEN_SPECIAL}
    return hf.Qwen2Tokenizer(vocab=vocabulary, merges=merges, **(special | more))


def _clip(kind: Any) -> Any:
    return kind(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
    )


def _text(kind: Any, tokenizer: Any, **more: Any) -> Any:
    return kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=400,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **more,
    )


def _clip_processor(processor: str) -> dict[str, Any]:
    return {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": processor,
        "size": {"shortest_edge": 32},
        "crop_size": {"height": 32, "width": 32},
    }


def _patches(processor: str) -> dict[str, Any]:
    return {
        "processor_class": processor,
        "image_token": "<image>",
        "patch_size": 8,
        "num_additional_image_tokens": 1,
        "vision_feature_select_strategy": "default",
    }


def _qwen_processor(processor: str, kind: str | None, *, patch_size: int) -> dict[str, Any]:
    return {
        **({"image_processor_type": kind} if kind else {}),
        "processor_class": processor,
        "patch_size": patch_size,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": 16 * 16, "longest_edge": 64 * 64},
    }


def _mrope(**more: Any) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2], **more}


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def _qwen_ends(tokenizer: Any) -> tuple[int, ...]:
    return tuple(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))


def _llama_tokenizer() -> Any:
    """Sentencepiece-like: spaces as a letter, one before the first word, unknown characters as bytes."""
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    vocabulary, merges = _bpe(WORDS, ["<unk>", "<s>", "</s>", *bytes_], pre_tokenizers.Metaspace(), ["▁", "\n"])
    tokenizer = hf.LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)
    tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<image>"]})
    return tokenizer


def _byte_letters() -> list[str]:
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _bpe(texts: Iterable[str], special: list[str], splitter: Any, letters: list[str]) -> tuple[Any, Any]:
    """Vocabulary and merges of a BPE of at most 500 tokens."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = splitter
    bpe.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    model = json.loads(bpe.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]
