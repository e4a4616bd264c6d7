"""Tiny checkpoints with random weights, of the very classes that ship or that users name."""

from pathlib import Path

import torch
from diffusers import (
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from caig.models import background_parts as parts
from caig.models.background_loading import Sampling
from caig.recipes.background.export import write_pipeline

CAPTIONS = ["rustic kitchen table, soft morning light", "sandy beach by the sea, golden hour sunlight"]
XL_TEXT, XL_TIME = 32, 8  # widths of each text encoder and of a time id


def tiny_background(folder: Path) -> Path:
    """A diffusers folder of about 0.3 M parameters."""
    torch.manual_seed(0)
    tokenizer = parts.build_tokenizer(CAPTIONS)
    unet = parts.build_unet((16, 32, 32), dropout=0.0)
    controlnet = parts.build_controlnet(unet)
    _wake(controlnet)
    pipeline = StableDiffusionControlNetInpaintPipeline(
        vae=parts.build_autoencoder((16, 16, 16, 16)),
        text_encoder=parts.build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=unet,
        controlnet=controlnet,
        scheduler=parts.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    write_pipeline(pipeline, folder, Sampling(steps=3, guidance=2.0, native_side=64))
    return folder


def tiny_xl(folder: Path, *, channels: int = 9) -> Path:
    """A Stable Diffusion XL folder with a ControlNet: two text encoders, pooled text, time ids."""
    torch.manual_seed(0)
    tokenizer = parts.build_tokenizer(CAPTIONS)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=XL_TEXT,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=parts.TEXT_TOKENS,
        projection_dim=XL_TEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    controlnet = ControlNetModel.from_unet(_xl_unet(4), conditioning_embedding_out_channels=(8, 16, 32, 64))
    _wake(controlnet)
    pipeline = StableDiffusionXLControlNetInpaintPipeline(
        vae=parts.build_autoencoder((16, 16, 16, 16)),
        text_encoder=CLIPTextModel(config),
        text_encoder_2=CLIPTextModelWithProjection(config),
        tokenizer=tokenizer,
        tokenizer_2=parts.build_tokenizer(CAPTIONS),
        unet=_xl_unet(channels),
        controlnet=controlnet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
    )
    write_pipeline(pipeline, folder, Sampling(steps=3, guidance=2.0, native_side=64))
    return folder


def _xl_unet(channels: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=channels,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        use_linear_projection=True,
        cross_attention_dim=2 * XL_TEXT,
        addition_embed_type="text_time",
        addition_time_embed_dim=XL_TIME,
        projection_class_embeddings_input_dim=6 * XL_TIME + XL_TEXT,
    )


def _wake(controlnet: ControlNetModel) -> None:
    """A ControlNet's last convolutions are zero at first, so that its effect would not show."""
    for block in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.02)
    torch.nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.2)
