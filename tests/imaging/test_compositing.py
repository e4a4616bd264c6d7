"""Laying the product in: bit-exact core, a background that adapts, a shadow only where there is none."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from caig.errors import InputError
from caig.imaging.canvas import lay_out
from caig.imaging.compositing import (
    contact_shadow,
    core_mask,
    flatten,
    grain,
    separate,
)
from caig.imaging.fidelity import halo, measure, psnr
from caig.imaging.matting import cut_out
from caig.imaging.reading import read_photo
from caig.imaging.surface import noise_level
from caig.types import Canvas, Placement

HERE = Path(__file__).parent
REAL = HERE.parents[1] / "examples" / "real_products" / "images"


def compose(canvas: Canvas, background: np.ndarray, *, shadow: bool = True) -> np.ndarray:
    return flatten(separate(canvas, background, shadow=shadow))


def _canvas(side: int = 160, colour: tuple[int, int, int] = (150, 60, 40), noise: float = 0) -> Canvas:
    """A box of one colour with a soft edge, standing at 0.8 of the height."""
    alpha = np.zeros((side, side), np.float32)
    alpha[side // 4 : int(0.8 * side), side // 3 : side - side // 3] = 1
    image = np.zeros((side, side, 3), np.float32) + colour
    image += np.random.default_rng(0).normal(0, noise, (side, side, 1)) if noise else 0
    soft = np.clip((cv2.GaussianBlur(alpha, (0, 0), 1.0) - 0.03) / 0.94, 0, 1)
    return Canvas(image=np.clip(image, 0, 255).astype(np.uint8), product=soft, edges=np.zeros((side, side), np.uint8))


def _floor(side: int = 160, shadow: bool = False) -> np.ndarray:
    """A light wall over a lighter floor, with or without a painted shadow under the box."""
    picture = np.full((side, side, 3), 150, np.uint8)
    picture[side // 2 :] = 190
    if shadow:
        axes = side // 3, side // 16
        picture = cv2.ellipse(picture, (side // 2, int(0.8 * side)), axes, 0, 0, 360, (90, 90, 90), -1)
    return cv2.GaussianBlur(picture, (0, 0), 2)


def test_core_mask_by_hand() -> None:
    alpha = np.array([[0, 0.5, 0.98, 0.99, 1], [0, 1, 1, 1, 1], [0, 1, 1, 1, 1]], np.float32)
    assert core_mask(alpha).tolist() == [[False] * 3 + [True] * 2, [False] + [True] * 4, [False] + [True] * 4]
    assert core_mask(alpha, 1).sum() == 5  # the right column and two of the lowest row


@pytest.mark.parametrize("name", ["arla-natural-yoghurt", "leek", "plum"])
def test_core_is_exact_and_large(name: str) -> None:
    canvas = lay_out(cut_out(read_photo(REAL / f"{name}.jpg")), (256, 320))
    background = np.random.default_rng(3).integers(0, 255, canvas.image.shape, np.uint8)
    ad = compose(canvas, background)
    fidelity = measure(canvas, ad)
    print(f"{name}: core coverage {fidelity.core_coverage:.3f}, required 0.90 (leek 0.75)")
    assert fidelity.core_exact and fidelity.core_coverage >= (0.75 if name == "leek" else 0.90)
    assert np.array_equal(ad, compose(canvas, background))


def test_soft_edge_is_a_mixture_of_both_sides() -> None:
    canvas = _canvas()
    ad = compose(canvas, np.full((160, 160, 3), 90, np.uint8), shadow=False).astype(float)
    expected = canvas.image * canvas.product[..., None] + 90 * (1 - canvas.product[..., None])
    soft = (canvas.product > 0) & (canvas.product < 1)
    assert soft.any() and np.abs(ad - expected)[soft].max() <= 1


def test_the_background_keeps_its_light() -> None:
    for colour in ((240, 238, 236), (40, 40, 40)):
        canvas, background = _canvas(colour=colour), np.full((160, 160, 3), 128, np.uint8)
        ad = compose(canvas, background, shadow=False)
        assert abs(ad[canvas.product == 0].mean() - 128) < 0.5


def test_shadow_only_where_there_is_none() -> None:
    canvas = _canvas()
    missing = contact_shadow(canvas, (_floor() / 255).astype(np.float32))
    present = contact_shadow(canvas, (_floor(shadow=True) / 255).astype(np.float32))
    print(f"shadow on a bare floor {missing.max():.2f}, required > 0.3; on a painted one {present.max():.2f}, <= 0.05")
    assert missing.max() > 0.3 and present.max() <= 0.05
    rows = np.argwhere(missing > 0.1)[:, 0]
    assert rows.min() > 0.7 * 160 and rows.max() < 0.95 * 160  # at the base at 0.8, nowhere else
    bare, shaded = (compose(canvas, _floor(), shadow=flag).astype(int) for flag in (False, True))
    assert (shaded - bare)[132, 80].max() < -10 and np.abs(shaded - bare)[:80].max() <= 1


def test_grain_matches_the_product() -> None:
    noisy, smooth = _canvas(noise=2.0), np.full((160, 160, 3), 120, np.uint8)
    product = noise_level(noisy.image, core_mask(noisy.product, 2))
    added = grain(noisy, smooth)
    print(f"product noise {product:.2f}, grain added {added.std():.2f}, required within 0.7")
    assert product == pytest.approx(2.0, abs=0.4) and added.std() == pytest.approx(product, abs=0.7)
    assert grain(_canvas(), smooth).std() == 0
    assert np.array_equal(added, grain(noisy, smooth)) and not np.array_equal(added, grain(noisy, smooth + 1))


def test_sizes_must_agree() -> None:
    with pytest.raises(InputError, match="expected 160x160 pixels, RGB, got 80x40"):
        compose(_canvas(), np.zeros((40, 80, 3), np.uint8))


def test_halo_is_seen_and_its_absence_too() -> None:
    """A brown box on dark ground: clean edge, and an edge in which 60 % of an old white ground was left."""
    canvas = _canvas()
    dark = np.full((160, 160, 3), 25, np.uint8)
    clean = compose(canvas, dark, shadow=False)
    soft = (canvas.product > 0.02) & (canvas.product < 0.98)
    spoiled = clean.copy()
    spoiled[soft] = (0.4 * clean[soft] + 0.6 * 255).astype(np.uint8)
    first, second = halo(canvas, clean), halo(canvas, spoiled)
    print(f"halo clean {first:.4f}, required < 0.005; spoiled {second:.4f}, required > 0.1")
    assert first < 0.005 and second > 0.1


def test_real_photos_carry_no_halo_onto_dark() -> None:
    for name in ("avocado", "aubergine", "god-morgon-orange-juice", "plum"):
        photo = read_photo(REAL / f"{name}.jpg")
        canvas = lay_out(cut_out(photo), (256, 256))
        value = halo(canvas, compose(canvas, np.full((256, 256, 3), 30, np.uint8), shadow=False))
        print(f"{name}: halo {value:.4f}, required < 0.04")
        assert value < 0.04


def test_exactness_is_measured_not_promised() -> None:
    canvas = _canvas()
    ad = compose(canvas, _floor())
    ad[80, 80, 0] ^= 1
    assert not measure(canvas, ad).core_exact


def test_psnr_by_hand() -> None:
    """A difference of 5 everywhere: 20 log10(255 / 5) = 34.15 dB."""
    first = np.full((4, 4, 3), 100, np.uint8)
    where = np.ones((4, 4), bool)
    assert psnr(first, first + 5, where) == pytest.approx(34.151, abs=1e-3) and psnr(first, first, where) == 99.0


@pytest.mark.parametrize("name", ["carton", "fruit"])
def test_golden(name: str) -> None:
    """The whole way from photo to ad against a stored picture; required 45 dB."""
    photo = read_photo(REAL / {"carton": "arla-lactose-medium-fat-milk.jpg", "fruit": "plum.jpg"}[name])
    canvas = lay_out(cut_out(photo), (128, 128), Placement(scale=0.6))
    ad = compose(canvas, _floor(128))
    stored = np.asarray(Image.open(HERE / "golden" / f"{name}.png").convert("RGB"))
    value = psnr(stored, ad, np.ones(ad.shape[:2], bool))
    print(f"{name}: {value:.1f} dB, required 45")
    assert value >= 45


def test_the_noise_of_a_flat_ground_is_zero_not_nan() -> None:
    """Running sums over noise leave energies of about -5e-16 in the flat part beside it."""
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[:35, :35] = np.random.default_rng(0).integers(0, 256, (35, 35, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for top in range(30, 80, 2):
            for left in range(0, 80, 2):
                where = np.zeros((96, 96), bool)
                where[top : top + 10, left : left + 10] = True
                assert noise_level(picture, where) >= 0
