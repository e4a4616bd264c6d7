"""The reward model: which picture of a product is clicked more, and how often.

A checkpoint is an ordinary image-text-to-text folder of transformers plus `reward_head.safetensors` (two heads on the
last token's hidden state) and `reward.json` (a `Calibration`). Each picture is judged by itself, with the product's
words: N candidates cost N passes, and a score depends neither on their order nor on each other.

Pictures are letterboxed, never cropped or stretched, to the square that the vision tower sees: 128 px in the embedded
checkpoint. Detail finer than that is not judged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from caig.artifacts import to_json
from caig.data.templates import instruct
from caig.errors import CheckpointError, InputError
from caig.models.hub import fingerprint, resolve
from caig.models.mllm import encode, load_mllm, save_mllm
from caig.types import Pixels, Product, Score

HEADS = "reward_head.safetensors"
CALIBRATION = "reward.json"
GREY = 127  # of the letterbox's bars
NORMAL_95 = 1.96


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """From a head's output to probabilities and click-through rates; fitted on validation products.

    utility = raw utility / temperature, so that P(A beats B) = sigmoid(utility_A - utility_B);
    log CTR = log(base rate) + offset + slope * utility, and log CTR +- 1.96 spread holds 95 % of the true CTRs.
    CTR thus rises with utility: both rank the pictures of a product alike, and a picture needs no companions.
    """

    temperature: float
    slope: float
    offset: float
    spread: float
    """Standard deviation of true log CTR around the prediction, for a category with a base rate of its own."""
    base_rates: Mapping[str, float]
    """Category, in lower case -> clicks / impressions."""
    global_rate: float
    """Clicks / impressions of all, for a category that is not known."""
    global_offset: float
    global_spread: float
    calibrated_on: str
    """"simulated" or "click log"."""
    image_side: int
    """Side in pixels of the square into which pictures are letterboxed."""

    def ctr(self, utility: float, category: str) -> tuple[float, float, float]:
        """Predicted CTR and its 95 % interval (ctr, low, high), each 0 to 1."""
        rate = self.base_rates.get(category_key(category))
        known = rate is not None
        centre = math.log(rate if known else self.global_rate) + (self.offset if known else self.global_offset)
        margin = NORMAL_95 * (self.spread if known else self.global_spread)
        ctr, low, high = (math.exp(min(0.0, centre + self.slope * utility + shift)) for shift in (0.0, -margin, margin))
        return ctr, low, high


class RewardNetwork(nn.Module):
    """A multimodal language model with a utility head and a relative log-CTR head on its last token.

    Both heads are Linear(d, 1), the siamese form of the paper's Linear(d, 2) over a pair. The second one shapes the
    shared features in training (L_Point); served CTRs come from the utility, so that the two rankings cannot differ.
    """

    def __init__(self, backbone: Any, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict({"utility": nn.Linear(width, 1), "log_ctr": nn.Linear(width, 1)})

    def forward(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """(raw utilities, relative log CTRs), f32[B] each, of left-padded inputs of B pictures."""
        return self._judge(self.backbone.model(**inputs).last_hidden_state[:, -1])

    def glance(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """The same past the language model: the picture's mean token, gated by the mean embedding of its words.

        A cheap first stage of training for vision tower and word embeddings, of no use afterwards.
        """
        tokens = self.backbone.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
        picture = torch.stack([one.mean(0) for one in tokens])
        ids = inputs["input_ids"]
        said = (inputs["attention_mask"] * (ids != self.backbone.config.image_token_id))[..., None].to(picture.dtype)
        words = (self.backbone.get_input_embeddings()(ids) * said).sum(1) / said.sum(1)
        size = picture.shape[1:]
        return self._judge(F.layer_norm(picture, size) * (1 + F.layer_norm(words, size)))

    def _judge(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = hidden.float()
        return self.heads["utility"](hidden).squeeze(1), self.heads["log_ctr"](hidden).squeeze(1)


class RewardModel:
    """A reward checkpoint at work."""

    def __init__(self, network: RewardNetwork, processor: Any, calibration: Calibration, *, name: str) -> None:
        self.network, self.processor, self.calibration, self.name = network.eval(), processor, calibration, name
        self.fingerprint: str | None = None

    @classmethod
    def from_pretrained(cls, name: str = "embedded", *, device: str | None = None) -> RewardModel:
        """Load a checkpoint by name (see `caig.models.hub`): fp32 on CPU, bf16 on GPU; CheckpointError if broken."""
        folder = resolve(name, "reward")
        calibration = _read_calibration(folder / CALIBRATION)
        backbone, processor = load_mllm(folder, device)
        network = RewardNetwork(backbone, width_of(backbone))
        _load_heads(network, folder / HEADS)
        model = cls(network, processor, calibration, name=name)
        model.fingerprint = fingerprint(folder)
        return model

    @torch.inference_mode()
    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        """Return one Score per u8[H, W, 3] image, in order, from one batch; InputError unless there is an id for each.

        `utility` is in logits: sigmoid(u_A - u_B) is the probability that A is clicked more than B. Order and
        companions don't count, up to rounding.
        """
        if len(ids) != len(images):
            expected = f"one for each of the {len(images)} images"
            raise InputError("ids", expected=expected, got=str(len(ids)), next_step="Give as many.")
        if not images:
            return []
        squares = [letterbox(image, self.calibration.image_side) for image in images]
        inputs = encode(self.processor, [instruct(product)] * len(squares), squares, self.network.backbone.device)
        raw = self.network(inputs)[0].double().cpu().numpy()
        return [
            _score(creative, value, product.category, self.calibration)
            for creative, value in zip(ids, raw / self.calibration.temperature, strict=True)
        ]


def win_probabilities(scores: Sequence[Score]) -> NDArray[np.float64]:
    """f64[n, n]: P[i, j] = sigmoid(u_i - u_j), the probability that i is clicked more than j; 0.5 on the diagonal.

    P[i, j] + P[j, i] is exactly 1: the larger one is computed, the other is its complement (exact for p >= 0.5).
    """
    utility = np.array([score.utility for score in scores], np.float64)
    gap = utility[:, None] - utility[None, :]
    favourite = 1 / (1 + np.exp(-np.abs(gap)))
    return np.where(gap >= 0, favourite, 1 - favourite)


def letterbox(image: Pixels, side: int) -> Pixels:
    """`image` u8[H, W, 3] on a grey square u8[side, side, 3]: centred, aspect ratio kept, resized with antialiasing."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    square = Image.new("RGB", (side, side), (GREY, GREY, GREY))
    resized = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    square.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)


