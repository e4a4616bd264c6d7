"""Loading by folder: device and dtype, 4-bit, checkpointing, no remote code, no pickles, no torchvision needed."""

import builtins
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor
from transformers.utils import is_torchvision_available

from caig.errors import CheckpointError, InputError, MissingExtraError
from caig.models.mllm import answer_log_probs, encode_training, load_mllm, save_mllm
from caig.models.mllm.loading import load_processor
from tests.models.architectures import qwen_tokenizer


@pytest.fixture(scope="module")
def folder(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("Qwen3-VL")


def test_device_and_dtype_are_chosen_shown_and_forced(folder: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "caig")
    model, processor = load_mllm(folder, "cpu")
    assert model.dtype == torch.float32 and not model.training
    assert caplog.messages == [f"{folder}: Qwen3VLForConditionalGeneration on cpu, float32"]
    assert load_mllm(folder, "cpu", dtype="bfloat16")[0].dtype == torch.bfloat16
    assert caplog.messages[-1].endswith("on cpu, bfloat16")
    assert processor.tokenizer.model_max_length == 400, "the language model's positions"
    with pytest.raises(InputError, match="dtype: expected float32, bfloat16 or float16, got 'int8'"):
        load_mllm(folder, "cpu", dtype="int8")


def test_a_tokenizer_without_padding_pads_with_its_end_token(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"pad_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(content))
    tokenizer = load_mllm(tmp_path, "cpu")[1].tokenizer
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"


@pytest.mark.gpu
def test_a_gpu_is_taken_with_bfloat16(folder: Path):
    model, _ = load_mllm(folder)
    assert model.device.type == "cuda" and model.dtype == torch.bfloat16


def test_checkpointing_is_for_training(folder: Path):
    assert load_mllm(folder, "cpu", checkpointing=True)[0].is_activation_checkpointing
    assert not load_mllm(folder, "cpu")[0].is_activation_checkpointing


def test_four_bit_without_bitsandbytes_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'Run: pip install "caig\[4bit\]"'):
        load_mllm(folder, "cpu", four_bit=True)


def test_four_bit_keeps_the_language_model_as_nf4(folder: Path):
    pytest.importorskip("bitsandbytes")
    model, processor = load_mllm(folder, "cpu", four_bit=True)
    quantized = {name for name, part in model.named_modules() if type(part).__name__ == "Linear4bit"}
    assert quantized and all(name.startswith("model.language_model.") for name in quantized)
    batch = encode_training(processor, ["mug"], [None], [["sea"]])
    four, full = (
        answer_log_probs(one, batch.inputs, batch.answers, batch.mask, 1).sum().item()
        for one in (model, load_mllm(folder, "cpu")[0])
    )
    assert four != full and four == pytest.approx(full, rel=0.2)


@pytest.mark.parametrize("model_type", ["qwen3_vl", "made_up"])
def test_code_in_a_checkpoint_is_never_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type):
    """Not even when somebody answers yes to transformers' question on the terminal."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "evil.py").write_text("import sys\nsys.modules['caig_was_here'] = sys\n")
    for name, maps in {
        "config.json": {"AutoConfig": "evil.C", "AutoModelForImageTextToText": "evil.M", "AutoProcessor": "evil.P"},
        "tokenizer_config.json": {"AutoTokenizer": ["evil.T", None], "AutoProcessor": "evil.P"},
        "preprocessor_config.json": {"AutoImageProcessor": "evil.I", "AutoProcessor": "evil.P"},
    }.items():
        content = json.loads((tmp_path / name).read_text()) | {"auto_map": maps}
        (tmp_path / name).write_text(
            json.dumps(content | ({"model_type": model_type} if name == "config.json" else {}))
        )
    monkeypatch.setattr(builtins, "input", lambda *question: "y")
    if model_type == "made_up":
        with pytest.raises(CheckpointError, match="got ValueError: The repository .* contains custom code"):
            load_mllm(tmp_path, "cpu")
    else:
        load_mllm(tmp_path, "cpu")
    assert "caig_was_here" not in sys.modules


def test_pickled_weights_are_not_read(folder: Path, tmp_path: Path):
    for file in folder.glob("*.json"):
        if "safetensors" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="expected an image-text-to-text checkpoint of transformers"):
        load_mllm(tmp_path, "cpu")


def spoil(name: str, folder: Path) -> str:
    """What is wrong with a copy in `folder`, and what is said."""
    part = sorted(folder.glob("*.safetensors"))[0]
    tensors = load_file(part)
    key = sorted(tensors)[0]
    if name == "no tensors":
        part.write_bytes(b"not a tensor")
        return "got SafetensorError"
    if name == "a shape":
        tensors[key] = tensors[key][:1]
    else:
        del tensors[key]
    save_file(tensors, part, {"format": "pt"})
    return "got RuntimeError: .*mismatch" if name == "a shape" else f"got no weights for .*{key.split('.')[-1]}"


@pytest.mark.parametrize("name", ["no tensors", "a shape", "a missing weight"])
def test_broken_weights_are_told(folder: Path, tmp_path: Path, name: str):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    message = spoil(name, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_mllm(tmp_path, "cpu")


@pytest.mark.parametrize(("name", "kind"), [("Qwen2.5-VL", "Qwen2_5_VL"), ("Qwen3-VL", "Qwen3VL")])
def test_videos_are_left_out(checkpoint: Callable[[str], Path], tmp_path: Path, name: str, kind: str):
    """transformers' own loading fails without torchvision, whose video processor it wants; settings are kept for it."""
    folder = checkpoint(name)
    model, processor = load_mllm(folder, "cpu")
    assert type(processor).__name__ == f"{kind}Processor" and not hasattr(processor, "video_processor")
    if not is_torchvision_available():
        assert type(processor.image_processor).__name__ == "Qwen2VLImageProcessorPil"
        with pytest.raises(ImportError, match="requires the Torchvision library"):
            AutoProcessor.from_pretrained(folder)
    save_mllm(model, processor, tmp_path / "once")
    save_mllm(*load_mllm(tmp_path / "once", "cpu"), tmp_path / "twice")
    source = "video_preprocessor_config.json" if name == "Qwen3-VL" else "preprocessor_config.json"
    saved = [json.loads((tmp_path / turn / "video_preprocessor_config.json").read_text()) for turn in ("once", "twice")]
    assert saved == [json.loads((folder / source).read_text())] * 2
    assert json.loads((tmp_path / "twice/processor_config.json").read_text())["processor_class"] == f"{kind}Processor"
    if is_torchvision_available():
        assert AutoProcessor.from_pretrained(tmp_path / "twice").video_processor is not None


def test_a_processors_other_settings_are_kept(tmp_path: Path):
    """InternVL's tokens a tile, which stand in its processor's settings, as an example: 256 would be the default."""
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    qwen_tokenizer(extra_special_tokens={**names, "video_token": "<video>"}).save_pretrained(tmp_path)
    for file, content in {
        "config.json": {"model_type": "internvl"},
        "preprocessor_config.json": {"image_processor_type": "GotOcr2ImageProcessor"},
        "processor_config.json": {"processor_class": "InternVLProcessor", "image_seq_length": 4},
    }.items():
        (tmp_path / file).write_text(json.dumps(content))
    processor = load_processor(tmp_path)
    assert (type(processor).__name__, processor.image_seq_length) == ("InternVLProcessor", 4)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float16), ("bfloat16", torch.bfloat16)])
def test_saved_in_half_precision(folder: Path, tmp_path: Path, dtype: str, expected: torch.dtype):
    model, processor = load_mllm(folder, "cpu", dtype=dtype)
    save_mllm(model, processor, tmp_path)
    assert model.dtype == getattr(torch, dtype), "as it was"
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == str(expected).removeprefix("torch.")
