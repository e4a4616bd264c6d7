"""Leg 3 of the background recipe: text encoder and inpainting UNet, jointly, first at half resolution.

Pictures are painted at half resolution and refined at full resolution from a noised enlargement (`Sampling.refine`),
so the costly phase at full resolution is spent on the lower noise levels; the rest keep a small share, for pipelines
that paint at one resolution only.

v-prediction with zero-terminal SNR. Loss weight per step min(SNR + 1, 5) / (SNR + 1): the usual min-SNR weight for
v-prediction, min(SNR, 5) / (SNR + 1) (arXiv 2303.09556), is 0 where the SNR is, and would starve the first steps.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from caig.data.captions import write_caption
from caig.data.scenes import SceneRecord, read_scenes
from caig.data.vocabulary import vocabulary
from caig.models.background_parts import (
    build_scheduler,
    build_text_encoder,
    build_tokenizer,
    build_unet,
)
from caig.recipes.background import Config, finished_state, starting_folder, training_scenes
from caig.recipes.background.autoencoder import finished_autoencoder
from caig.recipes.background.views import COARSE_SIZES, FULL_SIZES, Views, encoded_views
from caig.recipes.processes import add_gradients, own_rows, whole
from caig.recipes.training import Log, MovingAverage, cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for
from caig.types import Size

VALIDATION_EVERY = 500
WHOLE_RANGE = 0.15  # share of full-resolution samples at any timestep
WARMUP = 200
COARSE_EVERY = 4  # steps at full resolution that keep half resolution in mind


class Painter(nn.Module):
    """Text encoder and UNet as one module: one optimizer, one moving average."""

    def __init__(self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.unet: UNet2DConditionModel = unet.to(memory_format=torch.channels_last)  # pyright: ignore

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """f32[N, T, C] hidden states, T = the tokenizer's fixed length."""
        ids = self.tokenizer(
            list(texts), padding="max_length", max_length=self.tokenizer.model_max_length, truncation=True
        )["input_ids"]
        return self.text_encoder(torch.tensor(ids, device=self.text_encoder.device)).last_hidden_state

    def predict(self, batch: Batch) -> Tensor:
        """Predicted velocity f32[N, 4, h, w]."""
        return self.unet(batch.inputs, batch.timesteps, self.encode_text(batch.texts)).sample


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Training samples of one shape, noised."""

    inputs: Tensor  # f32[N, 9, h, w]
    velocity: Tensor  # f32[N, 4, h, w] what the UNet must predict
    timesteps: Tensor  # i64[N]
    weight: Tensor  # f32[N, 1, h, w]
    edges: Tensor  # u8[N, H, W]
    texts: list[str]

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        return replace(self, **{key: x.to(device) for key, x in vars(self).items() if isinstance(x, Tensor)})

    def rows(self, rows: slice) -> Batch:
        """Some of the samples."""
        return replace(self, **{key: x[rows] for key, x in vars(self).items()})


class Sampler:
    """Draws noised batches from encoded views; every draw depends on (seed, leg, step) alone.

    Timesteps lie below `below`, but for a share of `WHOLE_RANGE`.
    """

    def __init__(
        self, config: Config, scenes: list[SceneRecord], views: dict[str, Views], leg: int, below: int = 1000
    ) -> None:
        self.config, self.scenes, self.views, self.leg, self.below = config, scenes, views, leg, below
        self.noise = DDPMScheduler.from_config(build_scheduler().config)
        self.shapes = sorted(views)
        counts = np.array([len(views[shape].scene) for shape in self.shapes], float)
        self.shares = counts / counts.sum()

    def draw(self, step: int, size: int) -> Batch:
        rng = np.random.default_rng([self.config.seed, self.leg, step])
        generator = torch.Generator().manual_seed(seed_for(self.config.seed, self.leg, step))
        views = self.views[self.shapes[rng.choice(len(self.shapes), p=self.shares)]]
        rows = torch.from_numpy(rng.integers(len(views.scene), size=size))
        clean, timesteps = views.target[rows].float(), self._timesteps(size, generator)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = self.noise.add_noise(clean, noise, timesteps)
        snr = self.noise.alphas_cumprod[timesteps] / (1 - self.noise.alphas_cumprod[timesteps])
        share = (snr + 1).clamp(max=5) / (snr + 1)
        return Batch(
            inputs=torch.cat([noisy, views.paint[rows].float(), views.masked[rows].float()], 1),
            velocity=self.noise.get_velocity(clean, noise, timesteps),
            timesteps=timesteps,
            weight=views.weight[rows].float() * share[:, None, None, None],
            edges=views.edges[rows],
            texts=self._texts(views.scene[rows], random.Random(int(rng.integers(2**62)))),
        )

    def _timesteps(self, size: int, generator: torch.Generator) -> Tensor:
        whole = torch.rand(size, generator=generator) < WHOLE_RANGE
        drawn = torch.rand(size, generator=generator) * torch.where(whole, 1000, self.below)
        return drawn.long()

    def _texts(self, indices: Tensor, rng: random.Random) -> list[str]:
        return [
            "" if rng.random() < self.config.empty_text else training_caption(self.scenes[int(i)], rng) for i in indices
        ]


def training_caption(scene: SceneRecord, rng: random.Random) -> str:
    """A caption of the scene: half as rendered, half in other words; phrases sometimes shuffled or left out."""
    record = scene.record
    if rng.random() < 0.5:
        factors = ("setting", "floor", "backdrop", "props", "lighting", "aperture")
        return write_caption(**{name: record[name] for name in factors}, rng=rng)
    phrases = rng.choice(record["captions"]).split(", ")
    if rng.random() < 0.3:
        rng.shuffle(phrases)
    kept = [phrase for phrase in phrases if rng.random() > 0.1]
    return ", ".join(kept or phrases)


def loss_of(batch: Batch, predicted: Tensor) -> Tensor:
    """Weighted mean squared error of the predicted velocity."""
    return (batch.weight * (predicted - batch.velocity).square()).mean() / batch.weight.mean()


def train_unet(config: Config, accelerator: Accelerator) -> None:
    """Train from the last checkpoint; coarse steps first, then full resolution; writes `unet.pt`."""
    scenes = training_scenes(config)
    held_out = [scene for scene in read_scenes(config.data) if scene.split == "validation"]
    autoencoder = finished_autoencoder(config).to(accelerator.device)
    painter = fresh_painter(config, scenes).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        painter.parameters(), lr=config.unet_lr, weight_decay=1e-2, betas=(0.9, 0.99), fused=True
    )
    average, start = MovingAverage(painter, config.ema_decay), 0
    path, log = config.out / "unet.pt", Log(config.out / "log.jsonl", silent=not accelerator.is_main_process)
    if state := load_checkpoint(path):
        painter.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.restore(state["average"])
        start = state["step"]
    total, losses = config.coarse_unet_steps + config.unet_steps, []
    for step, sampler, check, share in _plan(config, accelerator, autoencoder, scenes, held_out, start):
        painter.train()
        for group in optimizer.param_groups:
            group["lr"] = config.unet_lr * share
        # dropout knows no other generator
        torch.manual_seed(seed_for(config.seed, "dropout", step) + accelerator.process_index)
        batch = sampler.draw(step, config.unet_batch).to(accelerator.device)
        own = painter.predict(batch.rows(own_rows(accelerator, config.unet_batch)))
        loss = loss_of(batch, whole(accelerator, own, config.unet_batch))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        add_gradients(painter.parameters(), accelerator)
        torch.nn.utils.clip_grad_norm_(painter.parameters(), 1.0)
        optimizer.step()
        average.update(painter, step)
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            log.write(leg="unet", step=step + 1, loss=sum(losses) / len(losses))
            losses.clear()
        if ((step + 1) % VALIDATION_EVERY == 0 or step + 1 == total) and accelerator.is_main_process:
            log.write(leg="unet", step=step + 1, validation=validation_loss(painter, average, check))
        if ((step + 1) % config.checkpoint_every == 0 or step + 1 == total) and accelerator.is_main_process:
            state = {"model": painter.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(path, {**state, "average": average.shadow, "step": step + 1})
    accelerator.wait_for_everyone()


def _plan(
    config: Config,
    accelerator: Accelerator,
    autoencoder: AutoencoderKL,
    scenes: list[SceneRecord],
    held_out: list[SceneRecord],
    start: int,
) -> Iterator[tuple[int, Sampler, Sampler, float]]:
    """Yield (step, training sampler, validation sampler, share of the learning rate) from `start` on."""

    def samplers(name: str, sizes: dict[str, Size], below: int = 1000) -> tuple[Sampler, Sampler]:
        with accelerator.main_process_first():  # the others read what it stores
            views = encoded_views(config, autoencoder, scenes, name, sizes)
            checked = encoded_views(config, autoencoder, held_out, f"{name}-validation", sizes)
        return Sampler(config, scenes, views, 3, below), Sampler(config, held_out, checked, 4)

    coarse, total = config.coarse_unet_steps, config.coarse_unet_steps + config.unet_steps
    if start >= total:
        return
    small, small_check = samplers("coarse", COARSE_SIZES)
    for step in range(start, coarse):
        yield step, small, small_check, cosine_with_warmup(step, coarse, WARMUP)
    if config.unet_steps:
        full, full_check = samplers("full", FULL_SIZES, config.refined_timesteps)
        for step in range(max(start, coarse), total):
            sampler = small if step % COARSE_EVERY == 0 else full
            yield step, sampler, full_check, cosine_with_warmup(step - coarse, config.unet_steps, WARMUP)


@torch.no_grad()
def validation_loss(painter: Painter, average: MovingAverage, check: Sampler) -> float:
    """Loss of the averaged weights on the same 96 noised views of validation products each time."""
    current = {name: value.clone() for name, value in painter.state_dict().items()}
    painter.load_state_dict(average.shadow)
    painter.eval()
    batches = [check.draw(number, 16).to(painter.unet.device) for number in range(6)]
    losses = [loss_of(batch, painter.predict(batch)) for batch in batches]
    painter.load_state_dict(current)
    return torch.stack(losses).mean().item()


def fresh_painter(config: Config, scenes: list[SceneRecord]) -> Painter:
    """The painter to start from: the checkpoint's, or one whose weights depend on the seed alone and whose tokenizer
    is trained on every phrase of the vocabulary."""
    if folder := starting_folder(config):
        return Painter(
            CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
            CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=torch.float32),
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32, dropout=config.dropout),
        )
    captions = [caption for scene in scenes for caption in scene.record["captions"]]
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(config.seed, "painter"))
        tokenizer = build_tokenizer([*captions, *vocabulary_phrases()])
        return Painter(tokenizer, build_text_encoder(tokenizer), build_unet(config.unet_channels, config.dropout))


def vocabulary_phrases() -> list[str]:
    """Every phrase that a description may hold."""
    words = vocabulary()
    tables = (words.floors, words.backdrops, words.props, words.lights, words.blur)
    settings = [phrase for setting in words.settings.values() for phrase in setting.phrases]
    return [*settings, *words.raised, *(phrase for table in tables for row in table.values() for phrase in row)]


def finished_painter(config: Config, scenes: list[SceneRecord]) -> Painter:
    """The trained painter with its averaged weights."""
    painter = fresh_painter(config, scenes)
    if state := finished_state(config, "unet", config.coarse_unet_steps + config.unet_steps):
        painter.load_state_dict(state["average"])
    return painter.eval().requires_grad_(False)
