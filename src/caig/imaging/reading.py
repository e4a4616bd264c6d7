"""From a file to sRGB pixels: orientation, colour profile and bit depth are settled here, once.

Bit-exactness is defined on what `read_photo` returns.
"""

from __future__ import annotations

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from caig.errors import ImageError
from caig.types import Alpha, Pixels, Size

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "MPO")
MIN_SIDE = 16
MAX_SIDE = 30_000
OPAQUE = 254  # an alpha that never falls below this is no alpha
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError, MemoryError)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """A product photo in sRGB: `image` u8[H, W, 3], `alpha` f32[H, W] or None, `notes` what had to be converted."""

    image: Pixels
    alpha: Alpha | None = None
    notes: tuple[str, ...] = ()


def read_photo(path: Path | str, max_pixels: int = 50_000_000) -> Photo:
    """Read a PNG, JPEG, WebP, TIFF, BMP, GIF (first frame) or AVIF file as sRGB.

    The header's size is checked against `max_pixels` before anything is decoded. Raises ImageError.
    """
    picture, notes = _to_srgb(_upright(_decode(Path(path), max_pixels)))
    pixels = np.asarray(picture)
    if picture.mode == "RGB" or pixels[..., 3].min() >= OPAQUE:
        return Photo(image=np.ascontiguousarray(pixels[..., :3]), notes=notes)
    alpha = pixels[..., 3].astype(np.float32) / np.float32(255)
    return Photo(image=np.ascontiguousarray(pixels[..., :3]), alpha=alpha, notes=notes)


def read_mask(path: Path | str, size: Size, max_pixels: int = 50_000_000) -> Alpha:
    """Read a mask as f32[H, W], 1 = product: its alpha when it has one, else its grey values.

    `size` is (width, height) of the photo it belongs to. Raises ImageError when it differs or the mask is empty.
    """
    photo = read_photo(path, max_pixels)
    values = photo.alpha if photo.alpha is not None else photo.image.astype(np.float32) @ _GREY / 255
    if values.shape[::-1] != tuple(size):
        got = f"{values.shape[1]}x{values.shape[0]}"
        raise ImageError(
            str(path),
            expected=f"a mask of the photo's size {size[0]}x{size[1]}",
            got=got,
            next_step="Make the mask from the photo itself, white on the product and black elsewhere.",
        )
    if values.max() < 0.5 or values.min() > 0.5:
        got = "an all-black mask" if values.max() < 0.5 else "an all-white mask"
        raise ImageError(
            str(path),
            expected="a mask that is white on the product and black elsewhere",
            got=got,
            next_step="Paint the product white and everything else black.",
        )
    return np.clip(values, 0, 1).astype(np.float32)


_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def _fail(path: Path, expected: str, got: str, next_step: str) -> ImageError:
    return ImageError(str(path), expected=expected, got=got, next_step=next_step)


def _decode(path: Path, max_pixels: int) -> Image.Image:
    """Open, check the header, then decode; every failure is an ImageError of one line."""
    _check_file(path)
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # our own limit below is the stricter one
        try:
            picture = Image.open(file, formats=_formats())
        except Image.DecompressionBombError:
            raise _too_large(path, "far more pixels", max_pixels) from None
        except BROKEN:
            raise _fail(
                path,
                "a PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF image",
                "a file that is none of these",
                "Save the photo as PNG or JPEG.",
            ) from None
        _check_size(path, picture.size, max_pixels)
        return _load(path, picture)


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # AVIF only where this pillow has it


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise _fail(path, "an image file", "a folder", "Name the image itself, or use --catalog for many products.")
    if not path.is_file():
        raise _fail(path, "an image file", "no such file", "Check the path; in a catalogue it is relative to the file.")
    if path.stat().st_size == 0:
        raise _fail(path, "an image file", "an empty file", "Export or copy the photo again.")


def _check_size(path: Path, size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > MAX_SIDE:
        raise _too_large(path, f"{width}x{height}", max_pixels)
    if min(size) < MIN_SIDE:
        raise _fail(path, f"at least {MIN_SIDE} pixels a side", f"{width}x{height}", "Use a larger photo.")


def _too_large(path: Path, got: str, max_pixels: int) -> ImageError:
    limit = f"at most {max_pixels / 1e6:g} million pixels and {MAX_SIDE} a side"
    return _fail(path, limit, got, "Scale the photo down first.")


def _load(path: Path, picture: Image.Image) -> Image.Image:
    try:
        picture.seek(0)
        picture.load()
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _fail(
            path, "a complete image", f"a truncated or damaged one ({reason})", "Export or copy the photo again."
        ) from None
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except BROKEN:  # damaged EXIF: pixels are as stored, as browsers show them
        return picture


def _to_srgb(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an RGB or RGBA picture in sRGB and notes on what was converted."""
    notes = [] if picture.mode in ("RGB", "RGBA") else [f"{picture.mode} converted to sRGB"]
    profile = picture.info.get("icc_profile")
    picture = _eight_bit(picture)
    alpha = _alpha_of(picture)
    colour, note = _apply_profile(picture, profile)
    if alpha is not None:
        colour.putalpha(alpha)
    return colour, (*notes, *([note] if note else []))


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Bring I;16, I and F pictures to 8-bit grey; the white point is the depth's, never the picture's maximum."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture).astype(np.float64)
    if picture.mode == "F":
        white = 1.0 if values.max() <= 1.0 else 255.0
    else:
        white = 65535.0
    return Image.fromarray(np.clip(values / white * 255 + 0.5, 0, 255).astype(np.uint8), "L")


def _alpha_of(picture: Image.Image) -> Image.Image | None:
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        return picture.convert("RGBA").getchannel("A")
    return None


def _apply_profile(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """Convert to RGB through the embedded profile; an unreadable profile counts as none and is noted."""
    if picture.mode == "LAB":
        return _transform(picture, ImageCms.createProfile("LAB")), "LAB converted to sRGB"
    if not profile:
        return _plain_rgb(picture), ""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space.strip()  # pyright: ignore[reportAttributeAccessIssue]
        if "sRGB" in ImageCms.getProfileDescription(source):
            return _plain_rgb(picture), ""
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
        if mode == "CMYK" and picture.mode != "CMYK":
            return _plain_rgb(picture), "CMYK profile on an RGB picture ignored"
        return _transform(picture if picture.mode == mode else _plain_rgb(picture).convert(mode), source), "ICC to sRGB"
    except (ImageCms.PyCMSError, KeyError, OSError):
        return _plain_rgb(picture), "unreadable colour profile: taken as sRGB"


def _transform(picture: Image.Image, source: object) -> Image.Image:
    target = ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")  # pyright: ignore


def _plain_rgb(picture: Image.Image) -> Image.Image:
    """Drop alpha without blending it in: the colours below are the photo's."""
    return picture.convert("RGBA").convert("RGB") if picture.mode in ("P", "PA") else picture.convert("RGB")
