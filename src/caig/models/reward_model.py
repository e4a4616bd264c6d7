"""The reward model: which picture of a product is clicked more, and how often.

A checkpoint is an ordinary image-text-to-text folder of transformers plus `reward_head.safetensors` (heads on the
last token's hidden state) and `reward.json` (a `Calibration`, which also names the form of the input):

    siamese   each picture by itself, with the product's words; head `utility` (`caig.models.utility`), an ensemble.
              N candidates cost N passes, and a score depends neither on their order nor on each other.
    joint     as published: two pictures of a product in one sequence; heads `classification` Linear(d, 2), logits of
              "the left one is clicked more" and "the right one", and `regression` Linear(d, 2), the two log CTRs. Read
              in both orders, N (N - 1) passes of the language model for N candidates. `layout` says how two pictures
              enter: in two image slots, where each is seen once, or left and right in one picture of twice the width
              (for models that take pictures of any shape), where each pair is.

Pictures are letterboxed, never cropped or stretched, to the square that the vision tower sees, `image_side` pixels.
Detail finer than that is not judged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import permutations
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from caig.artifacts import to_json
from caig.data.templates import instruct
from caig.errors import CheckpointError, InputError
from caig.models.adapters import load_adapted, save_adapter
from caig.models.hub import Dtype, resolve
from caig.models.mllm import PictureFeatures, encode, save_mllm, see_alone, with_features
from caig.models.mllm.reading import core, positions_of
from caig.models.utility import Utility
from caig.types import Pixels, Product, Score

HEADS = "reward_head.safetensors"
CALIBRATION = "reward.json"
GREY = 127  # of the letterbox's bars
NORMAL_95 = 1.96
BATCH = 32  # sequences a pass
FIRST_LOG_SLOPE = math.log(0.1)  # a logit of 1 is about a tenth of log CTR at some thousand impressions

Form = Literal["siamese", "joint"]
Layout = Literal["slots", "left-right"]
JOINT_HEADS: Final = {"classification": 2, "regression": 2}
OWN = ("utility.linear", "utility.pairwise", "utility.mix")  # of a shop: the rest is known of all of them
Floats = NDArray[np.float64]


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
    form: Form = "siamese"
    layout: Layout = "slots"
    """How two pictures enter one sequence; only with `form` joint."""

    def ctr(self, utility: float, category: str) -> tuple[float, float, float]:
        """Predicted CTR and its 95 % interval (ctr, low, high), each 0 to 1."""
        rate = self.base_rates.get(category_key(category))
        known = rate is not None
        centre = math.log(rate if known else self.global_rate) + (self.offset if known else self.global_offset)
        margin = NORMAL_95 * (self.spread if known else self.global_spread)
        ctr, low, high = (math.exp(min(0.0, centre + self.slope * utility + shift)) for shift in (0.0, -margin, margin))
        return ctr, low, high


class RewardNetwork(nn.Module):
    """A multimodal language model with heads on its last token's hidden state.

    Siamese: `utility` is an ensemble of `members`, each trained on products weighted at random; the mean of their
    probabilities tells how sure a pair's order is. Relative log CTR is the utility times exp(`log_slope`), which is
    learned: one output for both losses, so that the two rankings cannot differ. Joint: the paper's two Linear(d, 2).
    """

    def __init__(self, backbone: Any, width: int, *, form: Form = "siamese", members: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.form = form
        joint = {name: nn.Linear(width, outputs) for name, outputs in JOINT_HEADS.items()}
        self.heads = nn.ModuleDict(joint if form == "joint" else {"utility": Utility(width, members)})
        self.log_slope = nn.Parameter(torch.tensor(FIRST_LOG_SLOPE))
        self.knows_tastes = False
        """Whether `tastes` were learned before, so that they need not learn along with the heads."""

    @property
    def members(self) -> int:
        """Heads of the ensemble; 1, if joint."""
        return len(self.heads["utility"].linear) if self.form == "siamese" else 1  # type: ignore[arg-type]

    def forward(self, inputs: Any) -> tuple[Tensor, ...]:
        """Every head's outputs, f32[B, outputs] each, for B left-padded sequences."""
        return self.told(self.hidden(inputs))

    def told(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Every head's outputs, f32[B, outputs] each, for hidden states f32[B, d]."""
        return tuple(head(hidden) for head in self.heads.values())

    def surprise(self) -> Tensor:
        """Minus the log prior density of the heads, mean over members, in nats; 0 where no other shop is known."""
        return self.heads["utility"].surprise().mean() if self.form == "siamese" else torch.tensor(0.0)  # type: ignore[operator]

    def hidden(self, inputs: Any) -> Tensor:
        """The last token's hidden state, f32[B, d]."""
        output = core(self.backbone)(**inputs, position_ids=positions_of(self.backbone, inputs), use_cache=False)
        return output.last_hidden_state[:, -1].float()


class RewardModel:
    """A reward checkpoint at work."""

    def __init__(self, network: RewardNetwork, processor: Any, calibration: Calibration, *, name: str) -> None:
        self.network, self.processor, self.calibration, self.name = network.eval(), processor, calibration, name
        self.fingerprint: str | None = None

    @classmethod
    def from_pretrained(
        cls, name: str = "embedded", *, device: str | None = None, dtype: Dtype | None = None
    ) -> RewardModel:
        """Load a checkpoint by name (see `caig.models.hub`): fp32 on CPU, bf16 on GPU; CheckpointError if broken.

        A LoRA's folder loads together with the checkpoint under it.
        """
        folder = resolve(name, "reward")
        calibration = _read_calibration(folder / CALIBRATION)
        backbone, processor, mark = load_adapted(name, "reward", device, dtype=dtype)
        model = cls(_load_network(backbone, calibration.form, folder / HEADS), processor, calibration, name=name)
        model.fingerprint = mark
        return model

    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        """Return one Score per u8[H, W, 3] image, in order; InputError unless there is an id for each.

        `utility` is in logits: sigmoid(u_A - u_B) is the probability that A is clicked more than B. Siamese: order and
        companions don't count, up to rounding. Joint: order doesn't, companions do from three on (see `utilities_of`).
        """
        if len(ids) != len(images):
            expected = f"one for each of the {len(images)} images"
            raise InputError("ids", expected=expected, got=str(len(ids)), next_step="Give as many.")
        if not images:
            return []
        members = self.utilities(product, images) / self.calibration.temperature
        return [
            _score(creative, own, product.category, self.calibration)
            for creative, own in zip(ids, members, strict=True)
        ]

    def utilities(self, product: Product, images: Sequence[Pixels]) -> Floats:
        """f64[N, members]: raw utilities of N images u8[H, W, 3] by each member of the ensemble (one, if joint)."""
        squares = [letterbox(image, self.calibration.image_side) for image in images]
        text = instruct(product, of=self.calibration.form)
        if self.calibration.form == "siamese":
            return self._read(text, squares)
        if len(squares) == 1:
            return np.zeros((1, 1))
        order = list(permutations(range(len(squares)), 2))
        rows = [together(squares[a], squares[b], self.calibration.layout) for a, b in order]
        if self.calibration.layout == "slots":  # a picture looks the same in every pair
            seen = [see_alone(self.network.backbone, self.processor, square) for square in squares]
            logits = self._read(text, rows, [(seen[a], seen[b]) for a, b in order])
        else:
            logits = self._read(text, rows)
        margin = np.zeros((len(squares), len(squares)))
        margin[tuple(np.transpose(order))] = logits[:, 0] - logits[:, 1]
        return utilities_of(margin)[:, None]

    @torch.inference_mode()
    def _read(
        self,
        text: str,
        rows: Sequence[Pixels | Sequence[Pixels]],
        seen: Sequence[Sequence[PictureFeatures]] | None = None,
    ) -> Floats:
        """First head's outputs for `text` with each row's picture or pictures, f64[rows, outputs]; `seen` are the
        features of each row's pictures, where they are known."""
        found = []
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            inputs = encode(self.processor, [text] * len(batch), batch, self.network.backbone.device)
            if seen:
                inputs = with_features(inputs, [one for row in seen[start : start + BATCH] for one in row])
            found.append(self.network(inputs)[0].double().cpu().numpy())
        return np.concatenate(found)


def together(left: Pixels, right: Pixels, layout: Layout) -> list[Pixels]:
    """The pictures of one sequence: two u8[S, S, 3], or one u8[S, 2 S, 3] with `left` on the left."""
    return [left, right] if layout == "slots" else [np.concatenate([left, right], axis=1)]


def utilities_of(margin: Floats) -> Floats:
    """f64[N]: utilities whose differences come closest to the antisymmetric part of `margin` f64[N, N], mean 0.

    margin[a, b] is the logit that a, on the left, beats b. Its antisymmetric part M = (margin - margin^T) / 2 knows no
    left and right, so p(A > B) + p(B > A) = 1. Least squares of M[a, b] on u_a - u_b give u_a = sum_b M[a, b] / N (row
    sums; Jiang, Lim, Yao and Ye 2011, "Statistical ranking and combinatorial Hodge theory"); exact for two pictures.
    """
    return ((margin - margin.T) / 2).sum(1) / len(margin)


def win_probabilities(scores: Sequence[Score]) -> Floats:
    """f64[n, n]: P[i, j] = sigmoid(u_i - u_j), the probability that i is clicked more than j; 0.5 on the diagonal.

    P[i, j] + P[j, i] is exactly 1: the larger one is computed, the other is its complement (exact for p >= 0.5).
    """
    utility = np.array([score.utility for score in scores], np.float64)
    gap = utility[:, None] - utility[None, :]
    favourite = 1 / (1 + np.exp(-np.abs(gap)))
    return np.where(gap >= 0, favourite, 1 - favourite)


def letterbox(image: Pixels, side: int, *, bars: int = GREY) -> Pixels:
    """`image` u8[H, W, 3] on a `bars`-grey square u8[side, side, 3]: centred, aspect ratio kept, antialiased."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    square = Image.new("RGB", (side, side), (bars, bars, bars))
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
    """Write a checkpoint that `RewardModel.from_pretrained` reads, as fp16: the backbone, or the LoRA on it alone."""
    if getattr(network.backbone, "peft_config", None):
        save_adapter(network.backbone, folder)
    else:
        save_mllm(network.backbone, processor, folder)
    heads = {name: value.detach().float().cpu().contiguous() for name, value in network.heads.state_dict().items()}
    save_file({name: value.half() for name, value in heads.items()}, folder / HEADS)
    (folder / CALIBRATION).write_text(to_json(asdict(calibration), indent=2) + "\n", encoding="utf-8")


def _score(creative_id: str, members: Floats, category: str, calibration: Calibration) -> Score:
    utility = float(members.mean())
    ctr, low, high = calibration.ctr(utility, category)
    return Score(
        creative_id=creative_id,
        utility=utility,
        ctr=ctr,
        low=low,
        high=high,
        basis=calibration.calibrated_on,
        members=tuple(members.tolist()),
    )


def _read_calibration(path: Path) -> Calibration:
    """CheckpointError unless `path` holds every field of a Calibration, no other, and rates that make sense."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        wrong = set(values) ^ {field.name for field in fields(Calibration)}
        if wrong:
            raise ValueError(f"missing or unknown: {', '.join(sorted(wrong))}")
        calibration = Calibration(**values)
        if calibration.form not in get_args(Form) or calibration.layout not in get_args(Layout):
            raise ValueError(f"form '{calibration.form}', layout '{calibration.layout}'")
        rates = (calibration.global_rate, *calibration.base_rates.values())
        if not all(value > 0 for value in (calibration.temperature, calibration.slope, *rates)):
            raise ValueError("a temperature, slope or rate that is not positive")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _broken(path, error) from error
    return calibration


def _load_network(backbone: Any, form: Form, path: Path) -> RewardNetwork:
    try:
        heads = load_file(path)
        network = RewardNetwork(backbone, width_of(backbone), form=form)
        if form == "siamese":
            network.heads["utility"] = _utility_like(heads, width_of(backbone), len(heads["utility.mix"]))
        network.heads.load_state_dict(heads)
        network.knows_tastes = form == "siamese"
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        raise _broken(path, error) from error
    network.heads.to(backbone.device)
    return network


def _utility_like(heads: Mapping[str, Tensor], width: int, members: int) -> Utility:
    """An empty one for as many tastes and other shops as stored `heads` have."""
    return Utility(width, members, heads["utility.mix"].shape[1], heads["utility.tastes.weight"].shape[0])


def keep_tastes(network: RewardNetwork, folder: Path) -> None:
    """Let new siamese heads start from what is usual in the siamese reward checkpoint in `folder`, if it is one."""
    found = load_file(folder / HEADS) if (folder / HEADS).is_file() else {}
    if "utility.tastes.weight" in found:
        utility = _utility_like(found, width_of(network.backbone), network.members)
        known = {name.removeprefix("utility."): value for name, value in found.items() if name not in OWN}
        utility.load_state_dict(known, strict=False)
        network.heads["utility"] = utility.to(network.log_slope.device)
        network.knows_tastes = True


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        str(path),
        expected="a part of a reward checkpoint",
        got=f"{type(error).__name__}: {str(error)[:160]}",
        next_step="Train one with `caig train reward`, or name another checkpoint.",
    )
