"""Background models of every kind, on tiny checkpoints: SDXL, UNets that see no mask, compositions, LoRA, fp16.

Parity is with diffusers' own pipelines on the same noise, with the mode in place of their sampled latents.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLControlNetInpaintPipeline, UNet2DConditionModel
from PIL import Image

from caig.errors import CheckpointError, InputError
from caig.models import hub, registry
from caig.models.background_loading import read_composition
from caig.models.background_model import BackgroundModel, Frame
from caig.models.background_text import encode_texts
from caig.models.plates import PlateBank
from caig.testing import check_background_model, sample_canvas
from caig.types import Description
from tests.models.test_plates import write_bank
from tests.tiny import tiny_background, tiny_xl

CANVAS = sample_canvas(64, 64)
TEXT = "rustic kitchen table"


@pytest.fixture(scope="module")
def xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="module")
def unmasked_xl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_xl(tmp_path_factory.mktemp("unmasked"), channels=4)


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_background(tmp_path_factory.mktemp("sd"))


def described(text: str = TEXT, negative: str = "") -> Description:
    return Description(product_id="sample", text=text, author="user", seed=0, negative=negative)


def paint(model: BackgroundModel, *texts: str, **sampling: Any) -> np.ndarray:
    changed = BackgroundModel(model.pipeline, replace(model.sampling, **sampling), name="x")
    return changed.paint(CANVAS, [described(text) for text in texts or (TEXT,)], seeds=[5] * max(1, len(texts)))[0]


def composed(folder: Path, **record: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hub.RECIPE).write_text(json.dumps(record))
    return folder


def gap_to_stock(model: BackgroundModel, folder: Path, *, guidance: float, scheduler: Any = None) -> float:
    """Largest difference between our latents and diffusers', whose spread is about 1."""
    stock = StableDiffusionXLControlNetInpaintPipeline.from_pretrained(folder, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    if scheduler is not None:
        stock.scheduler = model.pipeline.scheduler = scheduler
    encode = stock.vae.encode

    def encode_to_mode(*args: Any, **kwargs: Any) -> Any:
        output = encode(*args, **kwargs)
        output.latent_dist.sample = lambda generator=None: output.latent_dist.mode()
        return output

    stock.vae.encode = encode_to_mode
    ours = BackgroundModel(model.pipeline, replace(model.sampling, erode=0, guidance=guidance), name="x")
    frame = Frame.around((64, 64), side=64, multiple=16)
    words = encode_texts(ours.pipeline, [TEXT], [""] if guidance > 1 else None)
    with torch.inference_mode():
        painted = ours._sample(frame, CANVAS, words, [torch.Generator().manual_seed(5)])
    theirs = stock(
        TEXT,
        image=Image.fromarray(np.where(CANVAS.product[..., None] > 0.5, CANVAS.image, np.uint8(128))),
        mask_image=Image.fromarray(np.uint8(255) * (CANVAS.product <= 0.5)),
        control_image=ours._edges(frame, CANVAS),
        height=64,
        width=64,
        strength=1.0,
        num_inference_steps=3,
        guidance_scale=guidance,
        controlnet_conditioning_scale=1.0,
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images
    assert theirs.std() > 0.3
    return float((theirs - painted).abs().max() / theirs.std())


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("channels", [9, 4])
def test_sdxl_agrees_with_the_stock_pipeline(xl: Path, unmasked_xl: Path, channels: int, guidance: float) -> None:
    folder = xl if channels == 9 else unmasked_xl
    gap = gap_to_stock(BackgroundModel.from_pretrained(str(folder)), folder, guidance=guidance)
    print(f"required: latents within 1e-3 of their spread; measured: {gap:.1e}")
    assert gap <= 1e-3


def test_a_scheduler_that_draws_noise_agrees_with_the_stock_pipeline(xl: Path) -> None:
    from diffusers import EulerAncestralDiscreteScheduler

    model = BackgroundModel.from_pretrained(str(xl))
    scheduler = EulerAncestralDiscreteScheduler.from_config(model.pipeline.scheduler.config)
    gap = gap_to_stock(model, xl, guidance=3.0, scheduler=scheduler)
    print(f"required: latents within 1e-3 of their spread; measured: {gap:.1e}")
    assert gap <= 1e-3


def test_sdxl_keeps_the_contract(xl: Path) -> None:
    check_background_model(BackgroundModel.from_pretrained(str(xl)))


def test_the_same_picture_alone_and_in_a_batch_where_noise_is_drawn(xl: Path, tmp_path: Path) -> None:
    folder = composed(
        tmp_path / "m", base=str(xl), scheduler={"class": "LCMScheduler"}, sampling={"steps": 3, "native_side": 64}
    )
    model = BackgroundModel.from_pretrained(str(folder))
    alone = model.paint(CANVAS, [described()], seeds=[5])[0].astype(int)
    batched = model.paint(CANVAS, [described()] * 2, seeds=[4, 5])[1].astype(int)
    worst = np.abs(alone - batched).max()
    print(f"required: at most 1 level; measured: {worst}")
    assert worst <= 1


def test_sdxl_hears_both_encoders_and_negatives(xl: Path) -> None:
    model = BackgroundModel.from_pretrained(str(xl))
    usual = paint(model)
    assert not np.array_equal(usual, paint(model, "sandy beach"))
    negative = model.paint(CANVAS, [described(negative="sandy beach")], seeds=[5])[0]
    assert not np.array_equal(usual, negative)
    for encoder in ("text_encoder", "text_encoder_2"):
        changed = BackgroundModel.from_pretrained(str(xl))
        with torch.no_grad():
            next(getattr(changed.pipeline, encoder).parameters()).mul_(3)
        assert not np.array_equal(usual, paint(changed)), encoder


def test_sdxl_warns_with_what_either_encoder_cuts(xl: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = BackgroundModel.from_pretrained(str(xl))
    model.pipeline.tokenizer_2.model_max_length = 24
    model.pipeline.tokenizer.model_max_length = 48
    from caig.models.background_text import _ids

    text = "kitchen " * 60 + "elephant"
    for tokenizer in (model.pipeline.tokenizer, model.pipeline.tokenizer_2):
        _ids(model.pipeline, tokenizer, [text])
    assert "the text encoder reads 48; cut:" in caplog.text and "the text encoder reads 24; cut:" in caplog.text


def test_without_guidance_the_unconditional_half_is_not_computed(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BackgroundModel.from_pretrained(str(sd))
    rows: list[int] = []
    forward = UNet2DConditionModel.forward

    def counting(self: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(sample))
        return forward(self, sample, *args, **kwargs)

    monkeypatch.setattr(UNet2DConditionModel, "forward", counting)
    paint(model, guidance=2.0)
    paint(model, guidance=1.0)
    assert rows == [2] * 3 + [1] * 3


def test_an_inpainting_controlnet_sees_the_picture_with_minus_one_where_to_paint(sd: Path) -> None:
    model = BackgroundModel.from_pretrained(str(sd))
    usual = paint(model)
    assert not np.array_equal(usual, paint(model, control="inpaint"))
    inpainting = BackgroundModel(model.pipeline, replace(model.sampling, control="inpaint", erode=0), name="x")
    seen = inpainting._control_picture(Frame.around((64, 64), side=64, multiple=32), CANVAS)[0]
    product = torch.from_numpy(CANVAS.product > 0.5)
    assert (seen[:, ~product] == -1).all()
    assert torch.allclose(seen[:, product], torch.tensor([40, 80, 160])[:, None] / 255)


def test_a_composition_is_its_parts(xl: Path, unmasked_xl: Path, tmp_path: Path) -> None:
    """Base without ControlNet + a separate one, named relative to the file, equals the folder that holds both."""
    import shutil

    shutil.copytree(unmasked_xl, tmp_path / "base", ignore=shutil.ignore_patterns("controlnet"))
    index = json.loads((tmp_path / "base/model_index.json").read_text())
    del index["controlnet"]
    (tmp_path / "base/model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionXLPipeline"}))
    sampling = json.loads((unmasked_xl / "sampling.json").read_text())
    folder = composed(tmp_path / "mine", base="../base", controlnet=str(unmasked_xl / "controlnet"), sampling=sampling)
    ours = BackgroundModel.from_pretrained(str(folder))
    whole = BackgroundModel.from_pretrained(str(unmasked_xl))
    assert np.array_equal(paint(ours), paint(whole))
    assert ours.fingerprint and ours.fingerprint != whole.fingerprint
    with pytest.raises(CheckpointError, match="controlnet.*Name such a folder, or one with a background.json"):
        BackgroundModel.from_pretrained(str(composed(tmp_path / "bare", base="../base")))


def test_half_precision_files_are_found_where_there_are_no_others(sd: Path, tmp_path: Path) -> None:
    """As known checkpoints come: `*.fp16.safetensors` alone, the base without its ControlNet, four channels in."""
    from diffusers import StableDiffusionControlNetInpaintPipeline, StableDiffusionPipeline

    whole = StableDiffusionControlNetInpaintPipeline.from_pretrained(sd, dtype=torch.float16)
    unet = UNet2DConditionModel.from_config(whole.unet.config, in_channels=4).half()
    parts = {name: part for name, part in whole.components.items() if name not in ("controlnet", "image_encoder")}
    base = StableDiffusionPipeline(**(parts | {"unet": unet}), requires_safety_checker=False)
    base.save_pretrained(tmp_path / "base", variant="fp16")
    whole.controlnet.save_pretrained(tmp_path / "controlnet", variant="fp16")
    assert not (tmp_path / "base/unet/diffusion_pytorch_model.safetensors").exists()
    folder = composed(
        tmp_path / "m", base="../base", controlnet="../controlnet", sampling={"steps": 2, "native_side": 64}
    )
    model = BackgroundModel.from_pretrained(str(folder))
    assert model.pipeline.unet.dtype == torch.float32 and model._inputs() == 4
    check_background_model(model)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"base": "x", "colour": 1}, r"got \['colour'\]"),
        ({"controlnet": "x"}, "only"),
        ({"base": "x", "sampling": {"stepz": 1}}, r"got \['stepz'\]"),
        ({"base": "nowhere"}, "expected folders, or owner/name on the hub, got 'nowhere'"),
        ({"base": "sd", "scheduler": {"class": "UNet2DConditionModel"}}, "which is none of diffusers'"),
    ],
)
def test_a_wrong_composition_is_told_what_is_wrong(sd: Path, tmp_path: Path, record: dict, message: str) -> None:
    record = {**record, "base": str(sd)} if record.get("base") == "sd" else record
    with pytest.raises(CheckpointError, match=message):
        BackgroundModel.from_pretrained(str(composed(tmp_path / "m", **record)))


