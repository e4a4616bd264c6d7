"""Pictures per second and peak memory of background models: python bench/paint.py --models embedded,sd15,sdxl

`sd15` and `sdxl` are full-size architectures with random weights: nothing is fetched, and a GPU should do the work.
Anything else is a name that caig loads. Each is painted as caig does it, compiled with --compile, and the way the
public CAIG code does it: diffusers' own pipeline, one picture at a time, in fp32. All from one run, with their ratios.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    EulerAncestralDiscreteScheduler,
    StableDiffusionControlNetInpaintPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from caig.models.background_loading import Sampling
from caig.models.background_model import BackgroundModel
from caig.models.background_parts import build_tokenizer
from caig.models.hub import load_model, place
from caig.testing import sample_canvas
from caig.types import Canvas, Description

TEXT = "rustic kitchen table, soft morning light, window with green plants behind, shallow depth of field"
SIDES = {"sd15": 512, "sdxl": 1024}
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
        "text_encoder": CLIPTextModel(CLIPTextConfig(**large)),
    }
    if kind == "sd15":
        none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return StableDiffusionControlNetInpaintPipeline(**shared, **none)
    huge = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "projection_dim": 1280}
    second = CLIPTextModelWithProjection(CLIPTextConfig(**huge, num_hidden_layers=32, hidden_act="gelu"))
    return StableDiffusionXLControlNetInpaintPipeline(**shared, tokenizer_2=tokenizer, text_encoder_2=second)


def background_model(name: str, device: str, dtype: str) -> BackgroundModel:
    if name not in SIDES:
        return load_model(name, "background", device=device, dtype=dtype)
    pipeline = random_pipeline(name).to(device, getattr(torch, dtype))
    return BackgroundModel(pipeline, Sampling(native_side=SIDES[name]), name=name)


def published(model: BackgroundModel, canvas: Canvas) -> Callable[[], Any]:
    """Paint one picture with diffusers' own pipeline in fp32."""
    pipeline = model.pipeline.to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    side = model.sampling.native_side
    size = (side, side)
    image = Image.fromarray(canvas.image).resize(size)
    mask = Image.fromarray(np.uint8(255) * (canvas.product <= 0.5)).resize(size)
    edges = Image.fromarray(canvas.edges).convert("RGB").resize(size)

    def paint() -> Any:
        return pipeline(
            TEXT,
            image=image,
            mask_image=mask,
            control_image=edges,
            height=side,
            width=side,
            strength=1.0,
            num_inference_steps=model.sampling.steps,
            guidance_scale=model.sampling.guidance,
        )

    return paint


def measured(paint: Callable[[], Any], pictures: int, device: str, repeat: int) -> tuple[float, float]:
    """(pictures per second, best of `repeat` after one that warms up; gigabytes at most)."""
    paint()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        paint()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    if device.startswith("cuda"):
        return pictures / min(seconds), torch.cuda.max_memory_allocated() / 1e9
    return pictures / min(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="embedded", help="names, separated by commas")
    parser.add_argument("--device")
    parser.add_argument("--dtype")
    parser.add_argument("-n", type=int, default=4, help="pictures a batch")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure the compiled model too")
    args = parser.parse_args()
    device, dtype = place("background", args.device, args.dtype)
    where = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    print(f"{where}, {dtype}, torch {torch.__version__}, {args.n} pictures a batch, best of {args.repeat}")
    for name in args.models.split(","):
        model = background_model(name, device, dtype)
        side = model.sampling.native_side
        canvas = sample_canvas(side, side)
        wishes = [Description(product_id="sample", text=TEXT, author="user", seed=k) for k in range(args.n)]

        def paint() -> Any:
            return model.paint(canvas, wishes, seeds=range(args.n))  # noqa: B023

        rates = {"caig": measured(paint, args.n, device, args.repeat)}
        if args.compile:
            for part in (model.pipeline.unet, model.pipeline.controlnet):
                part.compile()
            rates["caig, compiled"] = measured(paint, args.n, device, args.repeat)
            for part in (model.pipeline.unet, model.pipeline.controlnet):
                part._compiled_call_impl = None
        rates["published way"] = measured(published(model, canvas), 1, device, args.repeat)
        for way, (rate, memory) in rates.items():
            ratio = rate / rates["published way"][0]
            print(f"{name} {side}²  {way:15} {rate:8.3f} pictures/s  x{ratio:.2f}  {memory:.1f} GB", flush=True)


if __name__ == "__main__":
    main()
