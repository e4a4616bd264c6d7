"""Files that are either whole or absent: content hashes, atomic writes, JSON lines, folders published at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HASH_DIGITS = 20  # 80 bits: a collision is unlikely below 10^11 artefacts


def content_hash(content: bytes | NDArray[Any]) -> str:
    """Return 20 hex digits of the SHA-256 of `content`; for an array its dtype and shape count too."""
    digest = hashlib.sha256()
    if isinstance(content, bytes):
        digest.update(content)
    else:
        digest.update(f"{content.dtype.str}{content.shape}".encode())
        digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()[:HASH_DIGITS]


def record_hash(record: Any) -> str:
    """Return the content hash of anything `to_json` can write; the order of mapping keys does not count."""
    return content_hash(json.dumps(record, sort_keys=True, default=_plain).encode())


def to_json(record: Any, *, indent: int | None = None) -> str:
    """Write `record` as JSON; dataclasses become objects, paths and dates become text, NumPy numbers plain ones."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=indent, default=_plain)


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`: readers see the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:60]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives 0600: other users could not open the result
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block ends without an error, replacing an older one.

    After an error nothing is left of it. A crash between the two renames leaves no `target`, never half of one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name[:60]}.", suffix=".tmp", dir=target.parent))
    try:
        yield work
        os.chmod(work, 0o777 & ~_umask())
        if target.exists():
            discarded = work.with_suffix(".old")
            target.rename(discarded)
            work.rename(target)
            shutil.rmtree(discarded)
        else:
            work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def write_json_lines(path: Path, records: Iterable[Any]) -> None:
    """Write one JSON object a line, atomically."""
    write_atomic(path, "".join(f"{to_json(record)}\n" for record in records).encode())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read what `write_json_lines` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is not JSON.
    """
    lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() would also cut at U+2028 inside a text
    return [json.loads(line) for line in lines if line.strip()]


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