def test_known_compositions_can_be_read_and_their_schedulers_exist() -> None:
    import diffusers

    for folder in registry.backgrounds().values():
        composition = read_composition(folder)
        assert composition.controlnet and composition.parts == registry.parts_of(folder)
        assert composition.scheduler is None or hasattr(diffusers, composition.scheduler["class"])


def test_a_known_composition_offline_gives_the_command_of_its_missing_part(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include"):
        BackgroundModel.from_pretrained("sd15-canny")


def test_a_lora_brings_its_weights_scheduler_steps_and_guidance(xl: Path, tmp_path: Path) -> None:
    """As LCM and Hyper-SD come: fused into the UNet, W + scale · B A, with a scheduler and sampling of their own."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    model = BackgroundModel.from_pretrained(str(xl))
    unet = model.pipeline.unet
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q"
    before = unet.get_submodule(name).weight.detach().clone()
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"]))
    torch.manual_seed(0)
    for key, value in unet.named_parameters():
        if "lora" in key:
            torch.nn.init.normal_(value, std=0.2)
    layer = unet.get_submodule(name)
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionXLControlNetInpaintPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=layers)
    folder = composed(
        tmp_path / "fast",
        base=str(xl),
        lora=str(tmp_path / "lora"),
        lora_file="pytorch_lora_weights.safetensors",
        lora_scale=0.5,
        scheduler={"class": "DDIMScheduler", "timestep_spacing": "trailing"},
        sampling={"steps": 2, "guidance": 1.0, "native_side": 64},
    )
    fast = BackgroundModel.from_pretrained(str(folder))
    assert torch.allclose(fast.pipeline.unet.get_submodule(name).weight, before + 0.5 * change, atol=1e-5)
    assert type(fast.pipeline.scheduler).__name__ == "DDIMScheduler" and not fast._guided()
    fast.pipeline.scheduler.set_timesteps(2)
    assert fast.pipeline.scheduler.timesteps.tolist() == [999, 499], "trailing"
    assert not np.array_equal(paint(fast), paint(BackgroundModel.from_pretrained(str(xl))))


def test_half_precision_is_forced_and_the_decoder_of_sdxl_stays_in_fp32(xl: Path) -> None:
    model = BackgroundModel.from_pretrained(str(xl), device="cpu", dtype="float16")
    parts = {name: getattr(model.pipeline, name).dtype for name in ("unet", "controlnet", "text_encoder", "vae")}
    assert parts == dict.fromkeys(("unet", "controlnet", "text_encoder"), torch.float16) | {"vae": torch.float32}
    gap = np.abs(paint(model).astype(int) - paint(BackgroundModel.from_pretrained(str(xl))).astype(int)).mean()
    print(f"required: at most 2 levels from fp32 on average; measured: {gap:.3f}")
    assert gap <= 2


def test_a_decoder_that_overflows_in_fp16_still_paints(xl: Path, tmp_path: Path) -> None:
    """Its activations leave the range of fp16, as those of SDXL's own decoder do."""
    import shutil

    from diffusers import AutoencoderKL

    folder = Path(shutil.copytree(xl, tmp_path / "loud"))
    vae = AutoencoderKL.from_pretrained(folder / "vae", dtype=torch.float32)
    with torch.no_grad():
        vae.decoder.conv_in.weight.mul_(3e4)  # still fits fp16, its products do not
    vae.save_pretrained(folder / "vae")
    whole = BackgroundModel.from_pretrained(str(folder))
    half = BackgroundModel.from_pretrained(str(folder), dtype="float16")
    gap = np.abs(paint(half).astype(int) - paint(whole).astype(int)).mean()
    half.pipeline.vae.half()
    latents = 3 * torch.randn(1, 4, 8, 8, dtype=torch.float16)
    assert not half.pipeline.vae.decode(latents).sample.isfinite().all(), "this decoder does overflow"
    print(f"required: at most 2 levels from fp32 on average; measured: {gap:.3f}")
    assert gap <= 2


def test_plates_are_relit_near_the_product(sd: Path, tmp_path: Path) -> None:
    """Left as they are without refinement; with it, changed in brightness, most around the product."""
    bank = PlateBank.read(write_bank(tmp_path, [({"captions": [TEXT]}, (90, 120, 150))]))
    assert bank is not None
    pipeline, sampling = (model := BackgroundModel.from_pretrained(str(sd))).pipeline, model.sampling
    kept, relit = (
        BackgroundModel(pipeline, replace(sampling, refine=refine), name="x", plates=bank).paint(
            CANVAS, [described()], seeds=[5]
        )[0]
        for refine in (0, 500)
    )
    assert np.array_equal(kept, bank.lay(described(), CANVAS, seed=5))
    change = np.abs(relit.astype(int) - kept).sum(2)
    assert change[30:53, 24:40].mean() > change[:8].mean() and change.any()


def test_from_noise_a_model_paints_without_its_plates(sd: Path, tmp_path: Path) -> None:
    bank = PlateBank.read(write_bank(tmp_path, [({"captions": [TEXT]}, (90, 120, 150))]))
    plain = BackgroundModel.from_pretrained(str(sd))
    plated = BackgroundModel(plain.pipeline, plain.sampling, name="x", plates=bank)
    alone, expected = (model.paint(CANVAS, [described()], seeds=[5])[0] for model in (plated.from_noise(), plain))
    assert np.array_equal(alone, expected) and not np.array_equal(
        alone, plated.paint(CANVAS, [described()], seeds=[5])[0]
    )


def test_without_a_compiler_compile_is_told(sd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="--compile: expected a C.. compiler, got no no-such-compiler. Install one"):
        BackgroundModel.from_pretrained(str(sd), compile=True)


@pytest.mark.slow
def test_a_compiled_model_paints_the_same(sd: Path) -> None:
    usual = paint(BackgroundModel.from_pretrained(str(sd))).astype(int)
    compiled = BackgroundModel.from_pretrained(str(sd), compile=True)
    worst = np.abs(paint(compiled).astype(int) - usual).max()
    print(f"required: at most 1 level; measured: {worst}")
    assert worst <= 1
    assert compiled.pipeline.unet._compiled_call_impl is not None
