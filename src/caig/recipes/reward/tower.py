"""First leg of a fresh reward model: it learns to see and to read before it learns to judge.

Clicks are few and say one number a picture; a network trained on them alone does not generalise (docs/LOG.md). So every
image token first learns to describe its own cell of the picture: where the product stands, and colours and detail at
two scales (in the spirit of MaskFeat, Wei et al. 2022, which predicts local features). And the last token, which will
judge, learns to sum that up over the product, its surroundings and the rest of the picture: the paper's first
pre-training task, to describe product and background, in numbers in place of words. Targets come from the pixels and
the cut-out that every rendered scene has beside it, without clicks. Honest remark: the simulated shop's shoppers look
at such regions too (surroundings, rim), and that was known when these were chosen; its statistics themselves are not
used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from caig.data.comparisons import split
from caig.data.images import read_in_threads
from caig.data.scenes import SceneRecord, read_scenes
from caig.data.templates import QUESTIONS, instruct
from caig.models.mllm import PictureFeatures, encode, with_features
from caig.models.mllm.reading import core
from caig.models.reward_model import RewardNetwork, letterbox, width_of
from caig.recipes.processes import copy_first, join_processes
from caig.recipes.reward import keep_to
from caig.recipes.reward.samples import product_of
from caig.recipes.training import (
    Log,
    cosine_with_warmup,
    drawn_ahead,
    load_checkpoint,
    save_checkpoint,
)
from caig.seeding import seed_for
from caig.types import Pixels

if TYPE_CHECKING:
    from caig.recipes.reward import Config

MASK_CELLS, CELLS = 8, 2  # a side, of a token: for where the product is, and for colour and detail
CHANNELS = 5  # light, red-green, yellow-blue, fine detail, coarse detail
COLOURS = 3  # the first of them
MEASURES = CHANNELS + COLOURS  # of a region: the deviations of light and colours too
OUTPUTS = MASK_CELLS**2 + CHANNELS * CELLS**2
MASK_WEIGHT = 3.0
LR = 1.5e-3
REGIONS, RIM = 4, 12  # a twelfth of the side is near the product, or near the rim
TYPICAL_SIZE = 2.3  # minus the log of the share of a picture that its product covers
# Mean and deviation over rendered scenes, in round numbers: of each channel, and of the deviations in a region.
CENTRE, SCALE = torch.tensor([0.5, 0, 0, -8, -6]), torch.tensor([0.25, 0.15, 0.15, 2, 2])
SPREAD_CENTRE, SPREAD_SCALE = torch.tensor([0.14, 0.05, 0.05]), torch.tensor([0.08, 0.05, 0.05])
LIGHT = torch.tensor([0.299, 0.587, 0.114])
BINOMIAL = torch.tensor([1.0, 4, 6, 4, 1]) / 16  # Burt and Adelson 1983, "The Laplacian pyramid"


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Scenes with the product's mask, letterboxed."""

    texts: list[str]
    pictures: NDArray[np.uint8]  # u8[N, S, S, 3]
    masks: NDArray[np.uint8]  # u8[N, S, S]


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """B views drawn for one step."""

    inputs: Any  # encoded with their texts
    pictures: Tensor  # u8[B, S, S, 3]
    masks: Tensor  # u8[B, S, S]


