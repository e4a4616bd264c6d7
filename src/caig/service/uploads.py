"""Uploaded pictures: checked, decoded within limits, and stored anew as PNG, so that nothing but pixels is kept.

What comes in must be one PNG, JPEG or WebP file from its first byte to its last: a file that is two things at once
(a picture with a page or an archive behind it) is refused. Names and metadata of the sender are never used.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from caig.artifacts import content_hash, write_atomic
from caig.errors import ImageError
from caig.imaging.reading import Photo, read_mask, read_photo
from caig.types import Pixels

T = TypeVar("T")


class Files:
    """The service's pictures: one flat folder of files that are named by their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "files"
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, content: bytes, suffix: str) -> str:
        """Store `content` and return its name."""
        name = f"{content_hash(content)}{suffix}"
        write_atomic(self.folder / name, content)
        return name

    def path(self, name: str) -> Path:
        """Where the file called `name` lies; names come from the database, never from a request."""
        path = self.folder / name
        if path.parent != self.folder or not path.is_file():
            raise FileNotFoundError(name)
        return path

    def take(self, photo: bytes, mask: bytes | None, max_pixels: int) -> tuple[str, str | None]:
        """Store an uploaded photo and its mask; their names. ImageError, and nothing stored, when one can't be used."""
        found = _read(photo, lambda path: read_photo(path, max_pixels))
        size = found.image.shape[1], found.image.shape[0]
        grey = None
        if mask is not None:
            alpha = _read(mask, lambda path: read_mask(path, size, max_pixels))
            grey = _encode(np.dstack([np.round(alpha * 255).astype(np.uint8)] * 3))
        return self.save(_png(found), ".png"), None if grey is None else self.save(grey, ".png")


def _read(content: bytes, read: Callable[[Path], T]) -> T:
    """`read` on a file that holds `content`, gone afterwards; errors name the upload, not the file."""
    check_whole(content)
    handle, name = tempfile.mkstemp(suffix=".upload")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        return read(Path(name))
    except ImageError as error:
        raise ImageError("upload", expected=error.expected, got=error.got, next_step=error.next_step) from None
    finally:
        os.unlink(name)


def check_whole(content: bytes) -> None:
    """ImageError unless `content` is one PNG, JPEG or WebP file and nothing else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        whole = content.endswith(b"\0\0\0\0IEND\xaeB`\x82") and content.count(b"IEND\xaeB`\x82") == 1
    elif content.startswith(b"\xff\xd8\xff"):
        whole = _jpeg_end(content) == len(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        whole = int.from_bytes(content[4:8], "little") + 8 == len(content)
    else:
        raise _refuse("a PNG, JPEG or WebP file", "something else")
    if not whole:
        raise _refuse("a picture that is whole and nothing else", "one that is cut or has something behind its end")


def _jpeg_end(content: bytes) -> int:
    """Where the first picture of a JPEG file ends: segments say their length, scans run on to the next marker; 0 where
    that leads nowhere."""
    at = 2
    while (at := content.find(b"\xff", at)) >= 0 and at + 4 <= len(content) + 2:
        marker = content[at + 1] if at + 1 < len(content) else 0xFF
        if marker == 0xD9:
            return at + 2
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD7:  # part of a scan
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return 0


def _refuse(expected: str, got: str) -> ImageError:
    return ImageError("upload", expected=expected, got=got, next_step="Save the picture again as PNG or JPEG.")


def _png(photo: Photo) -> bytes:
    if photo.alpha is None:
        return _encode(photo.image)
    return _encode(np.dstack([photo.image, np.round(photo.alpha * 255).astype(np.uint8)]))


def _encode(pixels: Pixels | NDArray[np.uint8]) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
