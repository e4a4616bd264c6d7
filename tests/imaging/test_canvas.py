"""Sizes, placements and the resize that never stretches."""

from __future__ import annotations

import numpy as np
import pytest

from caig.errors import InputError
from caig.imaging.canvas import lay_out, on_white, parse_position, parse_size, product_box, resize
from caig.imaging.edges import product_edges
from caig.types import Cutout, Placement


def _cutout(wide: int = 40, high: int = 80, margin: int = 3) -> Cutout:
    """A flat red product with one soft pixel all around."""
    alpha = np.zeros((high + 2 * margin, wide + 2 * margin), np.float32)
    alpha[margin - 1 : -margin + 1, margin - 1 : -margin + 1] = 0.4
    alpha[margin:-margin, margin:-margin] = 1
    image = np.zeros((*alpha.shape, 3), np.uint8)
    image[:] = (180, 40, 20)
    return Cutout(image=image, alpha=alpha, source="alpha")


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024x768", (1024, 768)), ("512", (512, 512)), (" 64 X 2048 ", (64, 2048)), ("4:5", (1080, 1350))],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("big", "WIDTHxHEIGHT"),
        ("", "WIDTHxHEIGHT"),
        ("10x", "WIDTHxHEIGHT"),
        ("-5x100", "WIDTHxHEIGHT"),
        ("63x512", "sides of 64 to 2048 pixels, got 63x512"),
        ("512x4096", "got 512x4096"),
        ("1e3x500", "WIDTHxHEIGHT"),
    ],
)
def test_bad_sizes(text: str, said: str) -> None:
    with pytest.raises(InputError, match="size: expected") as error:
        parse_size(text)
    assert said in str(error.value)


def test_positions() -> None:
    assert parse_position("0.5, 0.8") == (0.5, 0.8)
    for text in ("0.5", "a,b", "0.5,1.2", "-0.1,0.5", "1,2,3", "nan,0.5"):
        with pytest.raises(InputError, match="position: expected X,Y"):
            parse_position(text)


@pytest.mark.parametrize("size", [(256, 256), (640, 320), (100, 200), (64, 64), (1024, 512)])
@pytest.mark.parametrize("shape", [(40, 80), (90, 30)])
def test_default_placement_by_hand(size: tuple[int, int], shape: tuple[int, int]) -> None:
    """Longer side = half the shorter canvas side; centre at 0.5 of the width, base at 0.80 of the height."""
    canvas = lay_out(_cutout(*shape), size)
    left, top, right, bottom = product_box(canvas.product)
    longer = 0.5 * min(size)
    assert canvas.image.shape == (size[1], size[0], 3) and canvas.product.shape == canvas.edges.shape == size[::-1]
    assert max(right - left, bottom - top) == pytest.approx(longer, abs=2)
    assert (right - left) / (bottom - top) == pytest.approx(shape[0] / shape[1], rel=0.09 if min(size) < 200 else 0.03)
    assert (left + right) / 2 == pytest.approx(0.5 * size[0], abs=1) and bottom == pytest.approx(0.8 * size[1], abs=1)


def test_placements_off_the_canvas_name_the_range() -> None:
    """Product 64x128 on 256x256: x from 32/256 to 224/256, y from 128/256 to 1."""
    with pytest.raises(InputError, match=r"position x: expected 0\.12\d to 0\.87\d .*got 0\.05"):
        lay_out(_cutout(), (256, 256), Placement(scale=0.5, x=0.05))
    with pytest.raises(InputError, match=r"position y: expected 0\.(49\d|50\d) to 1\.000 .*got 0\.3"):
        lay_out(_cutout(), (256, 256), Placement(scale=0.5, y=0.3))
    lay_out(_cutout(), (256, 256), Placement(scale=1.0, y=1.0))
    for scale in (0.0, 0.01, 1.5):
        with pytest.raises(InputError, match="scale: expected 0.0312 to 1"):
            lay_out(_cutout(), (256, 256), Placement(scale=scale))


def test_resize_mixes_no_ground_into_the_product() -> None:
    cutout = _cutout()
    for factor in (0.3, 0.77, 1.0, 2.6):
        image, alpha = resize(cutout.image, cutout.alpha, factor)
        assert np.abs(image[alpha > 0.05].astype(int) - (180, 40, 20)).max() <= 1
        assert ((alpha >= 0) & (alpha <= 1)).all()


def test_enlarged_edges_stay_crisp() -> None:
    """Three times larger, the soft rim is at most 4 pixels wide in a row through the middle."""
    _, alpha = resize(*(lambda c: (c.image, c.alpha))(_cutout()), 3.0)
    row = alpha[alpha.shape[0] // 2]
    assert 2 <= ((row > 0) & (row < 1)).sum() <= 8


def test_edges_are_the_products_own() -> None:
    """A square with a cross inside, on any ground: outline and cross, and nothing outside."""
    alpha = np.zeros((80, 80), np.float32)
    alpha[20:60, 20:60] = 1
    image = np.full((80, 80, 3), 200, np.uint8)
    image[38:42, 20:60] = 20
    loud = image.copy()
    loud[::3, :15] = 0
    edges = product_edges(image, alpha)
    assert np.array_equal(edges, product_edges(loud, alpha)) and not edges[alpha == 0].any()
    assert edges[20, 20:60].all() and edges[20:60, 20].all() and edges[36:44, 40].any() and not edges[50, 30:50].any()
    assert set(np.unique(edges)) == {0, 255}


def test_on_white() -> None:
    picture = on_white(_cutout(), 100)
    box = np.argwhere((picture != 255).any(2))
    assert picture.shape == (100, 100, 3) and (picture[0] == 255).all() and picture[50, 50].tolist() == [180, 40, 20]
    assert np.ptp(box[:, 0]) + 1 == pytest.approx(92, abs=2) and box.mean(0) == pytest.approx((49.5, 49.5), abs=1)
