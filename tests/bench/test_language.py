"""The full-size language models of bench/, counted on the meta device and run narrow; the published ways to describe,
to score and to prefer; and their scripts on a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from caig.models.adapters import adapter_weights, add_adapter
from caig.models.mllm import load_mllm
from caig.models.prompt_model import PromptModel
from caig.models.reward_model import RewardNetwork, width_of
from caig.testing import sample_product
from tests.bench.test_paint import ways_of
from tests.recipes.pcpo_toys import write_prompt_model

PARAMETERS = {"llava-1.6-7b": 7.06e9, "qwen3-vl-4b": 4.44e9}
TEXT: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2}
TOWER: dict[str, dict[str, Any]] = {
    "llava-1.6-7b": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2},
    "qwen3-vl-4b": {"hidden_size": 32, "intermediate_size": 32, "depth": 3, "num_heads": 2, "out_hidden_size": 64},
}


def described(name: str, folder: Path) -> tuple[Any, Any]:
    import full_size

    return full_size._described(name, folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompt_model(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size(name: str, tmp_path: Path) -> None:
    config, _ = described(name, tmp_path)
    with torch.device("meta"):
        model = hf.AutoModelForImageTextToText.from_config(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    print(f"{name}: required {PARAMETERS[name]:.3g} within 1 %, measured {count:.4g}")
    assert abs(count / PARAMETERS[name] - 1) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_narrow(name: str, tmp_path: Path) -> None:
    """The same architecture and processor at a small width: it describes, and every token is written as something."""
    config, processor = described(name, tmp_path)
    vars(config.text_config).update(TEXT | {"num_key_value_heads": 2})
    vars(config.vision_config).update(TOWER[name])
    if name == "qwen3-vl-4b":
        config.vision_config.deepstack_visual_indexes = [0, 1, 2]
    torch.manual_seed(0)
    model = hf.AutoModelForImageTextToText.from_config(config).eval()
    assert len(PromptModel(model, processor, name=name).describe(sample_product(), 2, seed=0)) == 2
    size = config.text_config.vocab_size
    assert all(processor.tokenizer.decode([token]) for token in (3, 300, size // 2, size - 1))


def test_the_published_way_reads_the_prompt_for_every_text(tiny: Path) -> None:
    import published

    model, processor = load_mllm(tiny, "cpu")
    pictures = []
    model.model.vision_tower.register_forward_pre_hook(lambda module, inputs: pictures.append(len(inputs)))
    texts = published.describe(model, processor, sample_product(), 3, seed=0)
    assert len(texts) == len(pictures) == 3 and len(set(texts)) == 3
    assert published.describe(model, processor, sample_product(), 3, seed=0) == texts


def test_the_published_way_compares_every_pair_once(tiny: Path) -> None:
    import published

    backbone, processor = load_mllm(tiny, "cpu")
    network = RewardNetwork(backbone, width_of(backbone), form="joint").eval()
    read = []
    network.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]["input_ids"].shape[0]))
    images = list(np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), np.uint8))
    wins = published.score(network, processor, sample_product(), images, side=32, layout="slots")
    assert read == [1] * 6 and sum(wins) == 6


def test_the_published_objective(tiny: Path) -> None:
    """An adapter that changes nothing yet (B = 0): all margins are 0, each term is log 2; both terms have gradients."""
    import published

    model, processor = load_mllm(tiny, "cpu")
    second, _ = load_mllm(tiny, "cpu")
    add_adapter(model, rank=2, alpha=4.0, dropout=0.0, base="", seed=0)
    product = sample_product()
    loss = published.preference_loss(model, second, processor, product, product, "sandy beach", "kitchen table")
    print(f"required 2 log 2 = {2 * np.log(2):.6f}, measured {loss.item():.6f}")
    assert loss.item() == pytest.approx(2 * np.log(2), abs=1e-5)
    loss.backward()
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in adapter_weights(model).values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("describe.py", ["-n", "4"]),
        ("score.py", ["-n", "8"]),
        ("pcpo.py", ["--products", "2", "--candidates", "3", "--epochs", "3"]),
    ],
)
def test_the_scripts(script: str, arguments: list[str], tiny: Path) -> None:
    rates = ways_of(script, "--models", str(tiny), "--device", "cpu", "--turns", "1", *arguments)
    assert set(rates) == {"caig", "published way"} and all(rate > 0 for rate in rates.values())
    assert script == "describe.py" or rates["caig"] > rates["published way"]
