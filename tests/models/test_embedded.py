"""The three checkpoints that ship: contracts, size, precision, provenance, and agreement across batch sizes."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionControlNetInpaintPipeline
from safetensors import safe_open

from caig.models.background_model import BackgroundModel
from caig.models.prompt_model import PromptModel
from caig.models.reward_model import RewardModel
from caig.testing import check_background_model, check_prompt_model, check_reward_model, sample_canvas, sample_product
from caig.types import Description

WEIGHTS = Path(str(files("caig") / "weights"))
FOLDERS = ("background", "prompt", "reward", "tuned")


@pytest.fixture(scope="module")
def painter() -> BackgroundModel:
    return BackgroundModel.from_pretrained("embedded")


@pytest.mark.parametrize("name", ["embedded", "embedded-pretrained"])
def test_prompt_model_keeps_the_contract(name: str) -> None:
    check_prompt_model(PromptModel.from_pretrained(name))


def test_the_tuned_prompt_model_is_a_small_adapter_over_the_pretrained_one() -> None:
    config = json.loads((WEIGHTS / "tuned/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "embedded-pretrained" and config["r"] <= 16
    size = (WEIGHTS / "tuned/adapter_model.safetensors").stat().st_size / 1e6
    print(f"required: below 2 MB; measured: {size:.2f} MB")
    assert size < 2
    texts = [
        [one.text for one in PromptModel.from_pretrained(name).describe(sample_product(), 4, seed=0)]
        for name in ("embedded", "embedded-pretrained")
    ]
    assert texts[0] != texts[1]


def test_reward_model_keeps_the_contract() -> None:
    check_reward_model(RewardModel.from_pretrained("embedded"))


def test_background_model_keeps_the_contract(painter: BackgroundModel) -> None:
    check_background_model(painter)


def test_background_folder_loads_in_the_stock_pipeline() -> None:
    pipeline = StableDiffusionControlNetInpaintPipeline.from_pretrained(WEIGHTS / "background", dtype=torch.float16)
    assert pipeline.unet.config.in_channels == 9


def test_alone_and_batched_agree(painter: BackgroundModel) -> None:
    canvas = sample_canvas(512, 512)
    text = Description(product_id="sample", text="rustic kitchen table, soft morning light", author="user", seed=0)
    alone = painter.paint(canvas, [text], seeds=[5])[0].astype(int)
    batched = painter.paint(canvas, [text] * 4, seeds=[4, 5, 6, 7])[1].astype(int)
    gap = np.abs(alone - batched)
    print(f"required: mean <= 0.05 levels; measured: mean {gap.mean():.4f}, most {gap.max()}")
    assert gap.mean() <= 0.05


def test_all_weights_are_half_floats_and_at_most_100_megabytes() -> None:
    paths = sorted(WEIGHTS.rglob("*.safetensors"))
    for path in paths:
        with safe_open(path, "pt") as tensors:
            kinds = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
        assert kinds <= {"F16", "I64"}, f"{path.name} holds {kinds}"
    total = sum(path.stat().st_size for path in paths) / 1e6
    print(f"required: at most 100 MB; measured: {total:.1f} MB")
    assert total <= 100


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_made_a_checkpoint_stands_beside_it(folder: str) -> None:
    record = json.loads((WEIGHTS / folder / "training.json").read_text())
    assert record, "command, settings and metrics"
