"""Ads as files with layers (background, shadow, product) for picture editors: OpenRaster and Photoshop."""

from __future__ import annotations

import io
import zipfile
from typing import Literal

import numpy as np
from PIL import Image

from caig.errors import MissingExtraError
from caig.imaging.compositing import flatten
from caig.types import Layers

LayerFormat = Literal["ora", "psd"]
THUMBNAIL = 256  # pixels, the most that OpenRaster allows
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date of a zip: same layers, same bytes


def check_layer_format(kind: LayerFormat | None) -> None:
    """MissingExtraError when `kind` is psd and psd-tools is not installed."""
    if kind == "psd":
        try:
            import psd_tools  # noqa: F401
        except ImportError:
            raise MissingExtraError("psd-tools", "psd") from None


def encode_layers(layers: Layers, kind: LayerFormat) -> bytes:
    """Encode as ora (OpenRaster 0.0.6) or psd; flattened, both equal the ad within 1 level.

    Raises MissingExtraError for psd without psd-tools.
    """
    check_layer_format(kind)
    return _psd(layers) if kind == "psd" else _ora(layers)


def pictures(layers: Layers) -> dict[str, Image.Image]:
    """Name to RGBA picture, from the lowest layer up."""
    black = np.zeros_like(layers.background)
    return {
        "background": Image.fromarray(layers.background).convert("RGBA"),
        "shadow": Image.fromarray(np.dstack([black, layers.shadow])),
        "product": Image.fromarray(layers.product),
    }


def _ora(layers: Layers) -> bytes:
    merged = Image.fromarray(flatten(layers))
    small = merged.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    named = {f"data/{name}.png": picture for name, picture in pictures(layers).items()}
    files = {name: _png(picture) for name, picture in named.items()}
    files |= {"mergedimage.png": _png(merged), "Thumbnails/thumbnail.png": _png(small)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # the type comes first and uncompressed, as the standard asks
        archive.writestr(zipfile.ZipInfo("mimetype", EPOCH), "image/openraster")
        archive.writestr(zipfile.ZipInfo("stack.xml", EPOCH), _stack(merged.width, merged.height, list(named)))
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data)
    return buffer.getvalue()


def _stack(width: int, height: int, files: list[str]) -> str:
    """The order of the layers, uppermost first."""
    rows = "".join(f'<layer name="{file[5:-4]}" src="{file}" x="0" y="0"/>' for file in reversed(files))
    head = "<?xml version='1.0' encoding='UTF-8'?>"
    return f'{head}<image version="0.0.6" w="{width}" h="{height}"><stack>{rows}</stack></image>'


def _psd(layers: Layers) -> bytes:
    from psd_tools import PSDImage

    height, width = layers.shadow.shape
    document = PSDImage.new("RGB", (width, height))
    for name, picture in pictures(layers).items():
        document.create_pixel_layer(picture, name=name)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
