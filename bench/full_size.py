"""Models by name for the scripts beside this one: whatever caig loads, and full-size architectures with random weights
(`sd15`, `sdxl`, `llava-1.6-7b`, `qwen3-vl-4b`), for which nothing is fetched and a GPU should do the work."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerAncestralDiscreteScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    UNet2DConditionModel,
)
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers.utils.logging import disable_progress_bar

from caig.data.instructions import INSTRUCTIONS
from caig.models.adapters import load_adapted
from caig.models.background_loading import Sampling, settle
from caig.models.background_model import BackgroundModel
from caig.models.background_parts import build_tokenizer
from caig.models.hub import load_model
from caig.models.mllm.backbone import CHAT_TEMPLATE, SPECIAL
from caig.models.mllm.loading import load_processor

disable_progress_bar()
TEXT = "rustic kitchen table, soft morning light, window with green plants behind, shallow depth of field"
SIDES = {"sd15": 512, "sdxl": 1024}
LANGUAGE = ("llava-1.6-7b", "qwen3-vl-4b")
XL_UNET: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
QWEN_TEXT: dict[str, Any] = {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 262144,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
                        "mrope_interleaved": True},
    "tie_word_embeddings": True,
}  # fmt: skip
QWEN_VISION: dict[str, Any] = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2560,
    "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
}  # fmt: skip


def painter(name: str, device: str, dtype: str) -> BackgroundModel:
    """The background model called `name`."""
    if name not in SIDES:
        return load_model(name, "background", device=device, dtype=dtype)
    pipeline = random_pipeline(name).to(getattr(torch, dtype))
    settle(pipeline, device, getattr(torch, dtype))
    return BackgroundModel(pipeline, Sampling(native_side=SIDES[name]), name=name)


def language_model(name: str, role: Any, device: str, dtype: str) -> tuple[Any, Any]:
    """(model, processor) of the prompt or reward model called `name`, in evaluation mode."""
    if name not in LANGUAGE:
        return load_adapted(name, role, device, dtype=dtype)[:2]
    with tempfile.TemporaryDirectory() as folder:
        config, processor = _described(name, Path(folder))
    torch.manual_seed(0)
    with torch.device(device):
        model = hf.AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, dtype))
    return model.eval(), processor


def random_pipeline(kind: str) -> Any:
    """Full-size Stable Diffusion 1.5 or XL with a canny ControlNet, random weights, fp32 on the CPU."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer([TEXT])
    tokenizer.model_max_length = 77
    large = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
    unet = UNet2DConditionModel(**(XL_UNET if kind == "sdxl" else {"cross_attention_dim": 768}))
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
    )
    shared: dict[str, Any] = {
        "vae": vae,
        "unet": unet,
        "controlnet": ControlNetModel.from_unet(unet),
        "scheduler": EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        "tokenizer": tokenizer,
        "text_encoder": hf.CLIPTextModel(hf.CLIPTextConfig(**large)),
    }
    if kind == "sd15":
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return StableDiffusionControlNetInpaintPipeline(**shared, **none)
    huge = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "projection_dim": 1280}
    second = hf.CLIPTextModelWithProjection(hf.CLIPTextConfig(**huge, num_hidden_layers=32, hidden_act="gelu"))
    return StableDiffusionXLControlNetInpaintPipeline(**shared, tokenizer_2=tokenizer, text_encoder_2=second)


def _described(name: str, folder: Path) -> tuple[Any, Any]:
    """Config and processor of a full-size architecture."""
    config, tokenizer, pictures, record = (_llava if name == "llava-1.6-7b" else _qwen)()
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file, content in (("preprocessor_config.json", pictures), ("processor_config.json", record)):
        (folder / file).write_text(json.dumps(content))
    return config, load_processor(folder)


def _llava() -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """LLaVA-1.6 of Vicuna 7B: transformers' defaults are these sizes."""
    tokenizer = _tokenizer(32064, "<image>", CHAT_TEMPLATE, SPECIAL)
    config = hf.LlavaNextConfig(image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    config.text_config.vocab_size, config.text_config.max_position_embeddings = 32064, 4096
    pictures = {
        "image_processor_type": "LlavaNextImageProcessor",
        "size": {"shortest_edge": 336},
        "crop_size": {"height": 336, "width": 336},
        "image_grid_pinpoints": config.image_grid_pinpoints,
    }
    reads = {"patch_size": 14, "num_additional_image_tokens": 1, "vision_feature_select_strategy": "default"}
    return config, tokenizer, pictures, {"processor_class": "LlavaNextProcessor", "image_token": "<image>", **reads}


def _qwen() -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """Qwen3-VL-4B."""
    names = ("image_pad", "video_pad", "vision_start", "vision_end")
    special = ("<pad>", "</s>", "<user>", "<assistant>", *(f"<|{name}|>" for name in names))
    picture = "<|vision_start|><|image_pad|><|vision_end|>"
    template = CHAT_TEMPLATE.replace("'<image>'", f"'{picture}'").replace("{{ '<s>' }}", "")
    tokenizer = _tokenizer(QWEN_TEXT["vocab_size"], "<|image_pad|>", template, special)
    ids = {f"{name.removesuffix('_pad')}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in names}
    config = hf.Qwen3VLConfig(text_config=QWEN_TEXT, vision_config=QWEN_VISION, tie_word_embeddings=True, **ids)
    sizes = {"size": {"shortest_edge": 65536, "longest_edge": 16777216}}
    kind = {"image_processor_type": "Qwen2VLImageProcessorFast", "patch_size": 16, "temporal_patch_size": 2}
    return config, tokenizer, {**kind, **sizes, "merge_size": 2}, {"processor_class": "Qwen3VLProcessor"}


def _tokenizer(size: int, image: str, template: str, special: Sequence[str]) -> Any:
    """Byte-level BPE of `size` tokens, every one of which is written as something: random weights draw them all."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([TEXT, *(word for words in INSTRUCTIONS.values() for word in words)], trainer)
    state = json.loads(bpe.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"word{k}": k for k in range(len(vocabulary), size)}
    own = {"pad_token": "<pad>", "eos_token": "</s>", "extra_special_tokens": {"image_token": image}}
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), **own)
    tokenizer.chat_template = template
    return tokenizer
