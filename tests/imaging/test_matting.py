"""Cut-outs: the 20 real photos, renderings whose alpha is known, and photos that must be refused."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from caig.errors import CutoutError, InputError, MissingExtraError
from caig.imaging.matting import cut_out
from caig.imaging.reading import Photo, read_photo

REAL = Path(__file__).parents[2] / "examples" / "real_products"
PHOTOS = {row["id"]: REAL / row["image"] for row in csv.DictReader((REAL / "products.csv").open())}
RENDERED = sorted((Path(__file__).parent / "rendered").glob("*.webp"))
# product area over the photo's, from cut-outs that were looked at over three colours: a bite, a hole, a shadow or a
# reflection moves it
AREAS = {
    "alpro-blueberry-soyghurt": 0.385,
    "alpro-shelf-soy-milk": 0.372,
    "arla-ecological-medium-fat-milk": 0.351,
    "arla-lactose-medium-fat-milk": 0.349,
    "arla-natural-yoghurt": 0.546,
    "arla-sour-cream": 0.620,
    "aubergine": 0.244,
    "avocado": 0.478,
    "bravo-apple-juice": 0.321,
    "cabbage": 0.616,
    "garlic": 0.519,
    "god-morgon-orange-juice": 0.355,
    "god-morgon-orange-red-grapefruit-juice": 0.356,
    "leek": 0.079,
    "oatly-oat-milk": 0.354,
    "passion-fruit": 0.408,
    "plum": 0.324,
    "satsumas": 0.507,
    "tropicana-golden-grapefruit": 0.363,
    "yoggi-vanilla-yoghurt": 0.304,
}


def _disc(value: int = 60, ground: int = 255, side: int = 120, radius: int = 40) -> np.ndarray:
    image = np.full((side, side, 3), ground, np.uint8)
    return cv2.circle(image, (side // 2, side // 2), radius, (value, value // 2, value // 3), -1, cv2.LINE_AA)


@pytest.mark.parametrize("name", list(PHOTOS))
def test_real_photos_are_complete(name: str) -> None:
    cutout = cut_out(read_photo(PHOTOS[name]))
    area = float(cutout.alpha.sum()) / 198**2
    holes = _holes(cutout.alpha)
    soft = float(((cutout.alpha > 0) & (cutout.alpha < 1)).sum() / (cutout.alpha > 0.5).sum())
    print(f"{name}: area {area:.3f}, required {AREAS[name]:.3f} ± 2 %; holes {holes}; soft {soft:.3f}, required < 0.15")
    assert area == pytest.approx(AREAS[name], rel=0.02) and holes == 0 and cutout.source == "plain-ground"
    assert soft < (0.4 if name == "leek" else 0.15)


def _holes(alpha: np.ndarray) -> int:
    outside = np.pad((alpha > 0.5).astype(np.uint8), 1)
    cv2.floodFill(outside, None, (0, 0), 2, flags=8)
    return int((outside == 0).sum())


def test_reflection_and_shadow_are_left_out() -> None:
    bravo, oatly = (cut_out(read_photo(PHOTOS[name])) for name in ("bravo-apple-juice", "oatly-oat-milk"))
    assert bravo.alpha.shape[0] < 180  # of 198; the reflection takes the lowest 25 rows
    assert oatly.alpha.shape[1] < 90  # of 198; the shadow is 40 pixels wide, the carton 78


def _grounds(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    rows = np.mgrid[0 : shape[0], 0 : shape[1]][0][..., None] / shape[0]
    return {
        "white": np.full((*shape, 3), 255.0),
        "grey": np.full((*shape, 3), 205.0),
        "gradient": np.array([239.0, 235.0, 231.0]) - 30 * rows,
    }


@pytest.mark.parametrize("ground", ["white", "grey", "gradient"])
def test_known_alpha(ground: str) -> None:
    """Renderings flattened onto plain grounds: mean IoU >= 0.975, each >= 0.94, mean alpha error <= 0.006."""
    overlaps, errors = [], []
    for path in RENDERED:
        photo = read_photo(path)
        assert photo.alpha is not None
        image = _flattened(photo, _grounds(photo.alpha.shape)[ground])
        found = _uncropped(image)
        overlaps.append(((found > 0.5) & (photo.alpha > 0.5)).sum() / ((found > 0.5) | (photo.alpha > 0.5)).sum())
        errors.append(np.abs(found - photo.alpha).mean())
    print(f"{ground}: IoU mean {np.mean(overlaps):.4f} min {min(overlaps):.4f}, alpha error {np.mean(errors):.4f}")
    assert np.mean(overlaps) >= 0.975 and min(overlaps) >= 0.94 and np.mean(errors) <= 0.006


def _flattened(photo: Photo, ground: np.ndarray) -> np.ndarray:
    assert photo.alpha is not None
    share = photo.alpha[..., None]
    return (photo.image * share + ground * (1 - share) + 0.5).astype(np.uint8)


def _uncropped(image: np.ndarray) -> np.ndarray:
    """The cut-out's alpha in the photo's frame: the crop is found again by its colours' place."""
    from caig.imaging import matting

    return matting._from_ground(image, "photo").alpha


def test_edges_keep_no_old_ground() -> None:
    """A disc of (60, 30, 20) on white: wherever it is visible, its colour is its own within 8 levels."""
    cutout = cut_out(Photo(image=_disc()))
    seen = cutout.alpha > 0.1
    assert np.abs(cutout.image[seen].astype(int) - (60, 30, 20)).max() <= 8
    assert cutout.alpha.sum() == pytest.approx(np.pi * 40.5**2, rel=0.02)


