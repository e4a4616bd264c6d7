"""Detectors on made cases, both ways: the fault is there and found, it is absent and nothing is found."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from caig.imaging.compositing import flatten, separate
from caig.imaging.fidelity import measure
from caig.imaging.palette import palette_of, recolour
from caig.imaging.promises import LEAST, MOST, badness, broken, excess, worth_repainting
from caig.imaging.silhouette import box, extension
from caig.imaging.standing import LUMA, contact, surface_end
from caig.imaging.surface import matched, sharpness
from caig.types import Canvas, Fidelity, Palette

SIDE = 256
GOOD = Fidelity(
    core_exact=True, core_coverage=0.95, halo=0.0, extension=0.0, box=0.0, contact=0.2, sharpness=1.0, grain=1.0
)


def room(horizon: int = 110) -> np.ndarray:
    """A bluish wall above a sand-coloured floor, both with gentle light and grain."""
    picture = np.full((SIDE, SIDE, 3), (120, 140, 165), np.float32)
    picture[horizon:] = (196, 178, 150)
    picture *= 1 + 0.06 * np.cos(np.linspace(0, 3, SIDE))[None, :, None]
    picture += np.random.default_rng(0).normal(0, 2, (SIDE, SIDE, 1))
    return cv2.GaussianBlur(picture, (0, 0), 1.2).clip(0, 255).astype(np.uint8)


def product(left: int = 96, top: int = 70, right: int = 160, bottom: int = 198) -> np.ndarray:
    alpha = np.zeros((SIDE, SIDE), np.float32)
    alpha[top:bottom, left:right] = 1
    return alpha


def put(ground: np.ndarray, alpha: np.ndarray, colour: tuple[int, int, int] = (170, 40, 40)) -> np.ndarray:
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.8)[..., None]
    return (ground * (1 - soft) + np.float32(colour) * soft).round().astype(np.uint8)


def shadowed(ground: np.ndarray, row: int = 198, strength: float = 0.5) -> np.ndarray:
    dark = cv2.ellipse(np.zeros((SIDE, SIDE), np.float32), (128, row), (44, 9), 0, 0, 360, 1, -1)
    return (ground * (1 - strength * cv2.GaussianBlur(dark, (0, 0), 4)[..., None])).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("taller", (96, 54, 160, 198)),
        ("wider", (84, 70, 172, 198)),
        ("to one side", (96, 70, 174, 198)),
        ("longer below", (96, 70, 160, 214)),
        ("a neck", (116, 50, 140, 198)),
        ("half as tall again", (96, 10, 160, 198)),
    ],
)
def test_a_continued_silhouette_is_found(name: str, more: tuple[int, int, int, int]) -> None:
    ad = put(put(room(), product(*more)), product())
    found = extension(ad, product())
    print(f"{name}: required above {MOST['extension']}, measured {found:.3f}")
    assert found > MOST["extension"]


@pytest.mark.parametrize("colour", [(170, 40, 40), (30, 30, 34), (240, 238, 235), (118, 139, 160)])
def test_a_clean_outline_is_no_continuation(colour: tuple[int, int, int]) -> None:
    """Red, black with a shadow that is as dark, white, and the colour of the wall behind."""
    ad = put(shadowed(room()), product(), colour)
    assert extension(ad, product()) <= MOST["extension"]


def test_a_thing_of_the_same_colour_further_away_is_no_continuation() -> None:
    beside = put(room(), product(186, 150, 230, 198))
    assert extension(put(beside, product()), product()) <= MOST["extension"]


@pytest.mark.parametrize("margin", [6, 12, 20])
@pytest.mark.parametrize("colour", [(250, 250, 250), (215, 215, 212)])
def test_a_box_of_the_old_ground_is_found(margin: int, colour: tuple[int, int, int]) -> None:
    boxed = put(room(), product(96 - margin, 70 - margin, 160 + margin, 198), colour)
    found = box(put(boxed, product()), product())
    print(f"required above {MOST['box']}, measured {found:.2f}")
    assert found > MOST["box"]


@pytest.mark.parametrize("horizon", [60, 110, 150])
def test_a_horizon_is_no_box(horizon: int) -> None:
    assert box(put(shadowed(room(horizon)), product()), product()) <= MOST["box"]


def test_contact_by_hand() -> None:
    """Ground of 0.6 that is 0.45 where it touches the base: a quarter darker."""
    light = np.full((SIDE, SIDE), 0.6, np.float32)
    light[196:203, 88:168] = 0.45
    assert contact(light, product()) == pytest.approx(0.25, abs=0.01)
    assert contact(np.full((SIDE, SIDE), 0.6, np.float32), product()) == pytest.approx(0, abs=0.01)


def test_a_lifted_product_has_no_contact_and_a_standing_one_has() -> None:
    standing = put(shadowed(room()), product())
    lifted = put(shadowed(room()), product(top=30, bottom=158))
    assert contact(standing @ LUMA / 255, product()) > LEAST["contact"]
    assert contact(lifted @ LUMA / 255, product(top=30, bottom=158)) < LEAST["contact"]


def test_where_the_surface_ends() -> None:
    """Base at 198, height 128: a horizon at 110 lies 0.69 above it, one at 230 lies 0.25 below."""
    assert surface_end(put(room(110), product()), product()) == pytest.approx(-0.69, abs=0.04)
    assert surface_end(put(room(230), product()), product()) == pytest.approx(0.25, abs=0.04)
    assert surface_end(put(np.full_like(room(), 150), product()), product()) is None


def test_a_blur_of_the_surface_shows_and_its_contrast_does_not() -> None:
    noise = np.random.default_rng(1).normal(0, 30, (SIDE, SIDE))
    texture = np.repeat(cv2.GaussianBlur(noise, (0, 0), 0.8)[..., None], 3, 2) + 128
    where = np.ones((SIDE, SIDE), bool)
    usual, soft = sharpness(texture, where), sharpness(cv2.GaussianBlur(texture, (0, 0), 2), where)
    faint = sharpness(128 + 0.4 * (texture - 128), where)
    assert soft < 0.5 * usual and faint == pytest.approx(usual, rel=0.2)


def test_surface_against_product() -> None:
    """The same texture on both sides matches; a blurred surface does not."""
    noise = np.random.default_rng(1).normal(0, 25, (SIDE, SIDE))
    texture = (np.repeat(cv2.GaussianBlur(noise, (0, 0), 0.8)[..., None], 3, 2) + 128).clip(0, 255)
    blurred = cv2.GaussianBlur(texture, (0, 0), 2.5)
    inside = product()[..., None] > 0
    even = matched(texture.astype(np.uint8), product())
    soft = matched(np.where(inside, texture, blurred).astype(np.uint8), product())
    assert even == pytest.approx((1, 1), abs=0.15)
    assert soft[0] < 0.6 and soft[1] < 0.6


def test_every_limit_is_felt_and_named() -> None:
    assert broken(GOOD) == () and badness(GOOD) == (0, 0.0)
    for name, limit in MOST.items():
        assert broken(replace(GOOD, **{name: 1.1 * limit})) and not broken(replace(GOOD, **{name: limit})), name
        assert worth_repainting(replace(GOOD, **{name: 1.1 * limit}))
    for name, limit in LEAST.items():
        assert broken(replace(GOOD, **{name: 0.9 * limit})) and not broken(replace(GOOD, **{name: limit})), name
    altered = replace(GOOD, core_exact=False)
    assert broken(altered) == ("product altered",) and not worth_repainting(altered), "no painting can mend it"
    both = replace(GOOD, extension=0.06, contact=0.04)
    assert broken(both) == ("product extended", "floating")
    assert excess(both) == pytest.approx({"extension": 1.0, "contact": 0.5})
    assert badness(both) > badness(replace(GOOD, extension=0.3)), "fewer broken promises come first"


@pytest.mark.parametrize("shadow", [False, True])
def test_an_ad_is_measured_as_a_whole(shadow: bool) -> None:
    """Where the painting shows no contact the shadow layer adds one; where it does, the layer stays empty."""
    alpha = cv2.GaussianBlur(product(), (0, 0), 0.8)
    image = np.full((SIDE, SIDE, 3), (170, 40, 40), np.uint8)
    canvas = Canvas(image=image, product=alpha, edges=np.zeros((SIDE, SIDE), np.uint8))
    layers = separate(canvas, shadowed(room()) if shadow else room())
    found = measure(canvas, flatten(layers))
    assert found.broken == () and found.contact > LEAST["contact"] and found.overhang < 0
    assert (layers.shadow.max() < 20) == shadow


def test_palette_there_and_back() -> None:
    """Asked for its own palette a background stays; asked for another it gets that mean, within the limits."""
    ground, where = room(), product() < 0.5
    own = palette_of(ground, where)
    assert np.abs(recolour(ground, own, where).astype(int) - ground).max() <= 1
    wanted = Palette(mean=(own.mean[0] - 10, 12.0, 20.0), spread=tuple(1.2 * s for s in own.spread))
    got = palette_of(recolour(ground, wanted, where), where)
    assert got.mean == pytest.approx(wanted.mean, abs=1.0) and got.spread == pytest.approx(wanted.spread, rel=0.1)
    far = replace(wanted, mean=(own.mean[0] - 60, 0.0, 0.0))
    assert palette_of(recolour(ground, far, where), where).mean[0] == pytest.approx(own.mean[0] - 25, abs=1.5)
