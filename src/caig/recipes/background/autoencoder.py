"""Leg 1 of the background recipe: the autoencoder, on crops of scenes and of masked pictures.

Loss: L1 + 0.5 · L1 of image gradients + KL; no GAN (it needs far more steps than a CPU has). A quarter of the steps
train scale equivariance (arXiv 2502.09509): averaged latents must decode to the averaged picture, which makes latents
that diffuse well at both resolutions of the UNet leg.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from caig.models.background_parts import build_autoencoder, fold_latent_statistics
from caig.recipes.background import Config, finished_state, starting_folder, training_scenes
from caig.recipes.processes import add_gradients, own_rows, whole
from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for

GRADIENT_WEIGHT = 0.5
PIXELS = 65536  # a step
GREY = 128  # what the pipeline puts where it will paint (0 in -1..1)


def train_autoencoder(config: Config, accelerator: Accelerator) -> None:
    """Train from the last checkpoint to `config.autoencoder_steps`; writes `autoencoder.pt`."""
    scenes = training_scenes(config)
    pictures, masked = [scene.image() for scene in scenes], [masked_picture(scene.cutout()) for scene in scenes]
    model = build_seeded(config).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.autoencoder_lr, weight_decay=1e-4, betas=(0.9, 0.99), fused=True
    )
    path, log = config.out / "autoencoder.pt", Log(config.out / "log.jsonl", silent=not accelerator.is_main_process)
    start = 0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    model.train()
    for step in range(start, config.autoencoder_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.autoencoder_lr * cosine_with_warmup(step, config.autoencoder_steps, 100)
        target = draw_crops(pictures, masked, np.random.default_rng([config.seed, 1, step]))
        losses = autoencoder_losses(model, target, config, step, accelerator)
        loss = losses["l1"] + GRADIENT_WEIGHT * losses["gradient"] + config.kl_weight * losses["kl"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        add_gradients(model.parameters(), accelerator)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            log.write(leg="autoencoder", step=step + 1, **{name: value.item() for name, value in losses.items()})
        done = (step + 1) % config.checkpoint_every == 0 or step + 1 == config.autoencoder_steps
        if done and accelerator.is_main_process:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, state)
    accelerator.wait_for_everyone()


def build_seeded(config: Config) -> AutoencoderKL:
    """The autoencoder to start from: the checkpoint's, or a fresh one whose weights depend on the seed alone."""
    if folder := starting_folder(config):
        model = AutoencoderKL.from_pretrained(folder, subfolder="vae", dtype=torch.float32)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(config.seed, "autoencoder"))
            model = build_autoencoder(config.autoencoder_channels)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore


def masked_picture(cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Product on grey with a hard edge, exactly as the inpainting pipeline masks: u8[H, W, 4] -> u8[H, W, 3]."""
    return np.where(cutout[..., 3:] > 127, cutout[..., :3], np.uint8(GREY))


def draw_crops(pictures: list[NDArray[np.uint8]], masked: list[NDArray[np.uint8]], rng: np.random.Generator) -> Tensor:
    """65,536 pixels of crops of 64 or 128 a side, one in five from a masked picture."""
    side = int(rng.choice([64, 64, 128]))
    pools = [masked if rng.random() < 0.2 else pictures for _ in range(PIXELS // side**2)]
    return crops([pool[rng.integers(len(pool))] for pool in pools], rng, side)


def autoencoder_losses(
    model: AutoencoderKL, target: Tensor, config: Config, step: int, accelerator: Accelerator | None = None
) -> dict[str, Tensor]:
    """Losses of one step on crops `target`; draws depend on (seed, step) alone."""
    generator = torch.Generator().manual_seed(seed_for(config.seed, "autoencoder", step))
    count, rows = len(target), own_rows(accelerator, len(target))
    target = target.to(model.device)
    posterior = model.encode(target[rows]).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
    noise = torch.randn(count, *posterior.mean.shape[1:], generator=generator)[rows]
    latents = posterior.mean + posterior.std * noise.to(posterior.mean)
    if step > 500 and torch.rand(1, generator=generator) < 0.25:
        latents, target = F.avg_pool2d(latents, 2), F.avg_pool2d(target, 2)
    painted = whole(accelerator, model.decode(latents).sample, count)  # pyright: ignore[reportAttributeAccessIssue]
    divergence = posterior.mean.square() + posterior.var - 1 - posterior.logvar
    kl = 0.5 * whole(accelerator, divergence, count).mean()
    return {"l1": F.l1_loss(painted, target), "gradient": gradient_loss(painted, target), "kl": kl}


def gradient_loss(painted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical pixel differences: keeps edges sharp."""
    across = F.l1_loss(painted.diff(dim=-1), target.diff(dim=-1))
    down = F.l1_loss(painted.diff(dim=-2), target.diff(dim=-2))
    return across + down


def crops(pictures: Sequence[NDArray[np.uint8]], rng: np.random.Generator, side: int) -> Tensor:
    """A random crop of each picture, perhaps mirrored: f32[N, 3, side, side] in -1..1."""
    batch = []
    for picture in pictures:
        height, width = picture.shape[:2]
        y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
        crop = picture[y : y + side, x : x + side]
        batch.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return as_tensor(batch)


def as_tensor(pictures: list[NDArray[np.uint8]]) -> Tensor:
    """u8[H, W, 3] pictures of one size to f32[N, 3, H, W] in -1..1."""
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def finished_autoencoder(config: Config) -> AutoencoderKL:
    """The trained autoencoder with standard latents: mean 0 and deviation 1 per channel over training pictures."""
    model = build_seeded(config)
    if state := finished_state(config, "autoencoder", config.autoencoder_steps):
        model.load_state_dict(state["model"])
    model.eval().requires_grad_(False)
    square = [scene for scene in training_scenes(config) if scene.record["size"][0] == scene.record["size"][1]]
    latents = encode_pictures(model, [scene.image() for scene in square[:256]])
    fold_latent_statistics(model, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    return model


@torch.no_grad()
def encode_pictures(autoencoder: AutoencoderKL, pictures: list[NDArray[np.uint8]], batch: int = 16) -> Tensor:
    """Latent means f32[N, 4, h, w] of u8[H, W, 3] pictures of one size."""
    latents = []
    for start in range(0, len(pictures), batch):
        pixels = as_tensor(pictures[start : start + batch]).to(autoencoder.device)
        latents.append(autoencoder.encode(pixels).latent_dist.mode().cpu())  # pyright: ignore[reportAttributeAccessIssue]
    return torch.cat(latents)
