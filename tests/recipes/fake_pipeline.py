"""A pipeline whose ads are plain pictures, for tests of what a run does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from caig.artifacts import content_hash
from caig.types import (
    Creative,
    Description,
    Direction,
    Fidelity,
    Layers,
    Palette,
    Placement,
    Product,
    RankedAd,
    Score,
    Try,
)

GOOD = Fidelity(
    core_exact=True, core_coverage=0.97, halo=0.01, extension=0.0, box=0.1, contact=0.2, sharpness=0.9, grain=1.1
)
MEASURED = vars(GOOD) | {"broken": []}
PALETTE = Palette(mean=(60.0, 1.0, 2.0), spread=(10.0, 3.0, 4.0))


class FakePipeline:
    """Plain pictures; fails for the product ids in `broken`, stops like Ctrl-C at `cut_at`."""

    def __init__(self, broken: dict[str, Exception] | None = None, cut_at: str = "") -> None:
        self.cutout, self.reward = "auto", "r1"
        self.broken, self.cut_at = broken or {}, cut_at
        self.calls: list[str] = []
        self.rolls, self.still = 1, ()

    def models(self) -> dict[str, dict[str, str | None]]:
        return {
            "prompt": {"name": "prompts", "fingerprint": "p1"},
            "background": {"name": "backgrounds", "fingerprint": None},
            "reward": {"name": "rewards", "fingerprint": self.reward},
        }

    def generate(
        self,
        product: Product,
        *,
        n: int,
        size: tuple[int, int],
        seed: int,
        placement: Placement | None,
        rolls: int,
        direction: Direction,
    ) -> Sequence[RankedAd]:
        self.calls.append(product.id)
        if product.id == self.cut_at:
            raise KeyboardInterrupt
        if product.id in self.broken:
            raise self.broken[product.id]
        return [self._ad(product, rank, size, seed, placement or Placement()) for rank in range(1, n + 1)]

    def _ad(self, product: Product, rank: int, size: tuple[int, int], seed: int, placement: Placement) -> RankedAd:
        image = np.full((size[1], size[0], 3), 40 * rank + seed, np.uint8)
        image[::2, ::3] = len(product.title)
        text = f"<b>scene</b> {rank}"
        description = Description(product_id=product.id, text=text, author="prompts", seed=seed + rank)
        creative = Creative(
            id=content_hash(image),
            product_id=product.id,
            description=description,
            image=image,
            background_model="backgrounds",
            seed=seed + 10 * rank,
            placement=placement,
            fidelity=replace(GOOD, broken=self.still),
            palette=PALETTE,
            tries=tuple(Try(seed=seed + 10 * rank + roll, fidelity=GOOD) for roll in range(self.rolls)),
            layers=Layers(
                background=image, shadow=image[..., 0] * 0, product=np.zeros((*image.shape[:2], 4), np.uint8)
            ),
        )
        ctr = 0.04 / rank
        score = Score(creative_id=creative.id, utility=-rank, ctr=ctr, low=ctr / 2, high=ctr * 2, basis="simulated")
        return RankedAd(rank=rank, creative=creative, score=score, seconds={"paint": 0.12345})
