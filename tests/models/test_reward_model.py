"""The reward model on a tiny backbone: independence, calibration, letterboxing, and broken checkpoints."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caig.data.templates import instruct
from caig.errors import CheckpointError, InputError
from caig.models import reward_model
from caig.models.hub import resolve
from caig.models.mllm import BackboneSize, build_backbone, load_mllm
from caig.models.reward_model import (
    Calibration,
    RewardModel,
    RewardNetwork,
    letterbox,
    save_reward,
    together,
    utilities_of,
    width_of,
    win_probabilities,
)
from caig.models.utility import Utility
from caig.testing import check_reward_model, sample_product
from caig.types import Score
from tests.models.architectures import ARCHITECTURES, write

TINY = BackboneSize(image=32, vision_width=16, vision_layers=1, width=32, layers=1, vocabulary=300)
CALIBRATION = Calibration(
    temperature=0.5,
    slope=0.4,
    offset=0.1,
    spread=0.2,
    base_rates={"mug": 0.02},
    global_rate=0.03,
    global_offset=0.0,
    global_spread=0.5,
    calibrated_on="simulated",
    image_side=32,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone, processor = build_backbone(["Fjord ceramic coffee mug, navy. How likely is a click?"], seed=1, size=TINY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RewardNetwork(backbone, TINY.width)
    folder = tmp_path_factory.mktemp("reward")
    save_reward(network, processor, CALIBRATION, folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> RewardModel:
    return RewardModel.from_pretrained(str(folder), device="cpu")


def pictures(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40, 30 + 20 * k, 3), np.uint8) for k in range(n)]


def score(utility: float) -> Score:
    return Score(creative_id="x", utility=utility, ctr=0.1, low=0, high=1, basis="simulated")


def test_it_keeps_the_contract(model: RewardModel):
    check_reward_model(model)


def test_a_score_depends_on_neither_order_nor_companions(model: RewardModel):
    images = pictures(4)
    together = [s.utility for s in model.score(sample_product(), images, ids=list("abcd"))]
    backwards = [s.utility for s in model.score(sample_product(), images[::-1], ids=list("dcba"))][::-1]
    alone = [model.score(sample_product(), [image], ids=["a"])[0].utility for image in images]
    assert len(set(together)) == 4
    assert backwards == pytest.approx(together, abs=1e-5)
    assert alone == pytest.approx(together, abs=1e-5)


def test_words_count(model: RewardModel):
    one, other = (model.score(sample_product(c), pictures(1), ids=["a"])[0].utility for c in ("mug", "wine"))
    assert one != other


def test_ctr_and_interval_by_hand(model: RewardModel):
    result = model.score(sample_product("Mug "), pictures(1), ids=["a"])[0]
    centre = math.log(0.02) + 0.1 + 0.4 * result.utility
    expected = [math.exp(centre), math.exp(centre - 1.96 * 0.2), math.exp(centre + 1.96 * 0.2)]
    assert [result.ctr, result.low, result.high] == pytest.approx(expected)
    assert result.basis == "simulated"


def test_an_unknown_category_takes_the_global_rate_and_its_wider_interval():
    ctr, low, high = CALIBRATION.ctr(1.0, "cabbage")
    assert ctr == pytest.approx(0.03 * math.exp(0.4))
    assert high / low == pytest.approx(math.exp(2 * 1.96 * 0.5))


def test_ctr_never_exceeds_one():
    assert CALIBRATION.ctr(1000.0, "mug") == (1.0, 1.0, 1.0)


def test_ctr_ranks_like_utility(model: RewardModel):
    scores = model.score(sample_product(), pictures(5), ids=list("abcde"))
    assert np.argsort([s.ctr for s in scores]).tolist() == np.argsort([s.utility for s in scores]).tolist()


def test_win_probabilities_by_hand():
    p = win_probabilities([score(0.0), score(math.log(3)), score(-40.0)])
    assert p[1, 0] == pytest.approx(0.75) and p[0, 1] == pytest.approx(0.25)
    assert np.diag(p).tolist() == [0.5] * 3
    assert p[2, 0] == pytest.approx(0, abs=1e-16)


@torch.no_grad()
def indifferent() -> Utility:
    """Two members who like nothing; the first two tastes are the hidden state's two numbers, the others 0."""
    head = Utility(2, members=2)
    for weight in head.parameters():
        weight.zero_()
    head.tastes.weight[:2] = torch.eye(2)
    return head


