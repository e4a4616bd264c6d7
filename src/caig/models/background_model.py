"""The background model: paints described backgrounds around a product with Stable Diffusion + ControlNet inpainting.

The checkpoint is an ordinary diffusers folder that also loads in the stock `StableDiffusionControlNetInpaintPipeline`.
The sampling loop is our own, because the stock one samples the masked picture's latents (here: their mode), embeds
every prompt and edge map again, and shares one generator between pictures (here: one per picture). A checkpoint may
ask to be painted at half the side first, at a quarter of the price, and refined from there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionControlNetInpaintPipeline
from diffusers.utils.logging import disable_progress_bar
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from caig.errors import CheckpointError
from caig.models.background_parts import enlarge_latents
from caig.models.calming import calm, calm_weight
from caig.models.hub import fingerprint, resolve
from caig.types import Canvas, Description, Pixels, Size

GREY = 128
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a checkpoint likes to be sampled; kept in its `sampling.json`. Defaults: the paper's for SD 1.5."""

    steps: int = 30
    guidance: float = 7.5
    controlnet_scale: float = 1.0
    native_side: int = 512
    """Side of the square that the model paints best; other shapes get the same area."""
    erode: int = 1
    """Pixels taken off the product's mask, so that the model paints right up to it."""
    refine: int = 0
    """Timestep of 1,000 at which a picture painted at half the side, enlarged and noised, goes on at the full side;
    0: painted at the full side at once."""
    enlarges: bool = False
    """Whether the decoder was trained on enlarged latents too, and so decodes larger canvases at twice the side."""


