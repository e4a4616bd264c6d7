"""Images scored per second and peak memory of reward models: python bench/score.py --models embedded,llava-1.6-7b

`llava-1.6-7b` and `qwen3-vl-4b` are full-size architectures with random weights and heads; anything else is a name that
caig loads. caig reads each of n candidates once; the published way reads every pair of them, two 512 px squares left
and right in one picture, one pair after another. A tower that sees one small square only (embedded) is shown the two in
two image slots instead, at its own size, which is cheaper than what is published.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import published
from full_size import language_model
from turns import Run, compare_both

from caig.models.reward_model import Calibration, RewardModel, RewardNetwork, width_of
from caig.recipes.reward import side_of
from caig.testing import sample_product
from caig.types import Pixels

UNFITTED: dict[str, Any] = {
    "temperature": 1.0, "slope": 1.0, "offset": 0.0, "spread": 1.0, "base_rates": {}, "global_rate": 0.01,
    "global_offset": 0.0, "global_spread": 1.0, "calibrated_on": "simulated",
}  # fmt: skip
PUBLISHED_SIDE = 512


def ours(name: str, n: int, device: str, dtype: str) -> Run:
    """Score n candidates, each in a sequence of its own."""
    backbone, processor = language_model(name, "reward", device, dtype)
    network = RewardNetwork(backbone, width_of(backbone)).to(device)
    model = RewardModel(network, processor, Calibration(**UNFITTED, image_side=side_of(backbone)), name=name)
    ids = [str(k) for k in range(n)]
    return lambda turn: len(model.score(sample_product(), pictures(n, turn), ids=ids))


def theirs(name: str, n: int, device: str, dtype: str) -> Run:
    """Score n candidates by all their pairs."""
    backbone, processor = language_model(name, "reward", device, dtype)
    network = RewardNetwork(backbone, width_of(backbone), form="joint").to(device).eval()
    small = backbone.config.model_type == "llava"  # one square of its tower's side
    shape: dict[str, Any] = {"side": side_of(backbone) if small else PUBLISHED_SIDE}
    shape["layout"] = "slots" if small else "left-right"
    return lambda turn: len(published.score(network, processor, sample_product(), pictures(n, turn), **shape))


def pictures(n: int, seed: int) -> list[Pixels]:
    """u8[512, 512, 3] each."""
    return list(np.random.default_rng(seed).integers(0, 256, (n, 512, 512, 3), np.uint8))


if __name__ == "__main__":
    compare_both(__doc__, "reward", ours, theirs, n=16, what="candidates", unit="images")