def test_a_utility_by_hand():
    """Tastes z = (h0, h1, 0 ...): u = 2 z0 + 3 z0 z1, and for the second member - z1^2."""
    head = indifferent()
    with torch.no_grad():
        head.linear[0, 0], head.pairwise[0, 0, 1], head.pairwise[1, 1, 1] = 2, 3, -1
    hidden = torch.tensor([[1.0, 0.0], [2.0, 5.0]])
    assert head(hidden).tolist() == [[2.0, 0.0], [2 * 2 + 3 * 2 * 5, -25.0]]
    assert head.surprise().tolist() == [0, 0], "no other shop is known"


def test_a_new_shop_mixes_what_others_like_by_hand():
    """Two shops: 2 z0 + z0^2, and 4 z1 + z0^2. On average z0 + 2 z1 + z0^2; they differ by half of 2 z0 - 4 z1."""
    shops = indifferent()
    with torch.no_grad():
        shops.linear[0, 0], shops.linear[1, 1] = 2.0, 4.0
        shops.pairwise[:, 0, 0] = 1.0
    new, hidden = shops.taught(3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
    assert torch.allclose(new(hidden), torch.tensor([2.0, 2.0, 12.0])[:, None].expand(3, 3))
    with torch.no_grad():
        new.mix[1, 0] = 2**0.5  # wholly the first shop, but for the second's half
        new.linear[2, 1] = -1.0  # an own taste, one deviation (2) from what is usual
    assert torch.allclose(new(hidden)[:, 1], torch.tensor([2 + 1, 2 - 2, 12 + 2 - 6.0]), atol=1e-5)
    assert torch.allclose(new(hidden)[:, 2], torch.tensor([2.0, 2 - 2, 12 - 6.0]), atol=1e-5)
    assert new.surprise().tolist() == pytest.approx([0, 1, 0.5])


def test_utilities_of_by_hand():
    """Left wins a logit of 1 whatever it shows; beside that, 0 beats 1 by 2, 1 beats 2 by 1 and 0 beats 2 by 3."""
    true = np.array([[0, 2, 3], [-2, 0, 1], [-3, -1, 0]])
    assert utilities_of(true + 1.0 - np.eye(3)).tolist() == pytest.approx([5 / 3, -1 / 3, -4 / 3])
    first, second = utilities_of(np.array([[0, 0.7], [0.1, 0]]))
    assert first - second == pytest.approx(0.3), "(0.7 - 0.1) / 2"


def test_layouts_by_hand():
    left, right = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)
    assert together(left, right, "slots")[1] is right
    (one,) = together(left, right, "left-right")
    assert one[..., 0].tolist() == [[0, 0, 1, 1]] * 2


def test_both_orders_add_up_to_exactly_one():
    p = win_probabilities([score(u) for u in np.random.default_rng(0).normal(0, 5, 60)])
    assert ((p + p.T) == 1.0).all()


@pytest.mark.parametrize(("shape", "rows", "columns"), [((20, 80), (12, 20), (0, 32)), ((64, 32), (0, 32), (8, 24))])
def test_letterbox_keeps_the_aspect_ratio(shape, rows, columns):
    square = letterbox(np.full((*shape, 3), 255, np.uint8), 32)
    expected = np.full((32, 32, 3), 127, np.uint8)
    expected[slice(*rows), slice(*columns)] = 255
    assert np.array_equal(square, expected)


def as_picture(plane: np.ndarray) -> np.ndarray:
    return np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2)


def laplacian_deviation(picture: np.ndarray) -> float:
    return float(cv2.Laplacian(picture[..., 0].astype(np.float32), cv2.CV_32F).std())


