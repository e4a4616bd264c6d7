"""Formats, what scale means in a banner, and products that step out of the copy's way."""

from __future__ import annotations

import numpy as np
import pytest

from caig.errors import InputError
from caig.imaging.canvas import lay_out, parse_size, product_box
from caig.imaging.clearance import unrest
from caig.imaging.placing import (
    PRESETS,
    SIDES,
    out_of_the_way,
    parse_clear,
    pixels_of,
    product_size,
    usual_placement,
)
from caig.types import Box, Cutout, Placement


def _cutout(wide: int, high: int) -> Cutout:
    alpha = np.pad(np.ones((high, wide), np.float32), 3)
    return Cutout(image=np.full((*alpha.shape, 3), 90, np.uint8), alpha=alpha, source="alpha")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_size_and_takes_tall_and_flat_products(name: str) -> None:
    size = parse_size(name)
    assert size == PRESETS[name]
    for shape in ((40, 120), (120, 40), (80, 80)):
        left, top, right, bottom = product_box(lay_out(_cutout(*shape), size).product)
        assert left >= 0 and top >= 0 and right <= size[0] and bottom <= size[1]
        assert (right - left) / (bottom - top) == pytest.approx(shape[0] / shape[1], rel=0.1), "never stretched"


@pytest.mark.parametrize(
    ("shape", "size", "scale", "expected"),
    [
        ((40, 80), (256, 256), 0.5, 128 / 80),  # longer side 80 to half of 256
        ((40, 80), (1200, 628), 0.5, 314 / 80),  # 1.91:1 is no banner yet
        ((40, 80), (728, 90), 0.8, 72 / 80),  # leaderboard: its height to 0.8 of 90
        ((80, 40), (728, 90), 0.8, 72 / 40),  # a flat product too: 144 wide
        ((400, 10), (728, 90), 0.8, 364 / 400),  # but never more than half of the length
        ((40, 80), (160, 600), 0.6, 96 / 40),  # skyscraper: its width to 0.6 of 160, 192 high
        ((10, 80), (160, 600), 0.6, 300 / 80),  # half of the length again
    ],
)
def test_scale_by_hand(shape: tuple[int, int], size: tuple[int, int], scale: float, expected: float) -> None:
    assert product_size(shape, size, scale) == pytest.approx(expected)


def test_banners_have_placements_of_their_own() -> None:
    assert usual_placement((1080, 1080)) == usual_placement((1080, 1920)) == Placement()
    assert usual_placement((728, 90)).scale > 0.5 < usual_placement((160, 600)).scale


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("size", [(256, 256), (728, 90), (160, 600), (300, 250)])
def test_the_product_leaves_the_clear_space(side: str, size: tuple[int, int]) -> None:
    clear = parse_clear(side)
    canvas = lay_out(_cutout(40, 80), size, None, clear)
    left, top, right, bottom = pixels_of(clear, size)
    assert not (canvas.product[top:bottom, left:right] > 0.5).any()
    assert canvas.clear == clear


def test_it_moves_no_further_than_needed() -> None:
    """Product 64x128 on 256x256, base at 205: its left edge goes from 96 to 102 + 5 pixels of gap."""
    to = out_of_the_way((64, 128), (256, 256), Placement(), parse_clear("left"))
    assert (to.scale, to.y) == (0.5, 0.8) and to.x * 256 == pytest.approx(102 + 5.12 + 32)
    free = Box(x=0, y=0, w=0.2, h=0.2)
    assert out_of_the_way((64, 128), (256, 256), Placement(), free) == Placement()


def test_it_shrinks_before_it_gives_up() -> None:
    """A band of 0.58 of the height is left: a product of 0.7 becomes 0.55 or so."""
    to = out_of_the_way((40, 80), (256, 256), Placement(scale=0.7, y=0.8), Box(x=0, y=0, w=1, h=0.42))
    assert 0.42 <= to.scale < 0.58
    with pytest.raises(InputError, match="keep-clear: expected room for the product beside it, got none at scale 0.7"):
        out_of_the_way((40, 80), (256, 256), Placement(scale=0.7), Box(x=0, y=0, w=1, h=0.8))


def test_clear_spaces() -> None:
    assert parse_clear("0.1, 0.2,0.3,0.4") == Box(x=0.1, y=0.2, w=0.3, h=0.4)
    for text in ("middle", "0,0,1", "0,0,0,1", "0.5,0,0.6,1", "-0.1,0,1,1", "a,b,c,d", "nan,0,1,1"):
        with pytest.raises(InputError, match="keep-clear: expected top, bottom, left, right, or X,Y,W,H"):
            parse_clear(text)


def test_unrest_by_hand() -> None:
    """A gradient is calm; half black, half white deviates by 0.5 before, 0.25 after the plane is taken off."""
    across = np.linspace(0, 255, 64).round().astype(np.uint8)
    gradient = np.repeat(np.tile(across, (64, 1))[..., None], 3, 2)
    assert unrest(gradient, Box(x=0, y=0, w=1, h=1)) < 0.002
    split = np.where(gradient < 128, np.uint8(0), np.uint8(255))
    assert unrest(split, Box(x=0, y=0, w=1, h=1)) == pytest.approx(0.25, abs=0.01)
    assert unrest(split, Box(x=0, y=0, w=0.4, h=1)) == pytest.approx(0, abs=1e-4), "only the box counts"
