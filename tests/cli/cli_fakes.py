"""Small models of a team's own, named on the command line as python:cli_fakes:…"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caig.types import Canvas, Description, Pixels, Product, Score

FAKES = {"--prompt-model": "Prompts", "--background-model": "Backgrounds", "--reward-model": "Rewards"}


class Prompts:
    name = "fake prompts"

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        assert isinstance(product.image, np.ndarray) and product.image.shape == (256, 256, 3)
        texts = [f"{product.title} on table {k}" for k in range(1, n + 1)]
        return [Description(product_id=product.id, text=text, author=self.name, seed=seed) for text in texts]


class Backgrounds:
    name = "fake backgrounds"

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        assert len(descriptions) == len(seeds)
        return [np.full_like(canvas.image, 30 + seed % 180) for seed in seeds]


class RestlessBackgrounds:
    """Blots that leave no calm space."""

    name = "restless"

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        height, width = canvas.product.shape
        blots = np.random.default_rng(0).integers(120, 250, (height // 5 + 1, width // 5 + 1, 1), np.uint8)
        picture = blots.repeat(5, 0).repeat(5, 1)[:height, :width].repeat(3, 2)
        return [picture for _ in seeds]


class Rewards:
    """Brighter pictures are clicked more; the mean of 255 has utility 1."""

    name = "fake rewards"
    basis = "simulated"

    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        return [self._score(image, key) for image, key in zip(images, ids, strict=True)]

    def _score(self, image: Pixels, key: str) -> Score:
        utility = float(image.mean()) / 255
        ctr = 0.04 * utility
        return Score(creative_id=key, utility=utility, ctr=ctr, low=ctr / 2, high=ctr * 2, basis=self.basis)


class CalibratedRewards(Rewards):
    basis = "click log"


def no_model() -> object:
    return object()
