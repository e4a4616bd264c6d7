"""Tiny checkpoints with random weights, of the very classes that ship."""

from pathlib import Path

import torch
from diffusers import StableDiffusionControlNetInpaintPipeline

from caig.models import background_parts as parts
from caig.models.background_model import Sampling
from caig.recipes.background.export import write_pipeline

CAPTIONS = ["rustic kitchen table, soft morning light", "sandy beach by the sea, golden hour sunlight"]


def tiny_background(folder: Path) -> Path:
    """A diffusers folder of about 0.3 M parameters."""
    torch.manual_seed(0)
    tokenizer = parts.build_tokenizer(CAPTIONS)
    unet = parts.build_unet((16, 32, 32), dropout=0.0)
    controlnet = parts.build_controlnet(unet)
    for block in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.02)  # zero at first, so that its effect would not show
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
