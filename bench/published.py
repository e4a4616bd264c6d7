"""The way the public CAIG code works, on the same weights: what the scripts beside this one compare with.

As read there: one picture and one text at a time; the painter in fp32, with 30 Euler-ancestral steps at guidance 7.5;
prompts, edges and masked pictures encoded anew for every picture; left|right pairs for all pairs; and a second, whole
reference model in preference optimisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler
from PIL import Image

from caig.imaging.edges import product_edges
from caig.models.background_model import GREY, BackgroundModel, Frame
from caig.types import Canvas, Description, Pixels

STEPS, GUIDANCE = 30, 7.5


class Painter:
    """diffusers' own pipeline over the weights of `model`, at the size of latents that `model` would take. It keeps the
    protocol of a background model, so that whatever measures one measures this too."""

    def __init__(self, model: BackgroundModel) -> None:
        self.name = f"{model.name}, published way"
        self.side = model.sampling.native_side
        self.pipeline = model.pipeline.to(torch.float32)
        for part in (self.pipeline.unet, self.pipeline.controlnet, self.pipeline.vae):
            part.to(memory_format=torch.contiguous_format)  # channels last is caig's own doing
        self.pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(self.pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        """One u8[H, W, 3] picture of the canvas's size per description, one after another, from noise."""
        return [self._paint(canvas, one.text, seed) for one, seed in zip(descriptions, seeds, strict=True)]

    def _paint(self, canvas: Canvas, text: str, seed: int) -> Pixels:
        height, width = canvas.product.shape
        multiple = self.pipeline.vae_scale_factor * 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1)
        frame = Frame.around((width, height), self.side, multiple)
        image, product = frame.fit(canvas.image, GREY), frame.fit(canvas.product, 0.0)
        painted = self.pipeline(
            text,
            image=Image.fromarray(image),
            mask_image=Image.fromarray(np.uint8(255) * (product <= 0.5)),
            control_image=Image.fromarray(product_edges(image, product)).convert("RGB"),
            height=frame.height,
            width=frame.width,
            strength=1.0,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        return frame.unfit(np.asarray(painted), (width, height))
