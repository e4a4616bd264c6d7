"""Leg 1 of the background recipe: the autoencoder, on crops.

Loss: L1 + 0.5 · L1 of image gradients + KL; no GAN (it needs far more steps than a CPU has). A quarter of the steps
train scale equivariance (arXiv 2502.09509): averaged latents must decode to the averaged picture, which makes latents
that diffuse well at both resolutions of the UNet leg. The last tenth trains the decoder alone on whole pictures.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from caig.data.scenes import read_scenes
from caig.models.background_parts import build_autoencoder
from caig.recipes.background import Config, starting_point
from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for

GREY = 128  # what the pipeline puts where it will paint (0 in -1..1)


def train_autoencoder(config: Config) -> None:
    """Train from the last checkpoint to `config.autoencoder_steps`; writes `autoencoder.pt`."""
    pictures = load_pictures(config)
    model = build_seeded(config)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.autoencoder_lr, weight_decay=1e-4, betas=(0.9, 0.99), fused=True
    )
    path, log = config.out / "autoencoder.pt", Log(config.out / "log.jsonl")
    start = 0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    model.train()
    for step in range(start, config.autoencoder_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.autoencoder_lr * cosine_with_warmup(step, config.autoencoder_steps, 100)
        finishing = step >= 0.9 * config.autoencoder_steps
        losses = autoencoder_losses(model, pictures, config, step, finishing=finishing)
        loss = losses["l1"] + 0.5 * losses["gradient"] + config.kl_weight * losses["kl"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            log.write(leg="autoencoder", step=step + 1, **{name: value.item() for name, value in losses.items()})
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.autoencoder_steps:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, state)


def build_seeded(config: Config) -> AutoencoderKL:
    """The autoencoder to start from: the checkpoint's, or a fresh one whose weights depend on the seed alone."""
    if start := starting_point(config):
        return start.vae.to(memory_format=torch.channels_last)  # pyright: ignore
    with torch.random.fork_rng():
        torch.manual_seed(seed_for(config.seed, "autoencoder"))
        return build_autoencoder(config.autoencoder_channels).to(memory_format=torch.channels_last)  # pyright: ignore


def load_pictures(config: Config) -> list[NDArray[np.uint8]]:
    """Decode training scenes, and each one's masked picture (product on grey): u8[H, W, 3] each, in turn."""
    pictures = []
    for scene in read_scenes(config.data):
        if scene.split == "train":
            pictures += [scene.image(), masked_picture(scene.cutout())]
    return pictures


def masked_picture(cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Product on grey with a hard edge, exactly as the inpainting pipeline masks: u8[H, W, 4] -> u8[H, W, 3]."""
    return np.where(cutout[..., 3:] > 127, cutout[..., :3], np.uint8(GREY))


def autoencoder_losses(
    model: AutoencoderKL, pictures: list[NDArray[np.uint8]], config: Config, step: int, *, finishing: bool
) -> dict[str, Tensor]:
    """Losses of one step; draws depend on (seed, step) alone."""
    rng = np.random.default_rng([config.seed, 1, step])
    generator = torch.Generator().manual_seed(seed_for(config.seed, "autoencoder", step))
    target = crops(pictures, rng, side=256 if finishing else int(rng.choice([64, 64, 128])))
    with torch.set_grad_enabled(not finishing):
        posterior = model.encode(target).latent_dist  # pyright: ignore[reportAttributeAccessIssue]
        latents = posterior.sample(generator)
    if not finishing and step > 500 and rng.random() < 0.25:
        latents, target = F.avg_pool2d(latents, 2), F.avg_pool2d(target, 2)
    painted = model.decode(latents).sample  # pyright: ignore[reportAttributeAccessIssue]
    kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
    return {"l1": F.l1_loss(painted, target), "gradient": gradient_loss(painted, target), "kl": kl}


def gradient_loss(painted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical pixel differences: keeps edges sharp."""
    across = F.l1_loss(painted.diff(dim=-1), target.diff(dim=-1))
    down = F.l1_loss(painted.diff(dim=-2), target.diff(dim=-2))
    return across + down


def crops(pictures: list[NDArray[np.uint8]], rng: np.random.Generator, *, side: int) -> Tensor:
    """65,536 pixels of random crops as f32[N, 3, side, side] in -1..1: one in five from a masked picture."""
    batch = []
    for _ in range(65536 // side**2):
        picture = pictures[2 * rng.integers(len(pictures) // 2) + (rng.random() < 0.2)]
        height, width = picture.shape[:2]
        side_y, side_x = min(side, height // 16 * 16), min(side, width // 16 * 16)
        y, x = rng.integers(height - side_y + 1), rng.integers(width - side_x + 1)
        crop = picture[y : y + side_y, x : x + side_x]
        batch.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    pixels = torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2)
    return (pixels.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
