"""Adapters on a tiny checkpoint: where they sit, the switch, files and names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from caig.errors import CheckpointError
from caig.models.adapters import adapter_weights, add_adapter, language_linears, reference, save_adapter
from caig.models.mllm import BackboneSize, build_backbone, encode, load_mllm, save_mllm
from caig.models.prompt_model import PromptModel
from caig.testing import check_prompt_model, sample_product

TINY = BackboneSize(image=32, patch=16, vision_width=16, vision_layers=1, width=32, layers=2, vocabulary=400)
TEXTS = ["rustic kitchen table, soft morning light", "sandy beach by the sea, golden hour sunlight"] * 20


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_mllm(*build_backbone(TEXTS, seed=0, size=TINY), folder)
    return folder


def adapted(base: Path, *, moved: bool = True, seed: int = 0):
    """(model, inputs) with an adapter; `moved`: as if training had changed it."""
    model, processor = load_mllm(base, "cpu")
    add_adapter(model, rank=4, alpha=8, dropout=0.0, base=str(base), seed=seed)
    if moved:
        torch.manual_seed(1)
        for name, weight in adapter_weights(model).items():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.5)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    return model, encode(processor, ["mug"], [image])


def test_only_the_language_models_linear_layers_are_adapted(base: Path):
    model, _ = load_mllm(base, "cpu")
    names = language_linears(model)
    layers = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert sorted(names) == sorted(
        f"model.language_model.layers.{i}.{'self_attn' if 'gate' not in n and n[0] in 'qkvo' else 'mlp'}.{n}"
        for i in range(2)
        for n in layers
    )


def test_a_fresh_adapter_changes_nothing_and_trains_alone(base: Path):
    model, inputs = adapted(base, moved=False)
    plain, _ = load_mllm(base, "cpu")
    assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == set(adapter_weights(model)) and len(trained) == 2 * 2 * 7


def test_off_is_the_base_to_the_bit_and_on_is_not(base: Path):
    model, inputs = adapted(base)
    plain, _ = load_mllm(base, "cpu")
    with reference(model):
        assert torch.equal(model(**inputs).logits, plain(**inputs).logits)
    assert not torch.allclose(model(**inputs).logits, plain(**inputs).logits)


def test_picture_features_are_the_same_on_and_off(base: Path):
    model, inputs = adapted(base)
    on = model.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
    with reference(model):
        off = model.model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output[0]
    assert torch.equal(on, off)


def test_the_switch_goes_back_on_after_an_error(base: Path):
    model, inputs = adapted(base)
    on = model(**inputs).logits
    with pytest.raises(RuntimeError, match="cut"), reference(model):
        raise RuntimeError("cut")
    assert torch.equal(model(**inputs).logits, on)


def test_first_weights_come_from_the_seed_alone(base: Path):
    state = torch.get_rng_state()
    first, second, other = (adapter_weights(adapted(base, moved=False, seed=seed)[0]) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_saved_adapter_loads_by_name_and_in_stock_peft(base: Path, tmp_path: Path):
    model, inputs = adapted(base)
    save_adapter(model, tmp_path)
    assert {tensor.dtype for tensor in load_file(tmp_path / "adapter_model.safetensors").values()} == {torch.float16}
    loaded = PromptModel.from_pretrained(str(tmp_path))
    gap = (loaded.model(**inputs).logits - model(**inputs).logits).abs().max().item()
    stock = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32), tmp_path)
    stock_gap = (stock.eval()(**inputs).logits - loaded.model(**inputs).logits).abs().max().item()
    print(f"required: fp16 rounding below 0.02 and peft's own to 1e-5; measured: {gap:.1e}, {stock_gap:.1e}")
    assert gap < 0.02 and stock_gap < 1e-5


def test_the_contract_and_the_fingerprint(base: Path, tmp_path: Path):
    model, _ = adapted(base)
    save_adapter(model, tmp_path)
    tuned, plain = PromptModel.from_pretrained(str(tmp_path)), PromptModel.from_pretrained(str(base))
    check_prompt_model(tuned)
    assert tuned.fingerprint and plain.fingerprint and tuned.fingerprint.startswith(plain.fingerprint)
    assert [d.text for d in tuned.describe(sample_product(), 2, seed=0)] != [
        d.text for d in plain.describe(sample_product(), 2, seed=0)
    ]


def test_an_adapter_whose_base_is_gone_is_named(base: Path, tmp_path: Path):
    model, _ = adapted(base)
    save_adapter(model, tmp_path)
    config = tmp_path / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), "nowhere/at all"))
    with pytest.raises(CheckpointError, match="nowhere/at all"):
        PromptModel.from_pretrained(str(tmp_path))
    config.write_text("{")
    with pytest.raises(CheckpointError, match=r"adapter_config.json: expected a peft config"):
        PromptModel.from_pretrained(str(tmp_path))
