"""Files with layers: read back by other readers and flattened, they are the ad."""

from __future__ import annotations

import io
import sys
import zipfile
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage

from caig.errors import MissingExtraError
from caig.imaging.compositing import flatten, separate
from caig.imaging.layered import encode_layers
from caig.types import Canvas, LayerFormat, Layers


@pytest.fixture
def layers() -> Layers:
    rng = np.random.default_rng(0)
    alpha = np.zeros((48, 64), np.float32)
    alpha[10:40, 20:44] = 1
    canvas = Canvas(
        image=rng.integers(0, 256, (48, 64, 3), np.uint8),
        product=cv2.GaussianBlur(alpha, (0, 0), 1.5),
        edges=np.zeros((48, 64), np.uint8),
    )
    return separate(canvas, rng.integers(90, 256, (48, 64, 3), np.uint8))


def test_flatten_by_hand() -> None:
    """Black at 51 / 255 leaves 0.8 of 200; red at 102 / 255 over that is 0.4 x 255 + 0.6 x 160 and 0.6 x 160."""
    one = Layers(
        background=np.full((1, 1, 3), 200, np.uint8),
        shadow=np.full((1, 1), 51, np.uint8),
        product=np.array([[[255, 0, 0, 102]]], np.uint8),
    )
    assert flatten(one).tolist() == [[[198, 96, 96]]]


def test_openraster_layers_give_the_ad(layers: Layers) -> None:
    archive = zipfile.ZipFile(io.BytesIO(encode_layers(layers, "ora")))
    first = archive.infolist()[0]
    assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
    assert archive.read("mimetype") == b"image/openraster"
    names = [layer.get("src", "") for layer in ElementTree.fromstring(archive.read("stack.xml")).iter("layer")]
    assert names == ["data/product.png", "data/shadow.png", "data/background.png"]
    picture = Image.open(archive.open(names.pop()))
    for name in reversed(names):
        picture = Image.alpha_composite(picture, Image.open(archive.open(name)))
    _near(picture, flatten(layers))
    assert np.array_equal(np.asarray(Image.open(archive.open("mergedimage.png"))), flatten(layers))


def test_photoshop_layers_give_the_ad(layers: Layers) -> None:
    document = PSDImage.open(io.BytesIO(encode_layers(layers, "psd")))
    assert [layer.name for layer in document] == ["background", "shadow", "product"]
    _near(document.composite(force=True), flatten(layers))


def _near(picture: Image.Image | None, ad: np.ndarray) -> None:
    assert picture is not None
    gap = np.abs(np.asarray(picture.convert("RGB")).astype(int) - ad).max()
    print(f"required: at most 1 level; measured: {gap}")
    assert gap <= 1


@pytest.mark.parametrize("kind", ["ora", "psd"])
def test_same_layers_same_bytes(layers: Layers, kind: LayerFormat) -> None:
    assert encode_layers(layers, kind) == encode_layers(layers, kind)


def test_without_psd_tools_the_install_line_is_printed(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psd_tools", None)
    with pytest.raises(MissingExtraError, match=r'pip install "caig\[psd\]"'):
        encode_layers(layers, "psd")
