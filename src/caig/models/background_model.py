"""The background model: paints described backgrounds around a product with Stable Diffusion + ControlNet inpainting.

The checkpoint is an ordinary diffusers folder of Stable Diffusion 1.5 or XL, or a composition of some
(`caig.models.background_loading`). The sampling loop is our own, because the stock ones sample the masked picture's
latents (here: their mode), embed every prompt and edge map again, and share one generator between pictures (here: one
per picture). A checkpoint may ask to be painted at half the side first, at a quarter of the price, and be refined from
there, or bring plates (`caig.models.plates`) to start from.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as combinations
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from caig.errors import InputError
from caig.models.background_loading import Sampling, compile_parts, load_pipeline
from caig.models.background_parts import enlarge_latents
from caig.models.background_text import Words, encode_texts
from caig.models.calming import calm, calm_weight
from caig.models.hub import Dtype, place, resolve
from caig.models.plates import PlateBank
from caig.types import Canvas, Description, Pixels, Size

GREY = 128
SMOOTH, REACH = 1 / 64, 7 / 64  # of light and shadow, in shares of the native side


@dataclass(frozen=True)
class Frame:
    """A canvas shrunk to the model's area and padded to whole latent blocks: never stretched."""

    width: int
    height: int
    inner_width: int
    inner_height: int

    @classmethod
    def around(cls, size: Size, side: int, multiple: int) -> Frame:
        """The frame for a canvas of `size` (W, H): sides are multiples of `multiple`, the area is about side².

        Each side is rounded down or up, whichever paints the fewest pixels for each one of the canvas's own.
        """
        scale = side / (size[0] * size[1]) ** 0.5
        sides = [{max(1, int(x * scale) // multiple) * multiple, -int(-x * scale // multiple) * multiple} for x in size]
        frames = [cls._inside(size, width, height) for width, height in combinations(*sides)]
        return min(frames, key=lambda frame: frame._price(side * side))

    @classmethod
    def _inside(cls, size: Size, width: int, height: int) -> Frame:
        fit = min(width / size[0], height / size[1])
        return cls(width, height, max(1, round(size[0] * fit)), max(1, round(size[1] * fit)))

    def _price(self, area: int) -> float:
        return self.width * self.height / min(area, self.inner_width * self.inner_height)

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
    """A background model of Stable Diffusion 1.5 or XL; `pipeline` is diffusers' ControlNet inpainting pipeline."""

    def __init__(self, pipeline: Any, sampling: Sampling, *, name: str, plates: PlateBank | None = None) -> None:
        self.pipeline, self.sampling, self.name, self.plates = pipeline, sampling, name, plates
        self.fingerprint: str | None = None

    @classmethod
    def from_pretrained(
        cls, name: str = "embedded", *, device: str | None = None, dtype: Dtype | None = None, compile: bool = False
    ) -> BackgroundModel:
        """Load a checkpoint by name (see `caig.models.hub`): fp32 on CPU, fp16 on GPU, unless told otherwise.

        `compile` compiles UNet and ControlNet at the first picture of each size: worth its minutes for many pictures.
        Raises CheckpointError for a broken checkpoint, InputError for an impossible device and for no compiler.
        """
        device, dtype = place("background", device, dtype)
        folder = resolve(name, "background")
        pipeline, sampling, fingerprint = load_pipeline(folder, device, getattr(torch, dtype), name)
        if compile:
            compile_parts(pipeline)
        model = cls(pipeline, sampling, name=name, plates=PlateBank.read(folder))
        model.fingerprint = fingerprint
        return model

    def with_controlnet_scale(self, scale: float) -> BackgroundModel:
        """The same weights, with the ControlNet's part multiplied by `scale`; 0 leaves it out."""
        sampling = replace(self.sampling, controlnet_scale=scale)
        return self._variant(f"ControlNet x {scale:g}", sampling, self.plates)

    def from_noise(self) -> BackgroundModel:
        """The same weights without plates: the diffusion model paints alone, as in the paper."""
        return self._variant("from noise", self.sampling, None)

    def _variant(self, what: str, sampling: Sampling, plates: PlateBank | None) -> BackgroundModel:
        """The same weights at work in another way, which the name tells."""
        model = BackgroundModel(self.pipeline, sampling, name=f"{self.name}, {what}", plates=plates)
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
        if not self._guided() and self.plates is None and any(d.negative for d in descriptions):
            hint = "Leave the negative out, or sample with a guidance above 1."
            raise InputError("negative", expected="a background model with guidance", got=self.name, next_step=hint)
        plates: list[Pixels] = []
        if self.plates is not None:
            plates = [self.plates.lay(d, canvas, seed=s) for d, s in zip(descriptions, seeds, strict=True)]
            if not self.sampling.refine:
                return plates
        negatives = [description.negative for description in descriptions] if self._guided() else None
        words = encode_texts(self.pipeline, [description.text for description in descriptions], negatives)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        if self.plates is not None:
            return self._relight(frame, canvas, words, generators, plates)
        latents = self._sample(frame, canvas, words, generators)
        if self.sampling.enlarges and width > frame.inner_width:
            latents = enlarge_latents(latents)
        return [frame.unfit(picture, (width, height)) for picture in self._decode(latents)]

    def _relight(
        self,
        frame: Frame,
        canvas: Canvas,
        words: Words,
        generators: list[torch.Generator],
        plates: list[Pixels],
    ) -> list[Pixels]:
        """The plates, at their own resolution, with the light and shadow that the diffusion model gives them around the
        product: what it changed in brightness, smoothed over `SMOOTH`, fades over `REACH`. So little detail is left
        that half the side is enough. Its colours are left out: a small painter's spots of colour were seen in sheets,
        its shadows hold."""
        frame, side = frame.half(), self.sampling.native_side / 2
        start = self._encode(np.stack([frame.fit(plate, GREY) / 127.5 - 1 for plate in plates]))
        painted = self._denoise(frame, canvas, words, generators, start=start)
        away = cv2.distanceTransform(np.uint8(frame.fit(canvas.product, 0.0) <= 0.5), cv2.DIST_L2, 5)
        near = np.exp(-((away / (REACH * side)) ** 2))[..., None]
        size = canvas.product.shape[1], canvas.product.shape[0]
        pictures = []
        for plate, before, after in zip(plates, self._decode(start), self._decode(painted), strict=True):
            brighter = (after.astype(np.float32) - before).mean(2, keepdims=True)
            change = near * cv2.GaussianBlur(brighter, (0, 0), SMOOTH * side)[..., None]
            pictures.append(np.clip(plate + frame.unfit(change, size)[..., None] + 0.5, 0, 255).astype(np.uint8))
        return pictures

    def _sample(self, frame: Frame, canvas: Canvas, words: Words, generators: list[torch.Generator]) -> Tensor:
        """Latents f[N, 4, h, w]: from noise at once, or at half the side first and then refined."""
        if not self.sampling.refine:
            return self._denoise(frame, canvas, words, generators)
        small = self._denoise(frame.half(), canvas, words, generators)
        return self._denoise(frame, canvas, words, generators, start=enlarge_latents(small))

    def _denoise(
        self,
        frame: Frame,
        canvas: Canvas,
        words: Words,
        generators: list[torch.Generator],
        start: Tensor | None = None,
    ) -> Tensor:
        """All pictures at once, f[N, 4, h, w].

        `start` f[N, 4, h, w] is noised to the timestep `refine` and goes on from there; None: from noise alone.
        """
        scheduler = self.pipeline.scheduler
        known, control = self._known(frame, canvas), self._control_picture(frame, canvas)
        scheduler.set_timesteps(self.sampling.steps, device=self.pipeline.device)
        shape = (self.pipeline.vae.config.latent_channels, *known.shape[-2:])
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).to(known)
        latents, timesteps = self._begin(noise, start)
        quiet = calm_weight(canvas.clear, noise.shape[-2:]).to(noise) if canvas.clear else None
        takes_noise = "generator" in inspect.signature(scheduler.step).parameters
        drawn: dict[str, Any] = {"generator": generators} if takes_noise else {}
        for step, timestep in enumerate(timesteps):
            scaled = scheduler.scale_model_input(latents, timestep)
            told = self._predict(scaled, timestep, words, known, control)
            if quiet is not None:
                told = calm(told, scaled, quiet, scheduler, timestep)
            latents = scheduler.step(told, timestep, latents, **drawn).prev_sample
            if self._inputs() == 4:
                latents = self._keep_known(latents, known, noise, timesteps[step + 1 : step + 2])
        return latents

    def _begin(self, noise: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        """First latents, and the timesteps that are left."""
        scheduler = self.pipeline.scheduler
        if start is None:
            return noise * scheduler.init_noise_sigma, scheduler.timesteps
        first = int((scheduler.timesteps > self.sampling.refine).sum())
        scheduler.set_begin_index(first)
        timesteps = scheduler.timesteps[first:]
        return scheduler.add_noise(start, noise, timesteps[:1].expand(len(noise))), timesteps

    def _predict(self, latents: Tensor, timestep: Tensor, words: Words, known: Tensor, control: Tensor) -> Tensor:
        """The network's output f[N, 4, h, w], with classifier-free guidance if there is any."""
        rows = torch.cat([latents, latents]) if self._guided() else latents
        told = self._told(words, control)
        residuals = self._residuals(rows, timestep, words, control, told)
        inputs = torch.cat([rows, known.expand(len(rows), -1, -1, -1)], 1) if self._inputs() == 9 else rows
        output = self.pipeline.unet(inputs, timestep, words.states, **residuals, **told).sample
        if not self._guided():
            return output
        free, asked = output.chunk(2)
        return free + self.sampling.guidance * (asked - free)

    def _residuals(
        self, rows: Tensor, timestep: Tensor, words: Words, control: Tensor, told: dict[str, Any]
    ) -> dict[str, Any]:
        scale = self.sampling.controlnet_scale
        if scale == 0:
            return {}
        control = control.expand(len(rows), -1, -1, -1)
        down, middle = self.pipeline.controlnet(rows, timestep, words.states, control, scale, return_dict=False, **told)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    def _told(self, words: Words, control: Tensor) -> dict[str, Any]:
        """What SDXL is told besides the prompt: pooled text, and that the picture is uncropped and of its own size."""
        if words.pooled is None:
            return {}
        height, width = control.shape[-2:]
        sizes = torch.tensor([[height, width, 0, 0, height, width]]).to(words.pooled).expand(len(words.pooled), -1)
        return {"added_cond_kwargs": {"text_embeds": words.pooled, "time_ids": sizes}}

    def _keep_known(self, latents: Tensor, known: Tensor, noise: Tensor, following: Tensor) -> Tensor:
        """Put the product back, noised as the next step expects: how a UNet that sees no mask inpaints."""
        paint, clean = known[:, :1], known[:, 1:].expand_as(latents)
        if len(following):
            clean = self.pipeline.scheduler.add_noise(clean, noise, following.expand(len(latents)))
        return paint * latents + (1 - paint) * clean

    def _known(self, frame: Frame, canvas: Canvas) -> Tensor:
        """f[1, 5, h, w]: paint mask (1 = paint) and latents of the product on grey, masked hard as in training."""
        shown = self._shown(frame, canvas)
        pixels = np.where(shown[..., None], frame.fit(canvas.image, GREY) / 127.5 - 1, 0.0)  # 0 is mid-grey
        latents = self._encode(pixels[None])
        paint = 1 - F.interpolate(self._tensor(shown[None, ..., None]), size=latents.shape[-2:], mode="nearest")
        return torch.cat([paint, latents], 1)

    def _shown(self, frame: Frame, canvas: Canvas) -> np.ndarray:
        """bool[H, W] of the frame: the product, a little eroded."""
        side = 2 * self.sampling.erode + 1
        alpha = frame.fit(canvas.product, 0.0)
        return cv2.erode(np.uint8(255) * (alpha > 0.5), np.ones((side, side), np.uint8)) > 0

    def _control_picture(self, frame: Frame, canvas: Canvas) -> Tensor:
        """What the ControlNet sees, f[1, 3, H, W] in 0..1; -1 where an inpainting ControlNet shall paint."""
        if self.sampling.control == "canny":
            return self._edges(frame, canvas)
        shown = self._shown(frame, canvas)[..., None]
        return self._tensor(np.where(shown, frame.fit(canvas.image, GREY) / 255, -1.0)[None])

    def _edges(self, frame: Frame, canvas: Canvas) -> Tensor:
        """f[1, 3, H, W] in 0..1: canny edges of the product at the frame's size."""
        from caig.imaging.edges import product_edges

        edges = product_edges(frame.fit(canvas.image, GREY), frame.fit(canvas.product, 0.0))
        return self._tensor(edges[None, ..., None] / 255).expand(-1, 3, -1, -1)

    def _decode(self, latents: Tensor) -> list[Pixels]:
        """u8[H, W, 3] pictures, one at a time: the decoder is what needs memory."""
        vae = self.pipeline.vae
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor
        decoded = [vae.decode(one[None]).sample[0] for one in scaled]
        return [
            ((picture.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
            for picture in decoded
        ]

    def _encode(self, pixels: np.ndarray) -> Tensor:
        """Latents f[N, 4, h, w] of pictures [N, H, W, 3] in -1..1."""
        vae = self.pipeline.vae
        latents = vae.encode(self._tensor(pixels).to(vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
        return latents.to(self.pipeline.unet.dtype)

    def _tensor(self, pixels: np.ndarray) -> Tensor:
        """[N, H, W, C] to f[N, C, H, W] on the model's device."""
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.pipeline.device, self.pipeline.unet.dtype)

    def _multiple(self) -> int:
        """Pixels per side that one latent block of the UNet's coarsest level stands for."""
        return self.pipeline.vae_scale_factor * 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1)

    def _inputs(self) -> int:
        """9 input channels: the UNet sees mask and product; 4: it does not."""
        return self.pipeline.unet.config.in_channels

    def _guided(self) -> bool:
        return self.sampling.guidance > 1
