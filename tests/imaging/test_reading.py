"""Files to sRGB pixels, and every way a file can be wrong."""

from __future__ import annotations

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from caig.errors import ImageError
from caig.imaging.reading import read_mask, read_photo


def _grid() -> np.ndarray:
    """Four flat 20x10 quarters: red, green, blue, grey."""
    image = np.zeros((20, 40, 3), np.uint8)
    image[:10, :20], image[:10, 20:], image[10:, :20], image[10:, 20:] = (200, 0, 0), (0, 200, 0), (0, 0, 200), 99
    return image


def _png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "a.gif"])
def test_formats_keep_pixels(tmp_path: Path, name: str) -> None:
    Image.fromarray(_grid()).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    photo = read_photo(tmp_path / name)
    assert np.array_equal(photo.image, _grid()) and photo.alpha is None


def test_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: turn clockwise
    Image.fromarray(_grid()).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(photo.image, np.rot90(_grid(), -1))


def test_alpha_counts_unless_opaque(tmp_path: Path) -> None:
    pixels = np.dstack([_grid(), np.full((20, 40), 255, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    assert read_photo(tmp_path / "opaque.png").alpha is None
    pixels[3, 4, 3] = 51
    Image.fromarray(pixels).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.alpha is not None and photo.alpha[3, 4] == pytest.approx(0.2) and photo.alpha.mean() > 0.99
    assert np.array_equal(photo.image, _grid())  # colours are never blended with anything


def test_palette_grey_and_transparency(tmp_path: Path) -> None:
    Image.fromarray(_grid()).quantize(8).save(tmp_path / "p.png", transparency=0)
    assert read_photo(tmp_path / "p.png").alpha is not None
    Image.fromarray(np.dstack([_grid()[..., 0], 255 - _grid()[..., 0]]), "LA").save(tmp_path / "la.png")
    photo = read_photo(tmp_path / "la.png")
    assert photo.image[0, 0].tolist() == [200, 200, 200]
    assert photo.alpha is not None and photo.alpha[0, 0] == pytest.approx(55 / 255)


def test_sixteen_bit_grey_keeps_its_white_point(tmp_path: Path) -> None:
    values = np.linspace(0, 32768, 400).reshape(20, 20).astype(np.uint16)  # half of the range: stays half
    Image.fromarray(values).save(tmp_path / "a.png")
    image = read_photo(tmp_path / "a.png").image
    assert image.max() == 128 and image.min() == 0 and (image[..., 0] == image[..., 2]).all()


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 32), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    red, green, blue = photo.image[16, 16]
    assert red > 200 and green < 60 and blue < 60 and "CMYK" in photo.notes[0]


def test_icc_profile_is_applied(tmp_path: Path) -> None:
    """A grey 128 in a linear (gamma 1) profile is sRGB 188: 255 * (1.055 * (128 / 255) ** (1 / 2.4) - 0.055)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    linear = _with_linear_curves(bytes(profile))
    Image.new("RGB", (32, 32), (128, 128, 128)).save(tmp_path / "a.png", icc_profile=linear)
    photo = read_photo(tmp_path / "a.png")
    assert np.abs(photo.image.astype(int) - 188).max() <= 1 and "ICC to sRGB" in photo.notes


def test_broken_profile_is_noted(tmp_path: Path) -> None:
    Image.fromarray(_grid()).save(tmp_path / "a.png", icc_profile=b"no profile at all" * 20)
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(photo.image, _grid()) and "unreadable colour profile" in photo.notes[0]


def _with_linear_curves(profile: bytes) -> bytes:
    """Replace the tone curves of an RGB profile by gamma 1.0 and its name, tag by tag."""
    data = bytearray(profile)
    for k in range(struct.unpack(">I", data[128:132])[0]):
        tag, offset, size = struct.unpack(">4sII", data[132 + 12 * k : 144 + 12 * k])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            assert data[offset : offset + 4] == b"para"
            data[offset + 8 : offset + 12] = struct.pack(">HH", 0, 0)  # function 0: y = x ** g
            data[offset + 12 : offset + 16] = struct.pack(">i", 1 << 16)
        if tag == b"desc":
            data[offset + 8 : offset + size] = data[offset + 8 : offset + size].replace(
                "sRGB".encode("utf-16-be"), "line".encode("utf-16-be")
            )
    return bytes(data)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


BAD = {
    "missing.png": (None, "no such file"),
    "empty.png": (b"", "an empty file"),
    "text.jpg": (b"not a picture, just words " * 9, "a file that is none of these"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a file that is none of these"),
    "half.jpg": (_jpeg()[: len(_jpeg()) // 2], "a truncated or damaged one"),
    "stub.png": (_png_header(64, 64), "a truncated or damaged one"),
    "bomb.png": (_png_header(60_000, 60_000), "more pixels"),
    "large.png": (_png_header(9_000, 9_000), "9000x9000"),
    "long.png": (_png_header(40_000, 100), "40000x100"),
    "tiny.png": (_png_header(4, 4), "at least 16 pixels a side"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_files_are_one_line_errors(tmp_path: Path, name: str) -> None:
    data, said = BAD[name]
    path = tmp_path / name if data is None else _written(tmp_path / name, data)
    began = time.monotonic()
    with pytest.raises(ImageError) as error:
        read_photo(path)
    assert said in str(error.value) and name in str(error.value) and "\n" not in str(error.value)
    assert error.value.next_step and time.monotonic() - began < 2


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="got a folder"):
        read_photo(tmp_path)


def test_max_pixels_is_a_limit(tmp_path: Path) -> None:
    Image.fromarray(_grid()).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png", max_pixels=800).image.shape == (20, 40, 3)
    with pytest.raises(ImageError, match="40x20"):
        read_photo(tmp_path / "a.png", max_pixels=799)


def test_masks(tmp_path: Path) -> None:
    grey = np.zeros((20, 40), np.uint8)
    grey[5:15, 10:30] = 255
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([_grid(), grey])).save(tmp_path / "alpha.png")
    for name in ("grey.png", "alpha.png"):
        mask = read_mask(tmp_path / name, (40, 20))
        assert mask.shape == (20, 40) and mask.sum() == 200
    with pytest.raises(ImageError, match="41x20, got 40x20"):
        read_mask(tmp_path / "grey.png", (41, 20))
    for value, said in ((0, "an all-black mask"), (255, "an all-white mask")):
        Image.fromarray(np.full((20, 40), value, np.uint8)).save(tmp_path / "flat.png")
        with pytest.raises(ImageError, match=said):
            read_mask(tmp_path / "flat.png", (40, 20))
