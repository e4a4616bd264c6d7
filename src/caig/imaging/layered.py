"""Ads as files with layers (background, shadow, product) for picture editors: OpenRaster and Photoshop."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np
from PIL import Image

from caig.errors import MissingExtraError
from caig.imaging.compositing import flatten
from caig.types import LayerFormat, Layers, Size

THUMBNAIL = 256  # pixels, the most that OpenRaster allows
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest date of a zip: same layers, same bytes


def check_layer_format(kind: LayerFormat) -> None:
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
    stacked = pictures(layers)
    files = {f"data/{name}.png": picture for name, picture in stacked.items()}
    files |= {"mergedimage.png": merged, "Thumbnails/thumbnail.png": small}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:  # the type comes first and uncompressed, as the standard asks
        archive.writestr(zipfile.ZipInfo("mimetype", EPOCH), "image/openraster")
        archive.writestr(zipfile.ZipInfo("stack.xml", EPOCH), _stack(merged.size, list(stacked)))
        for name, picture in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), _png(picture))
    return buffer.getvalue()


def _stack(size: Size, names: Sequence[str]) -> str:
    """The order of the layers, uppermost first, of `names` from the lowest up."""
    rows = "".join(f'<layer name="{name}" src="data/{name}.png" x="0" y="0"/>' for name in reversed(names))
    head = "<?xml version='1.0' encoding='UTF-8'?>"
    return f'{head}<image version="0.0.6" w="{size[0]}" h="{size[1]}"><stack>{rows}</stack></image>'


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