@dataclass(frozen=True)
class Frame:
    """A canvas shrunk to the model's area and padded to whole latent blocks: never stretched."""

    width: int
    height: int
    inner_width: int
    inner_height: int

    @classmethod
    def around(cls, size: Size, side: int, multiple: int) -> Frame:
        """The frame for a canvas of `size` (W, H): area about side², sides rounded up to `multiple`."""
        scale = side / (size[0] * size[1]) ** 0.5
        inner = [max(multiple, round(length * scale)) for length in size]
        outer = [-(-length // multiple) * multiple for length in inner]
        return cls(outer[0], outer[1], inner[0], inner[1])

    def half(self) -> Frame:
        """The same frame at half the side."""
        return Frame(*(length // 2 for length in (self.width, self.height, self.inner_width, self.inner_height)))

    def fit(self, pixels: np.ndarray, fill: float, interpolation: int = cv2.INTER_AREA) -> np.ndarray:
        """Shrink [H, W(, C)] into the frame's inner part; the rim holds `fill`."""
        inner = cv2.resize(pixels, (self.inner_width, self.inner_height), interpolation=interpolation)
        return cv2.copyMakeBorder(inner, *self._rims(), cv2.BORDER_CONSTANT, value=(fill,) * 3)

    def unfit(self, pixels: Pixels, size: Size) -> Pixels:
        """Cut the rim off a painted frame, or one painted k times as large, and resize it to `size` (W, H)."""
        k, (top, _, left, _) = pixels.shape[0] // self.height, self._rims()
        inner = pixels[k * top : k * (top + self.inner_height), k * left : k * (left + self.inner_width)]
        smaller = size[0] < k * self.inner_width
        return cv2.resize(inner, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)  # pyright: ignore

    def _rims(self) -> tuple[int, int, int, int]:
        down, across = self.height - self.inner_height, self.width - self.inner_width
        return down // 2, down - down // 2, across // 2, across - across // 2


class BackgroundModel:
    """A background model from a diffusers folder."""

    def __init__(self, pipeline: StableDiffusionControlNetInpaintPipeline, sampling: Sampling, *, name: str) -> None:
        self.pipeline, self.sampling, self.name = pipeline, sampling, name
        self.fingerprint: str | None = None

    @classmethod
    def from_pretrained(cls, name: str = "embedded", *, device: str | None = None) -> BackgroundModel:
        """Load a checkpoint by name (see `caig.models.hub`): fp32 on CPU, fp16 on GPU; CheckpointError if broken."""
        folder = resolve(name, "background")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float32 if device == "cpu" else torch.float16
        disable_progress_bar()  # of loading; caig tells its own progress
        try:
            pipeline = StableDiffusionControlNetInpaintPipeline.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, safety_checker=None, local_files_only=True
            ).to(device)
        except (OSError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"background model {name!r}",
                expected="a diffusers folder with a ControlNet inpainting pipeline",
                got=str(error).splitlines()[0],
                next_step="Name a folder that StableDiffusionControlNetInpaintPipeline can load.",
            ) from None
        for part in (pipeline.unet, pipeline.controlnet, pipeline.vae):
            part.to(memory_format=torch.channels_last)  # measured: 512² decoded in 0.7 of the time on a CPU
        model = cls(pipeline, read_sampling(folder), name=name)
        model.fingerprint = fingerprint(folder)
        return model

    def with_controlnet_scale(self, scale: float) -> BackgroundModel:
        """The same weights, with the ControlNet's part multiplied by `scale`; 0 leaves it out."""
        name = f"{self.name}, ControlNet x {scale:g}"
        model = BackgroundModel(self.pipeline, replace(self.sampling, controlnet_scale=scale), name=name)
        model.fingerprint = self.fingerprint
        return model

    @torch.inference_mode()
    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        """Paint one u8[H, W, 3] picture of the canvas's size per description, all in one batch.

        Same seeds and batch size: bit-equal. The frame is padded, never stretched, to the model's latent blocks. A
        description's negative text takes the place of the empty one in the guidance; `canvas.clear` is calmed.
        """
        height, width = canvas.product.shape
        frame = Frame.around((width, height), self.sampling.native_side, self._multiple())
        text = self._encode_texts([d.negative for d in descriptions] + [d.text for d in descriptions])
        latents = self._sample(frame, canvas, text, [torch.Generator().manual_seed(seed) for seed in seeds])
        if self.sampling.enlarges and width > frame.inner_width:
            latents = enlarge_latents(latents)
        return [frame.unfit(picture, (width, height)) for picture in self._decode(latents)]

    def _sample(self, frame: Frame, canvas: Canvas, text: Tensor, generators: list[torch.Generator]) -> Tensor:
        """Latents f[N, 4, h, w]: from noise at once, or at half the side first and then refined."""
        if not self.sampling.refine:
            return self._denoise(frame, canvas, text, generators)
        small = self._denoise(frame.half(), canvas, text, generators)
        return self._denoise(frame, canvas, text, generators, start=enlarge_latents(small))

    def _denoise(
        self,
        frame: Frame,
        canvas: Canvas,
        text: Tensor,
        generators: list[torch.Generator],
        start: Tensor | None = None,
    ) -> Tensor:
        """Classifier-free guidance over all pictures at once: f[N, 4, h, w]; `text` holds N negatives and N prompts.

        `start` f[N, 4, h, w] is noised to the timestep `refine` and goes on from there; None: from noise alone.
        """
        scheduler, count = self.pipeline.scheduler, len(generators)
        condition, control = self._condition(frame, canvas), self._edges(frame, canvas)
        scheduler.set_timesteps(self.sampling.steps, device=text.device)
        shape = (self.pipeline.vae.config.latent_channels, *condition.shape[-2:])
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(text)
        timesteps = scheduler.timesteps
        if start is None:
            latents = noise * scheduler.init_noise_sigma
        else:
            first = int((timesteps > self.sampling.refine).sum())
            scheduler.set_begin_index(first)
            timesteps = timesteps[first:]
            latents = scheduler.add_noise(start, noise, timesteps[:1].expand(count))
        control, condition = (part.expand(2 * count, -1, -1, -1) for part in (control, condition))
        quiet = calm_weight(canvas.clear, noise.shape[-2:]).to(noise) if canvas.clear else None
        for timestep in timesteps:
            twice = scheduler.scale_model_input(torch.cat([latents, latents]), timestep)
            residuals = self._control(twice, timestep, text, control)
            inputs = torch.cat([twice, condition], 1) if self.pipeline.unet.config.in_channels == 9 else twice
            free, told = self.pipeline.unet(inputs, timestep, text, **residuals).sample.chunk(2)
            told = free + self.sampling.guidance * (told - free)
            if quiet is not None:
                told = calm(told, latents, quiet, scheduler, timestep)
            latents = scheduler.step(told, timestep, latents).prev_sample
        return latents

    def _control(self, latents: Tensor, timestep: Tensor, text: Tensor, edges: Tensor) -> dict[str, Tensor]:
        scale = self.sampling.controlnet_scale
        if scale == 0:
            return {}
        down, middle = self.pipeline.controlnet(latents, timestep, text, edges, scale, return_dict=False)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def _condition(self, frame: Frame, canvas: Canvas) -> Tensor:
        """f[1, 5, h, w]: paint mask and latents of the product on grey, masked hard as in training."""
        side = 2 * self.sampling.erode + 1
        alpha = frame.fit(canvas.product, 0.0)
        product = cv2.erode(np.uint8(255) * (alpha > 0.5), np.ones((side, side), np.uint8))
        pixels = np.where(product[..., None] > 0, frame.fit(canvas.image, GREY) / 127.5 - 1, 0.0)  # 0 is mid-grey
        shown = self._tensor(product[..., None] / 255)
        latents = self.pipeline.vae.encode(self._tensor(pixels)).latent_dist.mode()
        paint = 1 - F.interpolate(shown, size=latents.shape[-2:], mode="nearest")
        return torch.cat([paint, latents * self.pipeline.vae.config.scaling_factor], 1)

    def _edges(self, frame: Frame, canvas: Canvas) -> Tensor:
        """f[1, 3, H, W] in 0..1: canny edges of the product at the frame's size."""
        from caig.imaging.edges import product_edges

        edges = product_edges(frame.fit(canvas.image, GREY), frame.fit(canvas.product, 0.0))
        return self._tensor(edges[..., None] / 255).expand(-1, 3, -1, -1)

    def _encode_texts(self, texts: list[str]) -> Tensor:
        """f[N, T, C] of N texts; equal ones are encoded once."""
        tokenizer = self.pipeline.tokenizer
        for text in texts:
            warn_of_cut(tokenizer, text)
        unique = list(dict.fromkeys(texts))
        ids = tokenizer(unique, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
        states = self.pipeline.text_encoder(torch.tensor(ids["input_ids"], device=self.pipeline.device))[0]
        return states[[unique.index(text) for text in texts]]

    def _decode(self, latents: Tensor) -> list[Pixels]:
        """u8[H, W, 3] pictures, one at a time: the decoder is what needs memory."""
        vae = self.pipeline.vae
        decoded = [vae.decode(one[None] / vae.config.scaling_factor).sample[0] for one in latents]
        return [
            ((picture.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
            for picture in decoded
        ]

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        """[H, W, C] to f[1, C, H, W] on the model's device."""
        return torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self.pipeline.device, self.pipeline.dtype)

    def _multiple(self) -> int:
        """Pixels per side that one latent block of the UNet's coarsest level stands for."""
        return self.pipeline.vae_scale_factor * 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1)


def read_sampling(folder: Path) -> Sampling:
    """The checkpoint's `sampling.json`, or the defaults; unknown keys are an error."""
    path = folder / "sampling.json"
    if not path.is_file():
        return Sampling()
    fields = json.loads(path.read_text())
    if unknown := fields.keys() - Sampling.__dataclass_fields__.keys():
        raise CheckpointError(
            str(path),
            expected=f"only {sorted(Sampling.__dataclass_fields__)}",
            got=str(sorted(unknown)),
            next_step="Remove the unknown keys.",
        )
    return Sampling(**fields)


def warn_of_cut(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Log a warning with the words that the text encoder will not see."""
    limit = tokenizer.model_max_length
    ids = tokenizer(text, truncation=False)["input_ids"]
    if len(ids) > limit:
        cut = tokenizer.decode(ids[limit - 1 : -1])
        log.warning("description has %d tokens, the text encoder reads %d; cut: %r", len(ids), limit, cut)
