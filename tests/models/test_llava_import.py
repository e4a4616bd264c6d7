"""Import of the published CAIG checkpoints, held against an independent computation of the original layout."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from caig.cli import main
from caig.data.templates import instruct
from caig.errors import CheckpointError
from caig.models.llava_import import import_prompt_model, import_reward_model
from caig.models.mllm import encode, load_mllm
from caig.models.prompt_model import PromptModel
from caig.models.reward_model import RewardModel, letterbox, together
from caig.testing import check_prompt_model, sample_product
from tests import llava_original
from tests.llava_original import original_hidden, write_original

TEXT = "Write a background for an ad of Oat milk, 1 l."
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def prompt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, State]:
    """(original, imported, tensors); the tower lies in a CLIP folder of its own."""
    root = tmp_path_factory.mktemp("prompt")
    state = write_original(root / "original", reward=False, tower=root / "clip")
    return root / "original", import_prompt_model(root / "original", root / "ours", vision_tower=root / "clip"), state


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, State]:
    """(original, imported, tensors); the tower lies inside."""
    root = tmp_path_factory.mktemp("reward")
    state = write_original(root / "original", reward=True)
    return root / "original", import_reward_model(root / "original", root / "ours"), state


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes]


@pytest.mark.parametrize("size", [(64, 64), (61, 100), (200, 40), (30, 90), (20, 20)])
def test_the_prompt_model_s_logits_are_the_original_s(prompt: tuple[Path, Path, State], size: tuple[int, int]) -> None:
    original, ours, state = prompt
    (picture,) = pictures(size)
    theirs = original_hidden(original, state, TEXT, picture) @ state["lm_head.weight"].T
    model, processor = load_mllm(ours)
    with torch.inference_mode():
        logits = model(**encode(processor, [TEXT], [picture])).logits[0]
    assert len(logits) == len(theirs), "as many tokens, those of the picture among them"
    gap = (logits[:, : theirs.shape[1]] - theirs).abs().max()
    print(f"required: at most 1e-4 over all positions; measured: {gap:.1e} of {theirs.abs().max():.1f}")
    assert gap <= 1e-4


def test_the_image_token_is_never_the_likeliest(prompt: tuple[Path, Path, State]) -> None:
    """Its row is the mean of the others, so that its logit is the mean logit."""
    model, processor = load_mllm(prompt[1])
    with torch.inference_mode():
        logits = model(**encode(processor, [TEXT], pictures((64, 64)))).logits[0, -1]
    image = model.config.image_token_index
    assert torch.allclose(logits[image], logits[:image].mean(), atol=1e-4)


def test_the_imported_prompt_model_keeps_the_contract(prompt: tuple[Path, Path, State]) -> None:
    check_prompt_model(PromptModel.from_pretrained(str(prompt[1])))


def test_the_reward_model_s_heads_are_the_original_s(reward: tuple[Path, Path, State]) -> None:
    """Two squares left and right in one picture, no system prompt, both heads on the last token."""
    original, ours, state = reward
    model = RewardModel.from_pretrained(str(ours))
    squares = [letterbox(picture, 512) for picture in pictures((512, 512), (512, 512))]
    (pair,) = together(squares[0], squares[1], "left-right")
    assert pair.shape == (512, 1024, 3)
    last = original_hidden(original, state, TEXT, pair, system="")[-1]
    score = state["score.weight"] @ last
    ctr = state["sku_ctr_linear_fc.weight"] @ last + state["sku_ctr_linear_fc.bias"]
    with torch.inference_mode():
        classification, regression = model.network(encode(model.processor, [TEXT], [pair]))
    gap = max((classification[0] - score).abs().max(), (regression[0] - ctr).abs().max())
    print(f"required: at most 1e-5; measured: {gap:.1e} of {score.abs().max():.1f}")
    assert gap <= 1e-5


def test_the_reward_model_judges_as_the_original_read_in_both_orders(reward: tuple[Path, Path, State]) -> None:
    original, ours, state = reward
    model, product = RewardModel.from_pretrained(str(ours)), sample_product()
    ads = pictures((512, 512), (512, 512))
    margins = {}
    for left, right in permutations((0, 1)):
        pair = np.concatenate([ads[left], ads[right]], axis=1)
        last = original_hidden(original, state, instruct(product, of="joint"), pair, system="")[-1]
        logits = state["score.weight"] @ last
        margins[left, right] = float(logits[0] - logits[1])
    first, second = model.score(product, ads, ids=["a", "b"])
    expected = (margins[0, 1] - margins[1, 0]) / 2
    print(f"required: a gap of {expected:.6f} within 1e-5; measured: {first.utility - second.utility:.6f}")
    assert abs(first.utility - second.utility - expected) <= 1e-5 < abs(expected) / 10
    assert first.basis == "nothing", "a CTR that nothing calibrated says so"


def test_every_tensor_is_accounted_for(prompt: tuple[Path, Path, State], reward: tuple[Path, Path, State]) -> None:
    for _, ours, state in (prompt, reward):
        record = json.loads((ours / "import.json").read_text())
        written = {name for path in ours.glob("model*.safetensors") for name in load_file(path)}
        heads = {name for name in state if name.startswith(("score", "sku_ctr"))}
        implied = {name for name in state if name.endswith(("inv_freq", "position_ids"))}
        clip = {"logit_scale", "text_model.final_layer_norm.weight"} if ours == prompt[1] else set()
        assert set(record["heads"]) == heads
        assert set(record["implied"]) == implied | clip
        assert len(written) == len(state) - len(heads) - len(implied), "each of the others once"


def change(folder: Path, edit) -> None:
    path = folder / "model-00001-of-00001.safetensors"
    state = load_file(path)
    edit(state)
    save_file(state, path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.update({"model.adapter.weight": torch.ones(2)}), "unknown: model.adapter.weight"),
        (lambda s: s.pop("model.layers.1.mlp.up_proj.weight"), "missing: model.language_model.layers.1.mlp.up_proj"),
        (lambda s: s.update({"model.norm.weight": torch.ones(3)}), r"norm.weight \(3,\) for \(32,\)"),
        (lambda s: s.pop("score.weight"), "missing: score.weight"),
        (lambda s: s.update({"score.weight": torch.ones(3, 32)}), r"score.weight \(3, 32\) for \(2, 32\)"),
        (
            lambda s: [s.pop(name) for name in list(s) if "vision_tower" in name],
            "--vision-tower FOLDER",
        ),
    ],
    ids=["unknown", "missing", "shape", "no head", "head's shape", "no tower"],
)
def test_what_does_not_fit_is_listed_and_nothing_written(tmp_path: Path, edit, message: str) -> None:
    write_original(tmp_path / "original", reward=True)
    change(tmp_path / "original", edit)
    with pytest.raises(CheckpointError, match=message):
        import_reward_model(tmp_path / "original", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_a_reward_model_is_no_prompt_model(reward: tuple[Path, Path, State], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="unknown: score.weight, sku_ctr_linear_fc.bias.*missing: lm_head.weight"):
        import_prompt_model(reward[0], tmp_path / "ours")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"mm_patch_merge_type": "flat"}, "'mm_patch_merge_type': 'flat'"), ({"image_aspect_ratio": "pad"}, "'pad'")],
)
def test_another_kind_of_llava_is_refused(tmp_path: Path, settings: dict, message: str) -> None:
    write_original(tmp_path / "original", reward=False)
    path = tmp_path / "original/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(CheckpointError, match=message):
        import_prompt_model(tmp_path / "original", tmp_path / "ours")


def test_the_command_imports_pickled_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The original's own files are pickles: read in a process of their own, they give the same tensors."""
    state = write_original(tmp_path / "original", reward=False, pickle=True)
    arguments = ["import", "caig-prompt-model", str(tmp_path / "original"), "--out", str(tmp_path / "ours")]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'ours'}\n"
    model, _ = load_mllm(tmp_path / "ours")
    assert torch.equal(model.lm_head.weight[: len(state["lm_head.weight"])], state["lm_head.weight"])
    assert main(arguments) == 2 and "expected no such folder yet" in capsys.readouterr().err


def test_the_reference_picks_tiles_as_published() -> None:
    """Two squares side by side are cut into exactly those two; a tall picture stands on the tall grid."""
    assert llava_original._best_grid((1024, 512)) == (2, 1)
    assert llava_original._best_grid((30, 90)) == (1, 3)
    assert llava_original._best_grid((512, 512)) == (2, 2)