def test_sharpness_outlives_the_square_that_the_embedded_model_sees():
    """Squares of 4 px in 512, sharp and out of focus; a chequerboard too fine for the model is grey to it."""
    side = json.loads((resolve("embedded", "reward") / "reward.json").read_text())["image_side"]
    sharp = np.kron(np.random.default_rng(0).uniform(0, 255, (128, 128)), np.ones((4, 4))).astype(np.float32)
    pictures = [as_picture(sharp), as_picture(cv2.GaussianBlur(sharp, (0, 0), 4))]
    whole, seen = (
        np.log([*map(laplacian_deviation, shown)]) for shown in (pictures, [letterbox(p, side) for p in pictures])
    )
    share = (seen[0] - seen[1]) / (whole[0] - whole[1])
    print(f"required: 0.45 of the log ratio of Laplacian deviations (0.2 at 64 px); measured: {share:.2f} at {side} px")
    assert share > 0.45
    board = letterbox(as_picture(np.indices((512, 512)).sum(0) % 2 * 255), side)
    print(f"required: 127 or 128; measured: {board.min()} to {board.max()}")
    assert set(board.ravel().tolist()) <= {127, 128}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("form", ["siamese", "joint", "left-right"])
def test_any_architecture_judges_without_regard_to_order(name: str, form: str, tmp_path: Path):
    backbone, processor = load_mllm(write(name, tmp_path), "cpu")
    shape = {"form": "joint", "layout": "left-right"} if form == "left-right" else {"form": form}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RewardNetwork(backbone, width_of(backbone), form=shape["form"])
    model = RewardModel(network, processor, replace(CALIBRATION, image_side=56, **shape), name=name)
    images = [np.full((40, 30 + 20 * k, 3), level, np.uint8) for k, level in enumerate((10, 120, 250))]
    forth = [s.utility for s in model.score(sample_product(), images, ids=list("abc"))]
    back = [s.utility for s in model.score(sample_product(), images[::-1], ids=list("cba"))][::-1]
    assert back == pytest.approx(forth, abs=1e-4)
    assert len(set(forth)) == 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_joint_model_sees_each_picture_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    backbone, processor = load_mllm(write(name, tmp_path), "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RewardNetwork(backbone, width_of(backbone), form="joint")
    model = RewardModel(network, processor, replace(CALIBRATION, image_side=56, form="joint"), name=name)
    images = [np.random.default_rng(k).integers(0, 256, (56, 56, 3), np.uint8) for k in range(3)]
    text = instruct(sample_product(), of="joint")
    logits = model._read(text, [[images[0], images[1]], [images[1], images[0]]])  # pictures and words together
    margin = ((logits[0] - logits[1]) @ [1, -1]) / 2
    seen, read = [], reward_model.see_alone
    monkeypatch.setattr(reward_model, "see_alone", lambda *how: seen.append(1) or read(*how))
    utility = model.utilities(sample_product(), images[:2])[:, 0]
    assert utility[0] - utility[1] == pytest.approx(margin, abs=1e-5)
    assert len(seen) == 2
    model.utilities(sample_product(), images)
    assert len(seen) == 2 + 3


def test_ids_must_match(model: RewardModel):
    with pytest.raises(InputError, match="expected one for each of the 2 images, got 1"):
        model.score(sample_product(), pictures(2), ids=["a"])
    assert model.score(sample_product(), [], ids=[]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"slope": -1.0}, "not positive"),
        ({"base_rates": {"mug": 0}}, "not positive"),
        ({"colour": 1}, "missing or unknown: colour"),
        ({"form": "triple"}, "form 'triple'"),
    ],
)
def test_a_broken_calibration_is_reported(folder: Path, change, message):
    path = folder / "reward.json"
    path.write_text(json.dumps(asdict(CALIBRATION) | change))
    with pytest.raises(CheckpointError, match=message):
        RewardModel.from_pretrained(str(folder))
    path.write_text(json.dumps(asdict(CALIBRATION)))


def test_a_prompt_checkpoint_is_no_reward_checkpoint(folder: Path):
    head = folder / "reward_head.safetensors"
    head.rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match="reward_head.safetensors"):
        RewardModel.from_pretrained(str(folder))
    (folder / "elsewhere").rename(head)


def test_calibration_is_kept_whole(model: RewardModel):
    assert model.calibration == CALIBRATION
    assert replace(CALIBRATION, slope=0.5) != CALIBRATION
