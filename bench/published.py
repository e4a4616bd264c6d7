"""The way the public CAIG code works, on the same weights: what the scripts beside this one compare with.

As read there: one picture and one text at a time; the painter in fp32, with 30 Euler-ancestral steps at guidance 7.5;
prompts, edges and masked pictures encoded anew for every picture; left|right pairs for all pairs; and a second, whole
reference model in preference optimisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from diffusers import EulerAncestralDiscreteScheduler
from PIL import Image
from torch import Tensor

from caig.data.templates import instruct
from caig.imaging.edges import product_edges
from caig.models.background_model import GREY, BackgroundModel, Frame
from caig.models.describing import MAX_TOKENS, write_request
from caig.models.mllm import encode, encode_training, join
from caig.models.reward_model import Layout, RewardNetwork, letterbox, together
from caig.preference.policy import Pairs, objective
from caig.types import Canvas, Description, Pixels, Product

STEPS, GUIDANCE = 30, 7.5
BETA = 0.5


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


@torch.inference_mode()
def describe(model: Any, processor: Any, product: Product, n: int, *, seed: int) -> list[str]:
    """`n` texts at temperature 1, one after another: each reads photo and words anew."""
    torch.manual_seed(seed)
    texts = []
    for _ in range(n):
        inputs = encode(processor, [write_request(product, 1, seed=seed)], [product.image], model.device)
        told = model.generate(**inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=MAX_TOKENS)
        texts.append(processor.tokenizer.decode(told[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


@torch.inference_mode()
def score(
    network: RewardNetwork, processor: Any, product: Product, images: Sequence[Pixels], *, side: int, layout: Layout
) -> list[int]:
    """How many others each image beats: every pair in one sequence, in one order, one after another."""
    squares, wins = [letterbox(image, side) for image in images], [0] * len(images)
    for a, b in combinations(range(len(images)), 2):
        pair = together(squares[a], squares[b], layout)
        inputs = encode(processor, [instruct(product, of="joint")], [pair], network.backbone.device)
        left, right = network(inputs)[0][0].tolist()
        wins[a if left >= right else b] += 1
    return wins


def preference_loss(
    model: Any, second: Any, processor: Any, shown: Product, wrong: Product, chosen: str, rejected: str
) -> Tensor:
    """The objective on one pair: `model` and the reference `second` read the product and its pictures for each text.

    `wrong` is the product under corrupted information.
    """
    own = [log_probs(model, processor, shown, [chosen, rejected]), log_probs(model, processor, wrong, [chosen])]
    with torch.no_grad():
        ref = [log_probs(second, processor, shown, [chosen, rejected]), log_probs(second, processor, wrong, [chosen])]
    lengths = torch.ones(1, device=own[0].device)  # for losses per token, which this one is not
    return objective(
        Pairs(
            chosen=own[0][:1],
            rejected=own[0][1:],
            corrupted=own[1],
            ref_chosen=ref[0][:1],
            ref_rejected=ref[0][1:],
            ref_corrupted=ref[1],
            chosen_length=lengths,
            rejected_length=lengths,
        ),
        beta=BETA,
        product_weight=1.0,
    )


def log_probs(model: Any, processor: Any, product: Product, texts: Sequence[str]) -> Tensor:
    """log p of each text given the product, f32[N], by whole sequences: nothing is shared between them."""
    count, request = len(texts), write_request(product, 1, seed=0)
    batch = encode_training(
        processor, [request] * count, [product.image] * count, [[text] for text in texts], model.device
    )
    joined = join(model, batch.inputs, batch.answers, batch.mask)
    del joined["labels"]
    logits = model(**joined, use_cache=False, logits_to_keep=batch.answers.shape[1] + 1).logits[:, :-1].float()
    return (logits.log_softmax(-1).gather(2, batch.answers[..., None])[..., 0] * batch.mask).sum(1)
