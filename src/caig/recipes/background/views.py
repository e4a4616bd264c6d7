"""Augmented views of the scenes, with their latents encoded once: what the UNet and ControlNet legs train on.

A view is a zoomed, perhaps mirrored window of a scene. Its condition is built from the *neutral* product pass alone:
mask eroded by 1 to 4 px (else the painter learns that every product has a rim of its own), colour and exposure
jittered, on grey where the painter will paint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from caig.data.scenes import SceneRecord
from caig.imaging.edges import product_edges
from caig.recipes.background import Config
from caig.recipes.background.autoencoder import GREY, encode_pictures
from caig.recipes.training import load_checkpoint, save_checkpoint

FULL_SIZES = {"square": (256, 256), "wide": (352, 192), "tall": (192, 352)}
COARSE_SIZES = {"square": (128, 128), "wide": (176, 96), "tall": (96, 176)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Views:
    """Views of one shape. N views of H×W pixels, h = H / 8, w = W / 8."""

    target: Tensor  # f16[N, 4, h, w] latents of the whole picture
    masked: Tensor  # f16[N, 4, h, w] latents of the product on grey
    paint: Tensor  # bool[N, 1, h, w] true = to be painted
    weight: Tensor  # f16[N, 1, h, w] loss weight
    edges: Tensor  # u8[N, H, W] canny edges of the product
    scene: Tensor  # i64[N] index into the scenes


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """One view before encoding."""

    picture: NDArray[np.uint8]  # u8[H, W, 3]
    masked: NDArray[np.uint8]  # u8[H, W, 3]
    product: NDArray[np.uint8]  # u8[H, W], 255 = product that the painter is shown
    edges: NDArray[np.uint8]  # u8[H, W]


def encoded_views(
    config: Config, autoencoder: AutoencoderKL, scenes: list[SceneRecord], name: str, sizes: dict[str, tuple[int, int]]
) -> dict[str, Views]:
    """Views of all `scenes` by shape, encoded once and kept in `config.out`/`views-<name>.pt`."""
    path = config.out / f"views-{name}.pt"
    stored = load_checkpoint(path)
    if stored is None:
        stored = {shape: vars(views) for shape, views in _encode_all(config, autoencoder, scenes, sizes)}
        save_checkpoint(path, stored)
    return {shape: Views(**fields) for shape, fields in stored.items()}


def _encode_all(
    config: Config, autoencoder: AutoencoderKL, scenes: list[SceneRecord], sizes: dict[str, tuple[int, int]]
) -> Iterator[tuple[str, Views]]:
    views = config.views if sizes is FULL_SIZES else 2 * config.views
    for shape, size in sizes.items():
        windows, index = [], []
        for number, scene in enumerate(scenes):
            if shape_of(scene) == shape:
                rng = np.random.default_rng([config.seed, 2, number, size[0]])
                windows += [cut_window(scene, size, rng) for _ in range(views)]
                index += [number] * views
        if windows:
            yield shape, _encode(autoencoder, windows, torch.tensor(index), config)


def shape_of(scene: SceneRecord) -> str:
    width, height = scene.record["size"]
    return "square" if width == height else ("wide" if width > height else "tall")


def cut_window(scene: SceneRecord, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A random window of `scene` that keeps the whole product, resized to `size` (W, H)."""
    picture, cutout = scene.image(), scene.cutout()
    height, width = picture.shape[:2]
    rows, columns = np.nonzero(cutout[..., 3] > 127)
    needed = max((np.ptp(rows) + 9) / height, (np.ptp(columns) + 9) / width) if len(rows) else 0.0
    most = 1.35 if size[0] * size[1] > 128 * 128 else 1.9  # more would only show the painter blur
    share = max(min(1.0, needed), 1 / rng.uniform(1, most))
    side_y, side_x = round(height * share), round(width * share)
    y = _window_start(rows, side_y, height, rng)
    x = _window_start(columns, side_x, width, rng)
    method = cv2.INTER_AREA if size[0] < side_x else cv2.INTER_CUBIC
    window = np.s_[y : y + side_y, x : x + side_x]
    picture, cutout = (
        cv2.resize(np.ascontiguousarray(p[window]), size, interpolation=method) for p in (picture, cutout)
    )
    if rng.random() < 0.5:
        picture, cutout = picture[:, ::-1], cutout[:, ::-1]
    return _condition(np.ascontiguousarray(picture), np.ascontiguousarray(cutout), rng)


def _window_start(inside: NDArray[np.intp], side: int, length: int, rng: np.random.Generator) -> int:
    """A start so that start..start+side holds the pixels `inside` where it can and stays within `length`."""
    low = max(0, int(inside.max()) + 5 - side) if len(inside) else 0
    high = min(length - side, max(0, int(inside.min()) - 4)) if len(inside) else length - side
    return int(rng.integers(min(low, length - side), max(high, min(low, length - side)) + 1))


def _condition(picture: NDArray[np.uint8], cutout: NDArray[np.uint8], rng: np.random.Generator) -> Window:
    """The painter's condition: the product eroded and jittered in colour and exposure."""
    side = int(rng.integers(1, 5))
    product = cv2.erode(np.uint8(255) * (cutout[..., 3] > 127), np.ones((side, side), np.uint8))
    gain = rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, size=3)
    colours = np.clip(cutout[..., :3] * gain, 0, 255).astype(np.uint8)
    masked = np.where(product[..., None] > 0, colours, np.uint8(GREY))
    edges = product_edges(colours, product.astype(np.float32) / 255)
    return Window(picture=picture, masked=masked, product=product, edges=edges)


@torch.no_grad()
def _encode(autoencoder: AutoencoderKL, windows: list[Window], index: Tensor, config: Config) -> Views:
    product = torch.from_numpy(np.stack([window.product for window in windows]))[:, None]
    shown = F.interpolate((product > 0).float(), scale_factor=1 / 8, mode="nearest")  # as the pipeline shrinks it
    band = F.max_pool2d(shown, 5, stride=1, padding=2) - shown
    weight = 1 + (config.product_weight - 1) * shown + (config.band_weight - 1) * band
    return Views(
        target=encode_pictures(autoencoder, [window.picture for window in windows]).half(),
        masked=encode_pictures(autoencoder, [window.masked for window in windows]).half(),
        paint=shown < 0.5,
        weight=weight.half(),
        edges=torch.from_numpy(np.stack([window.edges for window in windows])),
        scene=index,
    )
