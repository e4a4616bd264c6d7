"""Train the background model: autoencoder, its decoder, then text-conditioned inpainting UNet, then ControlNet.

Differs from the paper: CAIG takes a ready Stable Diffusion 1.5 with a canny ControlNet; this recipe trains the same
classes from nothing on rendered scenes, so that a painter can ship in the package. The painter is conditioned on the
product under *neutral* light, never on the scene's own pixels: else it would read the background off the product.
Every random draw comes from (seed, leg, step), so a resumed run equals an uncut one, and the processes of
`accelerate launch` share each step's pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caig.errors import InputError

if TYPE_CHECKING:
    from caig.data.scenes import SceneRecord

Leg = Literal["autoencoder", "decoder", "unet", "controlnet"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train background`."""

    data: Path
    """Folder of scene tars."""
    out: Path
    """Run folder: checkpoints, log and the exported model."""
    start_from: str | None = None
    """Name of a background checkpoint whose weights, sizes and tokenizer the run starts from; None: from nothing.
    A leg of 0 steps keeps them."""
    plates: Path | None = None
    """Folder of plates-*.tar, rendered sets without products, that the exported model starts from; None: those of
    `start_from`, if it has some."""
    legs: tuple[Leg, ...] = ("autoencoder", "decoder", "unet", "controlnet")
    """Which legs to run now; each needs the ones before it."""
    autoencoder_steps: int = 5400
    """Steps of 65,536 pixels each."""
    autoencoder_channels: tuple[int, int, int, int] = (32, 64, 128, 128)
    """Channels per level, multiples of 16."""
    autoencoder_lr: float = 8e-4
    kl_weight: float = 3e-4
    """Weight of the latent prior, per latent value."""
    decoder_steps: int = 600
    """Steps of 65,536 pixels each, of the decoder alone on noised latents."""
    decoder_noise: float = 0.4
    """Most noise on a latent, whose own deviation is 1, that the decoder learns to see through."""
    decoder_enlarged: float = 0.5
    """Share of the decoder's steps on enlarged latents of a picture half the size."""
    coarse_unet_steps: int = 6000
    """First UNet steps, at half resolution: layout is learned there at a quarter of the price."""
    unet_steps: int = 2500
    """UNet steps at full resolution, every fourth still at half; each phase has a learning-rate schedule of its own."""
    refined_timesteps: int = 600
    """Full resolution learns mostly the timesteps below this one, of 1,000: sampling paints at half resolution first
    and refines from there."""
    unet_channels: tuple[int, int, int] = (64, 160, 256)
    """Channels per level, multiples of 16."""
    unet_batch: int = 16
    unet_lr: float = 4e-4
    dropout: float = 0.05
    views: int = 4
    """Augmented views encoded per scene at full resolution; twice as many at half, where they cost a quarter."""
    empty_text: float = 0.1
    """Share of samples without text, for guidance."""
    product_weight: float = 0.1
    """Loss weight inside the product, whose pixels come from the photo anyway."""
    band_weight: float = 2.0
    """Loss weight in the band around the product, where contact and shadow are."""
    controlnet_steps: int = 1200
    controlnet_lr: float = 2e-4
    ema_decay: float = 0.999
    seed: int = 0
    device: str | None = None
    """cpu, cuda, cuda:1 …; None: a GPU when there is one."""
    threads: int = 2
    checkpoint_every: int = 200


def run(config: Config) -> Path:
    """Train the legs named in `config`; returns the exported model folder, or the run folder before the last leg."""
    import torch

    from caig.recipes.background.autoencoder import train_autoencoder
    from caig.recipes.background.controlnet import train_controlnet
    from caig.recipes.background.decoder import train_decoder
    from caig.recipes.background.export import export
    from caig.recipes.background.unet import train_unet
    from caig.recipes.processes import join_processes

    torch.set_num_threads(config.threads)
    accelerator = join_processes(config.device)
    if "autoencoder" in config.legs:
        train_autoencoder(config, accelerator)
    if "decoder" in config.legs:
        train_decoder(config, accelerator)
    if "unet" in config.legs:
        train_unet(config, accelerator)
    if "controlnet" not in config.legs:
        return config.out
    train_controlnet(config, accelerator)
    if accelerator.is_main_process:
        export(config)
    accelerator.wait_for_everyone()
    return config.out / "model"


def starting_folder(config: Config) -> Path | None:
    """The folder of the checkpoint that `config.start_from` names; None when it names none."""
    from caig.models.hub import resolve

    return resolve(config.start_from, "background") if config.start_from else None


def training_scenes(config: Config) -> list[SceneRecord]:
    """The scenes of training products."""
    from caig.data.scenes import read_scenes

    return [scene for scene in read_scenes(config.data) if scene.split == "train"]


def finished_state(config: Config, leg: Leg, steps: int) -> dict[str, Any] | None:
    """The last checkpoint of `leg`; None for a leg of 0 steps of a run that starts from a checkpoint.

    Raises InputError when the leg has not run to its end.
    """
    from caig.recipes.training import load_checkpoint

    state = load_checkpoint(config.out / f"{leg}.pt")
    if state is None and steps == 0 and config.start_from:
        return None
    if state is None or state["step"] < steps:
        raise InputError(
            f"leg {leg} in {config.out}",
            expected=f"{steps} finished steps",
            got=str(state["step"] if state else 0),
            next_step=f"Run leg {leg} first.",
        )
    return state
