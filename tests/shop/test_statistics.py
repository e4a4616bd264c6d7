"""Every statistic against a picture whose value follows by hand, and at which size pictures are judged."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from caig.data.scenes import read_scenes
from caig.errors import InputError
from caig.shop import statistics
from caig.shop.statistics import FARTHEST, HUE_DISTANCES, NAMES, STATISTICS, View, ciede2000, look, view
from caig.types import Alpha, Pixels

DATA = Path(__file__).parents[1] / "data"
GREY, BLACK, WHITE, RED, BLUE = (128, 128, 128), (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


def square(side: int = 256) -> Alpha:
    """A product that fills the middle quarter."""
    mask = np.zeros((side, side), np.float32)
    mask[side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    return mask


def painted(product: tuple[int, int, int], ground: tuple[int, int, int], side: int = 256) -> Pixels:
    return np.where(square(side)[..., None] > 0, np.uint8(product), np.uint8(ground))


def seen(product: tuple[int, int, int], ground: tuple[int, int, int]) -> View:
    return view(painted(product, ground), square())


def test_colourfulness_of_half_red_half_blue() -> None:
    picture = painted(RED, RED)
    picture[:, :128] = BLUE
    # red - green is 255 or 0, (red + green) / 2 - blue is 127.5 or -255: deviations 127.5, 191.25; means 127.5, -63.75.
    expected = math.hypot(127.5, 191.25) + 0.3 * math.hypot(127.5, -63.75)
    assert statistics.colourfulness(view(picture, square())) == pytest.approx(expected, rel=1e-5)
    assert statistics.colourfulness(seen(BLACK, WHITE)) == pytest.approx(0, abs=1e-4)


def test_lightness_is_that_of_the_background() -> None:
    assert statistics.lightness(seen(BLACK, WHITE)) == pytest.approx(100, abs=0.01)
    assert statistics.lightness(seen(WHITE, BLACK)) == pytest.approx(0, abs=0.01)


def test_contrast_of_black_on_white_is_100() -> None:
    assert statistics.contrast(seen(BLACK, WHITE)) == pytest.approx(100, abs=0.1)
    assert statistics.contrast(seen(RED, RED)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # from the published test data of Sharma, Wu and Dalal 2005
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000(first: tuple[float, ...], second: tuple[float, ...], expected: float) -> None:
    found = [ciede2000(np.array(a), np.array(b)) for a, b in ((first, second), (second, first))]
    assert found == pytest.approx([expected] * 2, abs=1e-4)


def test_warmth_of_grey_orange_and_blue() -> None:
    assert statistics.warmth(seen(RED, GREY)) == pytest.approx(-0.5, abs=0.01)
    # Pure red is L* 53.2, a* 80.1, b* 67.2: C* 104.6, h 40.0.
    expected = -0.5 + 0.02 * 104.55**1.07 * math.cos(math.radians(40.0 - 50))
    assert statistics.warmth(seen(GREY, RED)) == pytest.approx(expected, abs=0.01)
    assert statistics.warmth(seen(GREY, BLUE)) < -0.5


def test_clutter_of_a_ramp_is_its_slope() -> None:
    flat, ramp = (np.zeros((256, 256, 3), np.float32) for _ in range(2))
    flat[..., 0], ramp[..., 0] = 50, np.arange(256) * 0.3  # L* rises by 0.3 a pixel
    plain = seen(GREY, GREY)
    for lab, slope in ((flat, 0), (ramp, 0.3)):
        shown = View(rgb=plain.rgb, lab=lab, product=plain.product, ring=plain.ring, background=plain.background)
        assert statistics.clutter(shown) == pytest.approx(math.log(0.05 + slope), abs=1e-4)


def test_depth_rises_as_the_background_blurs() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    blurred = np.where(square()[..., None] > 0, noise, cv2.GaussianBlur(noise, (0, 0), 3))
    assert statistics.depth(view(noise, square())) == pytest.approx(0, abs=0.05), "equally sharp"
    assert statistics.depth(view(blurred, square())) > 1


def test_harmony_counts_the_degrees_off_the_template() -> None:
    def of(*hues: int) -> float:
        picture = np.zeros((256, 256, 3), np.float32)
        for number, hue in enumerate(hues):
            picture[number :: len(hues)] = (hue, 1, 1)
        rgb = np.rint(255 * cv2.cvtColor(picture, cv2.COLOR_HSV2RGB)).astype(np.uint8)
        return statistics.harmony(view(rgb, square()))

    best = -math.log(0.5)
    assert of(30) == of(30, 90) == of(30, 210) == of(30, 90, 240) == pytest.approx(best), "i, V, I, Y"
    # Y's wide sector (93.6 degrees) between two of three hues 120 apart leaves 13.2 to each; its other holds the third.
    assert of(0, 120, 240) == pytest.approx(-math.log(0.5 + 2 * 13.2 / 3), abs=0.02)


def test_hue_distances_are_zero_inside_a_sector_and_grow_outside() -> None:
    narrow = HUE_DISTANCES[0]  # template i at rotation 0: 18 degrees wide around hue 0
    assert narrow[[0, 1, 71]].tolist() == [0, 0, 0]
    assert narrow[2] == pytest.approx(12.5 - 9)
    assert narrow.max() == pytest.approx(177.5 - 9)


def test_area_is_the_share_of_the_picture() -> None:
    assert statistics.area(seen(RED, BLUE)) == pytest.approx(math.log(0.25), abs=1e-3)


def test_glow_of_light_around_the_product_on_black() -> None:
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[40:216, 40:216] = 255
    assert statistics.glow(view(picture, square())) == pytest.approx(100, abs=0.1)
    assert statistics.glow(view(255 - picture, square())) == pytest.approx(-100, abs=0.1)


def test_a_picture_is_judged_at_256_whatever_its_size() -> None:
    scene = read_scenes(DATA)[1]
    image, mask = scene.image(), scene.cutout()[..., 3].astype(np.float32) / 255
    large = [cv2.resize(pixels, (1024, 1024), interpolation=cv2.INTER_CUBIC) for pixels in (image, mask)]
    assert view(*large).rgb.shape == (256, 256, 3)
    gap = np.abs(look(*large) - look(image, mask))
    print(f"largest difference: required 0.1 deviations, measured {gap.max():.3f} ({NAMES[int(gap.argmax())]})")
    assert gap.max() < 0.1


def test_looks_of_renders_are_spread_and_bounded() -> None:
    looks = np.array([look(s.image(), s.cutout()[..., 3].astype(np.float32) / 255) for s in read_scenes(DATA)])
    assert looks.shape == (14, len(STATISTICS)) and np.abs(looks).max() <= FARTHEST
    print(dict(zip(NAMES, looks.std(0).round(2).tolist(), strict=True)))
    assert (looks.std(0) > 0.4).all() and (np.abs(looks.mean(0)) < 1).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda image, mask: (image, mask[:100]), "mask of shape (100, 256)"),
        (lambda image, mask: (image, 0 * mask), "covers 0.0%"),
        (lambda image, mask: (image, 0 * mask + 1), "covers 100.0%"),
    ],
)
def test_a_mask_that_cannot_be_right(spoil: Callable[[Pixels, Alpha], tuple[Pixels, Alpha]], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        look(*spoil(painted(RED, BLUE), square()))


@pytest.mark.slow
def test_speed() -> None:
    """1,000 pictures in 20 s on two cores."""
    scenes = [(s.image(), s.cutout()[..., 3].astype(np.float32) / 255) for s in read_scenes(DATA)]
    threads, start = cv2.getNumThreads(), time.process_time()
    cv2.setNumThreads(1)
    for image, mask in scenes * 10:
        look(image, mask)
    cv2.setNumThreads(threads)
    each = (time.process_time() - start) / (10 * len(scenes))
    print(f"a picture on one core: required 40 ms, measured {1000 * each:.1f} ms")
    assert each <= 0.040
