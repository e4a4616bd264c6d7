"""Leg 2 of the background recipe: the decoder alone, on noised and on enlarged latents.

A painter's latents are never exact, and a decoder that has only seen exact ones turns each small error into a blotch.
Here latents get noise of a random deviation, half of it correlated over neighbours as a painter's errors are; the
target is the clean picture. A share of the steps shows it the latents of a picture half the size, enlarged: so it
learns to decode pictures of twice the native side, sharper than enlarged pixels and without another network. The
encoder stays as it is, so latents, and with them the UNet leg, do not depend on this leg.
"""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from caig.models.background_parts import enlarge_latents
from caig.recipes.background import Config, finished_state, training_scenes
from caig.recipes.background.autoencoder import (
    GRADIENT_WEIGHT,
    PIXELS,
    crops,
    finished_autoencoder,
    gradient_loss,
)
from caig.recipes.processes import add_gradients, own_rows, whole
from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for

SIDE = 128


def train_decoder(config: Config, accelerator: Accelerator) -> None:
    """Train from the last checkpoint to `config.decoder_steps`; writes `decoder.pt`."""
    pictures, model = [scene.image() for scene in training_scenes(config)], finished_autoencoder(config)
    model.to(accelerator.device)
    trained = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]  # pyright: ignore
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        trained, lr=config.autoencoder_lr / 2, weight_decay=1e-4, betas=(0.9, 0.99), fused=True
    )
    path, start = config.out / "decoder.pt", 0
    log = Log(config.out / "log.jsonl", silent=not accelerator.is_main_process)
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    for step in range(start, config.decoder_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.autoencoder_lr / 2 * cosine_with_warmup(step, config.decoder_steps, 50)
        losses = decoder_losses(model, pictures, config, step, accelerator)
        optimizer.zero_grad(set_to_none=True)
        (losses["l1"] + GRADIENT_WEIGHT * losses["gradient"]).backward()
        add_gradients(trained, accelerator)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            log.write(leg="decoder", step=step + 1, **{name: value.item() for name, value in losses.items()})
        done = (step + 1) % config.checkpoint_every == 0 or step + 1 == config.decoder_steps
        if done and accelerator.is_main_process:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, state)
    accelerator.wait_for_everyone()


def decoder_losses(
    model: AutoencoderKL,
    pictures: list[NDArray[np.uint8]],
    config: Config,
    step: int,
    accelerator: Accelerator | None = None,
) -> dict[str, Tensor]:
    """Losses of one step; draws depend on (seed, step) alone."""
    rng = np.random.default_rng([config.seed, 6, step])
    generator = torch.Generator().manual_seed(seed_for(config.seed, "decoder", step))
    drawn = rng.integers(len(pictures), size=PIXELS // SIDE**2)
    target = crops([pictures[number] for number in drawn], rng, SIDE).to(model.device)
    count, rows = len(target), own_rows(accelerator, len(target))
    enlarged = rng.random() < config.decoder_enlarged
    with torch.no_grad():
        shown = F.avg_pool2d(target, 2) if enlarged else target
        latents = model.encode(shown).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
        latents = (latents + painter_noise(latents, config.decoder_noise, generator).to(latents))[rows]
    own = model.decode(enlarge_latents(latents) if enlarged else latents).sample  # pyright: ignore
    painted = whole(accelerator, own, count)
    return {"l1": F.l1_loss(painted, target), "gradient": gradient_loss(painted, target)}


def painter_noise(latents: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Noise like `latents` f32[N, C, h, w]: per picture a deviation in 0..`most`, white or smooth over 2x2 to 4x4."""
    count, channels, height, width = latents.shape
    noise = []
    for _ in range(count):
        grain = int(torch.tensor([1, 1, 2, 4])[torch.randint(4, (1,), generator=generator)])
        drawn = torch.randn(1, channels, -(-height // grain), -(-width // grain), generator=generator)
        smooth = F.interpolate(drawn, size=(height, width), mode="bilinear") if grain > 1 else drawn
        noise.append(smooth * most * torch.rand(1, generator=generator))
    return torch.cat(noise)


def finished_decoder(config: Config) -> AutoencoderKL:
    """The autoencoder with its trained decoder."""
    model = finished_autoencoder(config)
    if state := finished_state(config, "decoder", config.decoder_steps):
        model.load_state_dict(state["model"])
    return model.eval().requires_grad_(False)