def train_tower(config: Config, network: RewardNetwork, processor: Any, side: int) -> None:
    """Train the whole backbone for `config.tower_steps`; goes on where it was cut.

    Of several processes each trains the whole.
    """
    accelerator, path = join_processes(config.device, shards=True), config.out / "tower.pt"
    log = Log(config.out / "tower.jsonl", silent=not accelerator.is_main_process)
    keep_to(config, accelerator)
    learning = learner(config, network)
    optimizer = torch.optim.AdamW(learning.parameters(), lr=LR, weight_decay=config.weight_decay)
    start = 0
    if state := load_checkpoint(path):
        learning.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    left, views = range(start, config.tower_steps), read_views(config, side) if start < config.tower_steps else None

    def draw(step: int) -> Seen:
        return see_views(processor, views, config.tower_batch, seed_for(config.seed, "view", step))

    for step, seen in zip(left, drawn_ahead(draw, left, config.workers), strict=True):
        learning.train()
        for group in optimizer.param_groups:
            group["lr"] = LR * cosine_with_warmup(step, config.tower_steps, config.warmup_of(config.tower_steps))
        losses = description_losses(learning, network, seen)
        optimizer.zero_grad(set_to_none=True)
        weighed(losses).backward()
        torch.nn.utils.clip_grad_norm_(learning.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.tower_steps:
            mask, detail, summary = (loss.item() for loss in losses)
            log.write(step=step + 1, mask_loss=mask, detail_loss=detail, summary_loss=summary)
            state = {"weights": learning.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            if accelerator.is_main_process:
                save_checkpoint(path, state)
    copy_first(learning, accelerator)


def learner(config: Config, network: RewardNetwork) -> nn.ModuleDict:
    """The backbone without its language model head, and what it describes with, of no use afterwards."""
    width = width_of(network.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "description"))
        heads = {"cells": nn.Linear(width, OUTPUTS), "whole": nn.Linear(width, REGIONS * MEASURES + 1)}
    return nn.ModuleDict({"core": core(network.backbone), **heads}).to(network.backbone.device)


def describing(config: Config, network: RewardNetwork) -> nn.ModuleDict:
    """`learner` as `train_tower` left it, of `network` as it is."""
    learning, state = learner(config, network), load_checkpoint(config.out / "tower.pt")
    assert state is not None
    own = {name: weight for name, weight in state["weights"].items() if not name.startswith("core.")}
    learning.load_state_dict(own, strict=False)
    return learning


def description_losses(learning: nn.ModuleDict, network: RewardNetwork, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """(cross-entropy of the product's share of each small cell, squared error of cells, squared error of the last
    token's summary), scalars."""
    device = network.backbone.device
    inputs = seen.inputs.to(device)
    features = core(network.backbone).get_image_features(pixel_values=inputs["pixel_values"], return_dict=True)
    tokens = list(features.pooler_output)
    told = learning["cells"](torch.stack(tokens))  # (B, tokens, OUTPUTS)
    whole = learning["whole"](network.hidden(with_features(inputs, [PictureFeatures(tokens=one) for one in tokens])))
    pictures, masks = seen.pictures.to(device).permute(0, 3, 1, 2) / 255, seen.masks.to(device)[:, None] / 255
    where, what, summary = targets(pictures, masks, round(told.shape[1] ** 0.5))
    on_product, detail = told.split([MASK_CELLS**2, OUTPUTS - MASK_CELLS**2], dim=2)
    found = F.binary_cross_entropy_with_logits(on_product, where)
    return found, F.mse_loss(detail, what), F.mse_loss(whole, summary)


def weighed(losses: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What is to fall, of `description_losses`: scalar."""
    mask, detail, summary = losses
    return MASK_WEIGHT * mask + detail + summary


def targets(pictures: Tensor, masks: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    """What each of grid x grid tokens should say of its cell, and the last token of the whole.

    Args:
        pictures: f32[B, 3, S, S], 0 to 1
        masks: f32[B, 1, S, S], 1 = product

    Returns:
        the product's share of each small cell f32[B, grid^2, MASK_CELLS^2], 0 to 1; standardised means of light, of two
        opponent colours and log energies of two bands of the Laplacian pyramid f32[B, grid^2, CHANNELS * CELLS^2];
        the same of each of `regions_of`, with the deviations of light and colours there, and the log of the product's
        share, f32[B, REGIONS * MEASURES + 1].
    """
    side = pictures.shape[-1]
    light = torch.einsum("bchw,c->bhw", pictures, LIGHT.to(pictures))[:, None]
    red, green, blue = pictures.split(1, dim=1)
    colours = torch.cat([light, red - green, (red + green) / 2 - blue], 1)
    low = _blur(light)
    half = F.avg_pool2d(low, 2)
    cell = side // (grid * CELLS)
    energy = [F.avg_pool2d((light - low) ** 2, cell), F.avg_pool2d((half - _blur(half)) ** 2, cell // 2)]
    found = torch.cat([F.avg_pool2d(colours, cell), *energy], 1)
    share = F.avg_pool2d(masks, side // (grid * MASK_CELLS))
    areas = F.avg_pool2d(regions_of(masks), cell) + 1e-4
    areas = areas / areas.sum((2, 3), keepdim=True)
    means, squares = (torch.einsum("brhw,bchw->brc", areas, x) for x in (found, F.avg_pool2d(colours**2, cell)))
    spread = (squares - means[..., :COLOURS] ** 2).clamp_min(0).add(1e-6).sqrt()
    regions = torch.cat([_standard(means), (spread - SPREAD_CENTRE.to(spread)) / SPREAD_SCALE.to(spread)], 2).flatten(1)
    size = (masks.mean((1, 2, 3)) + 1e-3).log()[:, None] + TYPICAL_SIZE
    cells = _standard(found.movedim(1, -1)).movedim(-1, 1)
    return _by_token(share, grid), _by_token(cells, grid), torch.cat([regions, size], 1)


def regions_of(masks: Tensor) -> Tensor:
    """f32[B, REGIONS, S, S] of f32[B, 1, S, S]: the product, its near surroundings, all else, the picture's rim."""
    width = masks.shape[-1] // RIM
    near = F.max_pool2d(masks, (2 * width + 1, 1), stride=1, padding=(width, 0))
    near = F.max_pool2d(near, (1, 2 * width + 1), stride=1, padding=(0, width))
    rim = torch.ones_like(masks)
    rim[..., width:-width, width:-width] = 0
    return torch.cat([masks, near - masks, 1 - near, rim * (1 - masks)], 1)


@lru_cache(maxsize=1)  # for the second leg too
def read_views(config: Config, side: int) -> Views:
    """Every scene of a training product, letterboxed to `side`; InputError without scene archives."""
    scenes = [scene for scene in read_scenes(config.data, painted=True) if split(scene.product["id"]) == "train"]

    def square(scene: SceneRecord) -> tuple[Pixels, NDArray[np.uint8]]:
        alpha = np.repeat(scene.cutout()[..., 3:], 3, axis=2)
        return letterbox(scene.image(), side), letterbox(alpha, side, bars=0)[..., 0]

    pictures, masks = zip(*read_in_threads(square, scenes), strict=True)
    asked = QUESTIONS[config.form]
    return Views(
        texts=[instruct(product_of(s.product), k % len(asked), of=config.form) for k, s in enumerate(scenes)],
        pictures=np.stack(pictures),
        masks=np.stack(masks),
    )


def see_views(processor: Any, views: Views, count: int, seed: int) -> Seen:
    """`count` views, drawn from `seed` and encoded."""
    texts, pictures, masks = draw_views(views, count, np.random.default_rng(seed))
    together = torch.from_numpy(np.stack(pictures))
    return Seen(inputs=encode(processor, texts, pictures), pictures=together, masks=torch.from_numpy(np.stack(masks)))


def draw_views(
    views: Views, count: int, rng: np.random.Generator
) -> tuple[list[str], list[Pixels], list[NDArray[np.uint8]]]:
    """`count` texts, pictures u8[S, S, 3] and masks u8[S, S], cut, mirrored, recoloured and blurred at random.

    Changes that would change a click label are fine here: targets are measured after them.
    """
    drawn = rng.integers(len(views.pictures), size=count)
    pictures, masks = zip(*(_vary(views.pictures[k], views.masks[k], rng) for k in drawn), strict=True)
    return [views.texts[k] for k in drawn], list(pictures), list(masks)


def _vary(picture: Pixels, mask: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Pixels, NDArray[np.uint8]]:
    side = len(mask)
    cut = round(side * (rng.uniform(0.65, 1.0) if rng.random() < 0.7 else 1.0))
    top, left = rng.integers(0, side - cut + 1, 2)
    there = np.s_[top : top + cut, left : left + cut]
    picture, mask = (cv2.resize(x[there], (side, side), interpolation=cv2.INTER_LINEAR) for x in (picture, mask))
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    pixels = picture.astype(np.float32)
    if rng.random() < 0.7:
        grey, tint = pixels.mean(2, keepdims=True), np.float32([1 + rng.normal(0, 0.08), 1, 1 + rng.normal(0, 0.08)])
        pixels = (grey + (pixels - grey) * rng.uniform(0.4, 1.6)) * rng.uniform(0.6, 1.3) * tint
    if rng.random() < 0.2:
        pixels = cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), rng.uniform(0.5, 2))
    return np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8)), np.ascontiguousarray(mask)


def _standard(channels: Tensor) -> Tensor:
    """f32[..., CHANNELS] of means, with energies as logs, around 0 with deviations of about 1."""
    colours, energy = channels.split([COLOURS, CHANNELS - COLOURS], dim=-1)
    return (torch.cat([colours, energy.add(1e-5).log()], -1) - CENTRE.to(channels)) / SCALE.to(channels)


def _blur(plane: Tensor) -> Tensor:
    kernel = torch.outer(BINOMIAL, BINOMIAL)[None, None].to(plane)
    return F.conv2d(F.pad(plane, (2,) * 4, mode="reflect"), kernel)


def _by_token(plane: Tensor, grid: int) -> Tensor:
    """f32[B, C, grid k, grid k] to f32[B, grid^2, C k^2], tokens in raster order."""
    return F.unfold(plane, plane.shape[-1] // grid, stride=plane.shape[-1] // grid).transpose(1, 2)
