"""Files with provenance: same pixels, same bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caig.errors import InputError
from caig.imaging.reading import read_photo
from caig.imaging.writing import FORMATS, SOURCE_TYPES, encode, read_source_type, save

PICTURE = np.random.default_rng(5).integers(0, 255, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("source_type", SOURCE_TYPES)
def test_source_type_is_read_back(format: str, source_type: str) -> None:
    data = encode(PICTURE, format, source_type=source_type)
    assert read_source_type(data) == source_type and data == encode(PICTURE, format, source_type=source_type)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == format.upper() and picture.size == (60, 40)
        assert "srgb" in picture.info or "icc_profile" in picture.info


def test_png_is_lossless_and_jpg_means_jpeg(tmp_path: Path) -> None:
    save(tmp_path / "deep" / "a.png", PICTURE)
    assert np.array_equal(read_photo(tmp_path / "deep" / "a.png").image, PICTURE)
    assert save(tmp_path / "a.jpg", PICTURE)[:2] == b"\xff\xd8"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.jpg", "a.png"]


def test_unknown_choices() -> None:
    with pytest.raises(InputError, match="format: expected one of png, webp, jpeg, got 'bmp'"):
        encode(PICTURE, "bmp")
    with pytest.raises(InputError, match="source type: expected one of"):
        encode(PICTURE, source_type="handmade")


def test_foreign_files_have_no_source_type() -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, "PNG")
    assert read_source_type(buffer.getvalue()) is None
