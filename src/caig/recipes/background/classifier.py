"""A plain convolutional classifier of setting and light, trained on renders only: it says what is seen in paintings.

It shares no architecture with anything that it judges, and never sees a painting: what it recognises in one is there.
Products are covered with grey for it: renders of them are lit by the scene, and their kinds suit some settings, while
an ad keeps the photo as it is, so that a product says nothing about what was painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from caig.data.scenes import SceneRecord
from caig.recipes.training import cosine_with_warmup, load_checkpoint, save_checkpoint
from caig.seeding import seed_for
from caig.types import Pixels

SIDE = 96  # pictures are shown at this side
CHANNELS = (24, 48, 96, 128)
BATCH, RATE, EVERY = 32, 2e-3, 200
GREY = np.uint8(128)


class SceneClassifier(nn.Module):
    """`settings` and `lights` are the names that its two heads choose from."""

    def __init__(self, settings: Sequence[str], lights: Sequence[str]) -> None:
        super().__init__()
        self.settings, self.lights = list(settings), list(lights)
        layers, width = [], 3
        for channels in CHANNELS:
            layers += [nn.Conv2d(width, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            width = channels
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.3)
        # Means and maxima: a light is everywhere in a picture, a lemon in one place.
        self.setting, self.light = nn.Linear(2 * width, len(settings)), nn.Linear(2 * width, len(lights))

    def features(self, pictures: Tensor) -> Tensor:
        """f[N, 2C] of pictures f[N, 3, SIDE, SIDE] in -1..1."""
        seen = self.body(pictures)
        return torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], 1)

    @torch.inference_mode()
    def look(self, pictures: Sequence[Pixels]) -> tuple[list[str], list[str], NDArray[np.float32]]:
        """Settings, lights and features f32[N, 2C] of u8[H, W, 3] pictures of any size."""
        self.eval()
        seen = torch.cat([self.features(as_tensor(part)) for part in _batches([shrink(p) for p in pictures])])
        named = ((head(seen).argmax(1).tolist(), names) for head, names in self._heads())
        settings, lights = ([names[k] for k in chosen] for chosen, names in named)
        return settings, lights, seen.numpy()

    def _heads(self) -> tuple[tuple[nn.Linear, list[str]], tuple[nn.Linear, list[str]]]:
        return (self.setting, self.settings), (self.light, self.lights)


def train_classifier(scenes: Sequence[SceneRecord], path: Path, *, steps: int, seed: int) -> SceneClassifier:
    """A classifier trained for `steps` steps of `BATCH` renders, going on from the checkpoint `path`."""
    names = [sorted({scene.record[factor] for scene in scenes}) for factor in ("setting", "lighting")]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "classifier") % 2**63)
        classifier = SceneClassifier(*names)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=0.05)
    start = 0
    if state := load_checkpoint(path):
        classifier.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    if start >= steps:
        return classifier
    pictures = np.stack([shrink(ground_of(scene, scene.image()), SIDE + 16) for scene in scenes])
    settings, lights = (
        torch.tensor([names[k].index(scene.record[factor]) for scene in scenes])
        for k, factor in enumerate(("setting", "lighting"))
    )
    for step in range(start, steps):
        classifier.train()
        torch.manual_seed(seed_for(seed, "classifier", step) % 2**63)  # dropout knows no other generator
        rng = np.random.default_rng([seed, 6, step])
        rows = rng.integers(len(scenes), size=BATCH)
        seen = classifier.drop(classifier.features(as_tensor([_window(pictures[row], rng) for row in rows])))
        loss = nn.functional.cross_entropy(classifier.setting(seen), settings[rows], label_smoothing=0.1)
        loss = loss + nn.functional.cross_entropy(classifier.light(seen), lights[rows], label_smoothing=0.1)
        for group in optimizer.param_groups:
            group["lr"] = RATE * cosine_with_warmup(step, steps, 50)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % EVERY == 0 or step + 1 == steps:
            state = {"model": classifier.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, state)
    return classifier


def ground_of(scene: SceneRecord, picture: Pixels) -> Pixels:
    """`picture` u8[H, W, 3] of the scene's size, the product covered with grey, soft edges and one pixel around too."""
    covered = cv2.dilate(scene.cutout()[..., 3], np.ones((3, 3), np.uint8)) > 0
    return np.where(covered[..., None], GREY, picture)


def shrink(picture: Pixels, side: int = SIDE) -> Pixels:
    """u8[side, side, 3], whatever the picture's shape."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)  # pyright: ignore


def as_tensor(pictures: Sequence[Pixels]) -> Tensor:
    """u8[N, S, S, 3] to f32[N, 3, S, S] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _window(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A random window of `SIDE`, mirrored half the time."""
    y, x = rng.integers(picture.shape[0] - SIDE + 1, size=2)
    window = picture[y : y + SIDE, x : x + SIDE]
    return window[:, ::-1] if rng.random() < 0.5 else window


def _batches(pictures: Sequence[Pixels], size: int = 64) -> list[Sequence[Pixels]]:
    return [pictures[k : k + size] for k in range(0, len(pictures), size)]
