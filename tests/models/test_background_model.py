"""The background model on a tiny checkpoint: contract, frames, caching, and agreement with the stock pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionControlNetInpaintPipeline
from PIL import Image
from safetensors.torch import save_file

from caig.errors import CheckpointError, InputError
from caig.models.background_loading import read_sampling
from caig.models.background_model import BackgroundModel, Frame
from caig.models.background_text import warn_of_cut
from caig.testing import check_background_model, sample_canvas
from caig.types import Box, Canvas, Description
from tests.tiny import tiny_background


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_background(tmp_path_factory.mktemp("background"))


@pytest.fixture(scope="module")
def model(folder: Path) -> BackgroundModel:
    return BackgroundModel.from_pretrained(str(folder))


def described(text: str) -> Description:
    return Description(product_id="sample", text=text, author="user", seed=0)


def test_keeps_the_contract(model: BackgroundModel) -> None:
    check_background_model(model)


@pytest.mark.parametrize(
    ("size", "inner", "outer"),
    [
        ((1024, 1024), (256, 256), (256, 256)),
        ((1200, 628), (352, 184), (352, 192)),  # 354 x 185, rounded down and up
        ((728, 90), (736, 91), (736, 96)),
        ((64, 64), (256, 256), (256, 256)),
    ],
)
def test_a_frame_keeps_area_and_aspect(size, inner, outer) -> None:
    frame = Frame.around(size, side=256, multiple=32)
    assert (frame.inner_width, frame.inner_height) == inner
    assert (frame.width, frame.height) == outer


@pytest.mark.parametrize(("side", "multiple"), [(512, 64), (1024, 32)], ids=["SD 1.5", "SDXL"])
@pytest.mark.parametrize("size", [(1080, 1080), (1080, 1350), (1080, 1920), (1920, 1080), (1200, 628)])
def test_size_buckets_are_whole_blocks_of_about_the_native_area(size, side: int, multiple: int) -> None:
    frame = Frame.around(size, side, multiple)
    assert frame.width % multiple == frame.height % multiple == 0
    area = frame.width * frame.height / side**2
    aspect = (frame.inner_width / frame.inner_height) / (size[0] / size[1])
    print(f"required: area within 15 % of the native one, aspect within 1 %; measured: {area:.3f}, {aspect:.4f}")
    assert 0.85 <= area <= 1.15 and 0.99 <= aspect <= 1.01


def test_a_frame_gives_back_what_was_fitted() -> None:
    frame = Frame.around((352, 184), side=256, multiple=32)
    assert (frame.inner_width, frame.inner_height) == (352, 184)
    pixels = np.random.default_rng(0).integers(0, 256, (184, 352, 3), np.uint8)
    assert np.array_equal(frame.unfit(frame.fit(pixels, 128), (352, 184)), pixels)


def test_a_frame_painted_twice_as_large_gives_the_same_part() -> None:
    frame = Frame.around((352, 184), side=256, multiple=32)
    pixels = np.random.default_rng(0).integers(0, 256, (184, 352, 3), np.uint8)
    doubled = frame.fit(pixels, 128).repeat(2, 0).repeat(2, 1)
    assert np.array_equal(frame.unfit(doubled, (704, 368)), pixels.repeat(2, 0).repeat(2, 1))


def test_a_decoder_trained_for_it_paints_larger_canvases_at_twice_the_side(model: BackgroundModel) -> None:
    sampling = replace(model.sampling, native_side=64)
    canvas, small = sample_canvas(128, 128), sample_canvas(64, 64)

    def paint(canvas: Canvas, *, enlarges: bool) -> np.ndarray:
        painter = BackgroundModel(model.pipeline, replace(sampling, enlarges=enlarges), name="x")
        return painter.paint(canvas, [described("rustic kitchen table")], seeds=[5])[0]

    assert not np.array_equal(paint(canvas, enlarges=True), paint(canvas, enlarges=False))
    assert paint(canvas, enlarges=True).shape == (128, 128, 3)
    assert np.array_equal(paint(small, enlarges=True), paint(small, enlarges=False)), "the native side is not enlarged"


def test_refinement_goes_on_from_the_small_picture(model: BackgroundModel) -> None:
    """Refined from the last of many timesteps, hardly any noise is added: the small picture, enlarged, stays."""
    canvas, text = sample_canvas(64, 64), described("rustic kitchen table")

    def paint(**sampling) -> np.ndarray:
        changed = replace(model.sampling, steps=200, controlnet_scale=0.0, **sampling)
        return BackgroundModel(model.pipeline, changed, name="x").paint(canvas, [text], seeds=[5])[0].astype(int)

    small, kept, anew = paint(native_side=32), paint(refine=10), paint(refine=995)
    near, far = (np.abs(picture - small).mean() for picture in (kept, anew))
    print(f"required: near the small picture, below half of {far:.1f} levels; measured: {near:.1f}")
    assert near < far / 2


def test_alone_and_batched_agree(model: BackgroundModel) -> None:
    canvas, text = sample_canvas(64, 64), described("rustic kitchen table")
    alone = model.paint(canvas, [text], seeds=[5])[0].astype(int)
    batched = model.paint(canvas, [text] * 3, seeds=[4, 5, 6])[1].astype(int)
    worst = np.abs(alone - batched).max()
    print(f"required: at most 1 level; measured: {worst}")
    assert worst <= 1


def test_text_controlnet_and_guidance_all_reach_the_picture(model: BackgroundModel) -> None:
    canvas = sample_canvas(64, 64)

    def paint(text: str = "rustic kitchen table", **sampling) -> np.ndarray:
        changed = BackgroundModel(model.pipeline, replace(model.sampling, **sampling), name="x")
        return changed.paint(canvas, [described(text)], seeds=[5])[0]

    usual = paint()
    for other in (
        paint("sandy beach"),
        paint(controlnet_scale=0.0),
        paint(guidance=5.0),
        paint(steps=4),
        paint(erode=3),
        paint(refine=700),
        paint(refine=400),
    ):
        assert not np.array_equal(usual, other)
    assert not np.array_equal(usual, paint(native_side=128))


def test_agrees_with_the_stock_pipeline_on_the_same_noise(folder: Path, model: BackgroundModel) -> None:
    """The stock pipeline loads the folder; with our mode instead of its sampled latents both paint the same."""
    stock = StableDiffusionControlNetInpaintPipeline.from_pretrained(folder, dtype=torch.float32)
    stock.set_progress_bar_config(disable=True)
    stock.vae.encode = _with_mode(stock.vae.encode)
    canvas = sample_canvas(64, 64)
    ours = BackgroundModel(model.pipeline, replace(model.sampling, erode=0), name="x")
    painted = ours.paint(canvas, [described("rustic kitchen table")], seeds=[5])[0]
    frame = Frame.around((64, 64), side=64, multiple=32)
    edges = ours._edges(frame, canvas)
    masked = Image.fromarray(np.where(canvas.product[..., None] > 0.5, canvas.image, np.uint8(128)))
    theirs = stock(
        "rustic kitchen table",
        image=masked,
        mask_image=Image.fromarray(np.uint8(255) * (canvas.product <= 0.5)),
        control_image=edges,
        height=64,
        width=64,
        num_inference_steps=3,
        guidance_scale=2.0,
        controlnet_conditioning_scale=1.0,
        generator=torch.Generator().manual_seed(5),
        output_type="np",
    ).images[0]
    gap = np.abs(np.round(theirs * 255) - painted).max()
    print(f"required: at most 1 level; measured: {gap}")
    assert gap <= 1


def _with_mode(encode):
    def encode_to_mode(*args, **kwargs):
        output = encode(*args, **kwargs)
        output.latent_dist.sample = lambda generator=None: output.latent_dist.mode()
        return output

    return encode_to_mode


def test_a_long_description_warns_with_what_was_cut(model: BackgroundModel, caplog: pytest.LogCaptureFixture) -> None:
    warn_of_cut(model.pipeline.tokenizer, "kitchen " * 60 + "elephant")
    assert "the text encoder reads 48; cut:" in caplog.text and "elephant" in caplog.text
    caplog.clear()
    warn_of_cut(model.pipeline.tokenizer, "rustic kitchen table")
    assert not caplog.records


def test_every_byte_survives_the_tokenizer(model: BackgroundModel) -> None:
    tokenizer = model.pipeline.tokenizer
    ids = tokenizer("xylophone & 7 été")["input_ids"]
    assert tokenizer.unk_token_id not in ids[1:-1]


def test_unknown_sampling_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "sampling.json").write_text('{"steps": 9, "stepz": 1}')
    with pytest.raises(CheckpointError, match=r"got \['stepz'\]"):
        read_sampling(tmp_path)


def test_a_folder_that_is_no_pipeline_is_a_clear_error(tmp_path: Path) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="a diffusers folder with a ControlNet inpainting pipeline"):
        BackgroundModel.from_pretrained(str(tmp_path))


def test_known_words_are_one_token_each(model: BackgroundModel) -> None:
    """Start, 'rustic kitchen table , soft morning light', end: else captions outgrow the text encoder."""
    assert len(model.pipeline.tokenizer("rustic kitchen table, soft morning light")["input_ids"]) == 9


def test_negatives_and_clear_space_reach_the_picture(model: BackgroundModel) -> None:
    canvas, text = sample_canvas(64, 64), described("rustic kitchen table")

    def paint(canvas: Canvas, **changes: str) -> np.ndarray:
        return model.paint(canvas, [replace(text, **changes)], seeds=[5])[0]

    usual, clear = paint(canvas), paint(replace(canvas, clear=Box(x=0, y=0, w=1, h=0.4)))
    assert not np.array_equal(usual, paint(canvas, negative="sandy beach"))
    top = slice(0, 20)
    print(f"deviation of the clear space in levels: {usual[top].std():.1f} before, {clear[top].std():.1f} calmed")
    assert clear[top].std() < 0.8 * usual[top].std()


def test_only_its_own_negative_counts(model: BackgroundModel) -> None:
    canvas, text = sample_canvas(64, 64), described("rustic kitchen table")
    mixed = model.paint(canvas, [text, replace(text, negative="sandy beach")], seeds=[5, 5])
    usual = model.paint(canvas, [text, text], seeds=[5, 5])
    assert np.array_equal(mixed[0], usual[0]) and not np.array_equal(mixed[1], usual[1])


def test_the_controlnet_can_be_left_out(model: BackgroundModel) -> None:
    canvas, text = sample_canvas(64, 64), described("rustic kitchen table")
    (without,) = model.with_controlnet_scale(0.0).paint(canvas, [text], seeds=[5])
    changed = BackgroundModel(model.pipeline, replace(model.sampling, controlnet_scale=0.0), name="x")
    assert np.array_equal(without, changed.paint(canvas, [text], seeds=[5])[0])
    assert not np.array_equal(without, model.paint(canvas, [text], seeds=[5])[0])


def test_a_negative_needs_guidance(model: BackgroundModel) -> None:
    unguided = BackgroundModel(model.pipeline, replace(model.sampling, guidance=1.0), name="quick")
    wish = replace(described("rustic kitchen table"), negative="fruit")
    with pytest.raises(InputError, match="negative: expected a background model with guidance, got quick"):
        unguided.paint(sample_canvas(64, 64), [wish], seeds=[5])
