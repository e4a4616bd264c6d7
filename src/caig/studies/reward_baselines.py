"""What a reward model is held against: image statistics, the shop's own features, and a small convolutional ranker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.seeding import seed_for
from caig.studies.learnability import features, fit_oracle, runs_of

if TYPE_CHECKING:
    import torch

    from caig.studies.rewards import Shelf

Floats = NDArray[np.float64]

RIDGES = (1.0, 10.0, 100.0)  # inverse prior variances of the weights, chosen by validation
CNN_SIDE, CNN_WIDTHS, PICTURES, PRODUCTS = 128, (16, 32, 64, 128), 4, 8
CNN_RATES = (5e-4, 2e-3, 5e-3)  # larger than a backbone's: it starts from nothing


def oracle(shelf: Shelf) -> tuple[Floats, float]:
    """(utilities f64[N], 0) of a conditional logit on the shop's features, fitted to training products."""
    seen, known = features(shelf.ads), shelf.part == "train"
    clicks, shown = shelf.clicks(shelf.config.impressions)
    return seen @ fit_oracle(seen[known], shelf.owner[known], clicks[known], shown[known]), 0.0


def statistics(shelf: Shelf) -> tuple[Floats, float]:
    """(utilities f64[N], ridge) of a conditional logit on mask-free statistics, shared and by category."""
    from caig.studies.rewards import accuracy, once

    path = shelf.config.out / "statistics.json"
    values = once(path, shelf.scenes, lambda scene: measure(scene.image()))
    values = (values - values.mean(0)) / values.std(0).clip(1e-6)
    _, category = np.unique([ad.product.category for ad in shelf.ads], return_inverse=True)
    own = (np.eye(category.max() + 1)[category][:, :, None] * values[:, None, :]).reshape(len(values), -1)
    seen, known = np.hstack([values, own]), shelf.part == "train"
    clicks, shown = shelf.clicks(shelf.config.impressions)
    found = {}
    for ridge in RIDGES:
        penalty = np.concatenate([np.full(values.shape[1], ridge), np.full(own.shape[1], 4 * ridge)])
        found[ridge] = seen @ fit_oracle(seen[known], shelf.owner[known], clicks[known], shown[known], penalty)
    best = max(found, key=lambda ridge: accuracy(shelf, found[ridge], "validation"))
    return found[best], best


def measure(picture: NDArray[np.uint8]) -> Floats:
    """f64[17]: mean and deviation of L*, a*, b*, saturation and slope; detail at two scales; the centre against the
    rest, of u8[H, W, 3]. None needs the product's mask."""
    pixels = picture.astype(np.float32) / 255
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    saturation = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)[..., 1:2]
    slope = np.hypot(*(cv2.Sobel(lab[..., 0], cv2.CV_32F, dx, 1 - dx) / 8 for dx in (0, 1)))[..., None]
    planes = np.concatenate([lab, saturation, slope], axis=2)
    detail = [
        np.log(0.05 + cv2.Laplacian(cv2.GaussianBlur(lab[..., 0], (0, 0), s), cv2.CV_32F).std()) for s in (0.3, 2)
    ]
    height, width = picture.shape[:2]
    centre = planes[height // 4 : -(height // 4), width // 4 : -(width // 4)].mean((0, 1))
    return np.concatenate([planes.mean((0, 1)), planes.std((0, 1)), centre - planes.mean((0, 1)), detail]).astype(float)


def cnn(shelf: Shelf) -> tuple[Floats, float]:
    """(utilities f64[N], learning rate) of a convolutional ranker of pixels and categories, best of CNN_RATES."""
    from caig.studies.rewards import accuracy

    found = {lr: _train_cnn(shelf, lr) for lr in CNN_RATES}
    best = max(found, key=lambda lr: accuracy(shelf, found[lr], "validation"))
    return found[best], best


def _train_cnn(shelf: Shelf, lr: float) -> Floats:
    import torch

    from caig.models.reward_model import letterbox
    from caig.preference.losses import click_share_error
    from caig.recipes.training import cosine_with_warmup

    pixels = np.stack([letterbox(scene.image(), CNN_SIDE) for scene in shelf.scenes])
    _, category = np.unique([ad.product.category for ad in shelf.ads], return_inverse=True)
    clicks, shown = (torch.from_numpy(column).float() for column in shelf.clicks(shelf.config.impressions))
    ranker = _ranker(int(category.max()) + 1, seed_for(shelf.seed, "cnn"))
    optimizer = torch.optim.AdamW(ranker.parameters(), lr=lr, weight_decay=0.05)
    starts, sizes = runs_of(shelf.owner)
    runs = [np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True) if n > 1 and shelf.part[a] == "train"]
    chance = np.array([len(run) for run in runs], float)
    for step in range(shelf.config.steps):
        rng = np.random.default_rng(seed_for(shelf.seed, "cnn", step))
        drawn = [runs[k] for k in rng.choice(len(runs), PRODUCTS, p=chance / chance.sum())]
        rows = [rng.choice(run, min(PICTURES, len(run)), replace=False) for run in drawn]
        owner = torch.tensor([number for number, own in enumerate(rows) for _ in own])
        index = np.concatenate(rows)
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine_with_warmup(step, shelf.config.steps, 40)
        utility = ranker(_batch(pixels[index], rng.random() < 0.5), torch.from_numpy(category[index]))
        loss = click_share_error(utility, clicks[index], shown[index], owner)
        optimizer.zero_grad()
        (20 * loss).backward()
        optimizer.step()
    ranker.eval()
    with torch.inference_mode():
        parts = np.array_split(np.arange(len(pixels)), 32)
        return np.concatenate(
            [ranker(_batch(pixels[k], False), torch.from_numpy(category[k])).numpy() for k in parts]
        ).astype(np.float64)


def _batch(pictures: NDArray[np.uint8], mirrored: bool) -> torch.Tensor:
    import torch

    pictures = pictures[:, :, ::-1] if mirrored else pictures
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _ranker(categories: int, seed: int) -> torch.nn.Module:
    """Strided convolutions, mean over the picture, features gated by a category embedding."""
    import torch
    from torch import nn

    class Ranker(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = zip((3, *CNN_WIDTHS), CNN_WIDTHS, strict=False)
            layers = [(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairs]
            self.see = nn.Sequential(*(layer for block in layers for layer in block))
            self.gate = nn.Embedding(categories, CNN_WIDTHS[-1])
            self.judge = nn.Linear(CNN_WIDTHS[-1], 1)

        def forward(self, pictures: torch.Tensor, category: torch.Tensor) -> torch.Tensor:
            found = self.see(pictures).mean((2, 3))
            return 0.1 * self.judge(found * (1 + self.gate(category))).squeeze(1)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        return Ranker()