def category_key(category: str) -> str:
    """The form under which a category's base rate is kept."""
    return " ".join(category.lower().split())


def width_of(backbone: Any) -> int:
    """Width of the language model's hidden state."""
    return backbone.config.get_text_config().hidden_size


def save_reward(network: RewardNetwork, processor: Any, calibration: Calibration, folder: Path) -> None:
    """Write a checkpoint that `RewardModel.from_pretrained` reads: backbone as fp16, heads as fp32."""
    save_mllm(network.backbone, processor, folder)
    heads = {name: value.detach().float().cpu().contiguous() for name, value in network.heads.state_dict().items()}
    save_file({name: value.half() for name, value in heads.items()}, folder / HEADS)
    (folder / CALIBRATION).write_text(to_json(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def _score(creative_id: str, utility: float, category: str, calibration: Calibration) -> Score:
    ctr, low, high = calibration.ctr(float(utility), category)
    return Score(
        creative_id=creative_id, utility=float(utility), ctr=ctr, low=low, high=high, basis=calibration.calibrated_on
    )


def _read_calibration(path: Path) -> Calibration:
    """CheckpointError unless `path` holds every field of a Calibration, no other, and rates that make sense."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        wrong = set(values) ^ {field.name for field in fields(Calibration)}
        if wrong:
            raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
        calibration = Calibration(**values)
        rates = (calibration.global_rate, *calibration.base_rates.values())
        if not all(value > 0 for value in (calibration.temperature, calibration.slope, *rates)):
            raise ValueError("a temperature, slope or rate that is not positive")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _broken(path, error) from error
    return calibration


def _load_heads(network: RewardNetwork, path: Path) -> None:
    try:
        network.heads.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _broken(path, error) from error
    network.heads.to(network.backbone.device)


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        str(path),
        expected="a part of a reward checkpoint",
        got=f"{type(error).__name__}: {str(error)[:160]}",
        next_step="Train one with `caig train reward`, or name another checkpoint.",
    )
