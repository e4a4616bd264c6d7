"""Leg 4 of the background recipe: a canny ControlNet over the frozen painter, at both resolutions in turn."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from diffusers import ControlNetModel
from torch import Tensor

from caig.data.scenes import SceneRecord
from caig.models.background_parts import build_controlnet
from caig.recipes.background import Config, finished_state, starting_folder, training_scenes
from caig.recipes.background.autoencoder import finished_autoencoder
from caig.recipes.background.unet import Batch, Painter, Sampler, finished_painter, loss_of
from caig.recipes.background.views import COARSE_SIZES, FULL_SIZES, encoded_views
from caig.recipes.processes import add_gradients, own_rows, whole
from caig.recipes.training import Log, MovingAverage, cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for


def train_controlnet(config: Config, accelerator: Accelerator) -> None:
    """Train from the last checkpoint to `config.controlnet_steps`; writes `controlnet.pt`."""
    scenes = training_scenes(config)
    painter = finished_painter(config, scenes).to(accelerator.device)
    controlnet = fresh_controlnet(config, painter).to(accelerator.device)
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=config.controlnet_lr, weight_decay=1e-2, fused=True)
    average, start = MovingAverage(controlnet, config.ema_decay), 0
    path, losses = config.out / "controlnet.pt", []
    log = Log(config.out / "log.jsonl", silent=not accelerator.is_main_process)
    if state := load_checkpoint(path):
        controlnet.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.restore(state["average"])
        start = state["step"]
    samplers = draw_from(config, scenes, accelerator) if start < config.controlnet_steps else ()
    for step in range(start, config.controlnet_steps):
        for group in optimizer.param_groups:
            group["lr"] = config.controlnet_lr * cosine_with_warmup(step, config.controlnet_steps, 50)
        batch = samplers[step % 2].draw(step, config.unet_batch).to(accelerator.device)
        own = controlled(painter, controlnet, batch.rows(own_rows(accelerator, config.unet_batch)))
        loss = loss_of(batch, whole(accelerator, own, config.unet_batch))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        add_gradients(controlnet.parameters(), accelerator)
        torch.nn.utils.clip_grad_norm_(controlnet.parameters(), 1.0)
        optimizer.step()
        average.update(controlnet, step)
        losses.append(loss.item())
        if (step + 1) % 50 == 0:
            log.write(leg="controlnet", step=step + 1, loss=sum(losses) / len(losses))
            losses.clear()
        done = (step + 1) % config.checkpoint_every == 0 or step + 1 == config.controlnet_steps
        if done and accelerator.is_main_process:
            state = {"model": controlnet.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(path, {**state, "average": average.shadow, "step": step + 1})
    accelerator.wait_for_everyone()


def draw_from(config: Config, scenes: list[SceneRecord], accelerator: Accelerator) -> tuple[Sampler, Sampler]:
    """Samplers of half and of full resolution, as sampling uses them."""
    autoencoder = finished_autoencoder(config).to(accelerator.device)
    with accelerator.main_process_first():  # the others read what it stores
        coarse = encoded_views(config, autoencoder, scenes, "coarse", COARSE_SIZES)
        full = encoded_views(config, autoencoder, scenes, "full", FULL_SIZES)
    return Sampler(config, scenes, coarse, 5), Sampler(config, scenes, full, 5, config.refined_timesteps)


def controlled(painter: Painter, controlnet: ControlNetModel, batch: Batch) -> Tensor:
    """Predicted velocity f32[N, 4, h, w] with the product's edges as control."""
    text = painter.encode_text(batch.texts)
    edges = batch.edges[:, None].float().div(255).expand(-1, 3, -1, -1)
    down, middle = controlnet(batch.inputs[:, :4], batch.timesteps, text, edges, return_dict=False)
    return painter.unet(
        batch.inputs,
        batch.timesteps,
        text,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample


def fresh_controlnet(config: Config, painter: Painter) -> ControlNetModel:
    """The ControlNet to start from: the checkpoint's, or one that starts as the painter's encoder."""
    if folder := starting_folder(config):
        controlnet = ControlNetModel.from_pretrained(folder, subfolder="controlnet", dtype=torch.float32)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(seed_for(config.seed, "controlnet"))
            controlnet = build_controlnet(painter.unet)
    return controlnet.to(memory_format=torch.channels_last)  # pyright: ignore


def finished_controlnet(config: Config, painter: Painter) -> ControlNetModel:
    """The trained ControlNet with its averaged weights."""
    controlnet = fresh_controlnet(config, painter)
    if state := finished_state(config, "controlnet", config.controlnet_steps):
        controlnet.load_state_dict(state["average"])
    return controlnet.eval().requires_grad_(False)