def _carton_with_shadow(face: tuple[int, int, int]) -> np.ndarray:
    """A carton: left half white paper of 246 on 255, right half `face`; a soft shadow of 60 levels to its right."""
    image = np.full((200, 200, 3), 255.0)
    x, y = np.meshgrid(np.arange(200), np.arange(200))
    image -= (60 * np.exp(-(((x - 150) / 32) ** 2) - ((y - 160) / 22) ** 2))[..., None]
    image[40:170, 50:90] = 246
    image[40:170, 90:130] = face
    return (image + 0.5).astype(np.uint8)


def test_faint_paper_is_kept_and_shadow_is_not() -> None:
    cutout = cut_out(Photo(image=_carton_with_shadow((40, 70, 160))))
    print(f"area {cutout.alpha.sum():.0f}, required 10400 ± 3 %")
    assert cutout.alpha.sum() == pytest.approx(130 * 80, rel=0.03)


def test_handles_are_open_and_prints_are_not() -> None:
    ring = cv2.circle(_disc(radius=45), (60, 60), 22, (255, 255, 255), -1, cv2.LINE_AA)
    assert _holes(cut_out(Photo(image=ring)).alpha) > 1200  # pi * 22² = 1520, less the soft rim
    print_ = cv2.circle(_disc(radius=45), (60, 60), 22, (244, 244, 240), -1, cv2.LINE_AA)
    assert _holes(cut_out(Photo(image=print_)).alpha) == 0


def test_several_parts_are_one_product_and_specks_are_none() -> None:
    image = np.full((150, 150, 3), 255, np.uint8)
    for centre in ((50, 75), (105, 75)):
        cv2.circle(image, centre, 22, (150, 40, 40), -1)
    image[10:13, 140:143] = 90
    cutout = cut_out(Photo(image=image))
    assert cutout.alpha.shape[1] < 112 and cutout.alpha.sum() == pytest.approx(2 * np.pi * 22.5**2, rel=0.05)


def test_order_mask_alpha_ground() -> None:
    image = _disc()
    alpha = np.zeros((120, 120), np.float32)
    alpha[30:90, 30:90] = 1
    mask = np.zeros((120, 120), np.float32)
    mask[40:80, 40:80] = 1
    assert cut_out(Photo(image=image, alpha=alpha), mask).source == "mask"
    assert cut_out(Photo(image=image, alpha=alpha)).source == "alpha"
    assert cut_out(Photo(image=image, alpha=alpha), method="plain-ground").source == "plain-ground"
    assert cut_out(Photo(image=image)).source == "plain-ground"
    assert cut_out(Photo(image=image, alpha=alpha), mask).alpha.sum() == pytest.approx(1600, rel=0.02)


def test_a_foreign_halo_in_the_alpha_edge_is_replaced() -> None:
    """An RGBA cut-out whose half-transparent rim is white: the rim takes the inside colour."""
    image = np.full((60, 60, 3), 255, np.uint8)
    image[20:40, 20:40] = (20, 60, 20)
    alpha = np.zeros((60, 60), np.float32)
    alpha[19:41, 19:41] = 0.5
    alpha[20:40, 20:40] = 1
    cutout = cut_out(Photo(image=image, alpha=alpha))
    assert np.abs(cutout.image[cutout.alpha == 0.5].astype(int) - (20, 60, 20)).max() <= 2


def _busy() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (90, 90, 3), np.uint8)


REFUSED = {
    "busy": (_busy(), "plain ground"),
    "empty": (np.full((90, 90, 3), 255, np.uint8), "0.5% to 98%"),
    "speck": (_disc(radius=2), "0.5% to 98%"),
    "cropped": (np.where(np.mgrid[0:90, 0:90][0][..., None] < 40, 255, 40).astype(np.uint8).repeat(3, 2), "border"),
    "same as ground": (
        np.pad(np.full((60, 60, 3), 253, np.uint8), ((20, 20), (20, 20), (0, 0)), constant_values=255)
        - np.pad(np.full((10, 60, 1), 90, np.uint8), ((70, 20), (20, 20), (0, 0))),
        "stands out",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_refusals_say_how_to_give_a_mask(name: str) -> None:
    image, said = REFUSED[name]
    with pytest.raises(CutoutError) as error:
        cut_out(Photo(image=image), name="p1.jpg")
    assert said in str(error.value) and "p1.jpg" in str(error.value) and "--mask FILE" in str(error.value)


def test_wrong_masks_and_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CutoutError, match="120x120"):
        cut_out(Photo(image=_disc()), np.ones((60, 60), np.float32))
    with pytest.raises(CutoutError, match="got one on 0.00%"):
        cut_out(Photo(image=_disc(), alpha=np.zeros((120, 120), np.float32)))
    with pytest.raises(InputError, match="one of auto, plain-ground, rembg"):
        cut_out(Photo(image=_disc()), method="magic")
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(MissingExtraError, match=r'pip install "caig\[rembg\]"'):
        cut_out(Photo(image=_disc()), method="rembg")


def test_rembg_stands_behind_the_same_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rembg:
        @staticmethod
        def remove(image: np.ndarray, only_mask: bool) -> np.ndarray:
            return (image[..., 0] < 128).astype(np.uint8) * 255

    monkeypatch.setitem(sys.modules, "rembg", Rembg)
    cutout = cut_out(Photo(image=_disc()), method="rembg")
    assert cutout.source == "rembg" and cutout.alpha.sum() == pytest.approx(np.pi * 40.5**2, rel=0.03)


def test_huge_photos_are_averaged_down() -> None:
    image = np.full((1000, 5000, 3), 255, np.uint8)
    image[300:700, 1000:4000] = 40
    assert cut_out(Photo(image=image)).alpha.shape[1] == pytest.approx(3000 * 2560 / 5000, abs=12)
