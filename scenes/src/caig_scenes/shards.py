"""Archives: each written in one go under its own name, or not at all, so that a killed run goes on where it was.

The same records give the same bytes: members carry no time, owner or mode of the machine.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]
Draw = Callable[[Record], Mapping[str, bytes]]


def write_shard(path: Path, records: Iterable[Record], draw: Draw) -> None:
    """Draw every record into the archive `path`: `<id>.<name>` per picture and `<id>.json`; nothing if it exists."""
    if path.exists():
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with tarfile.open(part, "w") as archive:
        for record in records:
            for name, data in draw(record).items():
                _add(archive, f"{record['id']}.{name}", data)
            _add(archive, f"{record['id']}.json", json.dumps(record).encode())
    os.replace(part, path)


def merge_shards(path: Path, parts: Iterable[Path]) -> None:
    """Join archives into one, in the given order."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with tarfile.open(part, "w") as whole:
        for source in parts:
            for name, data in read_members(source):
                _add(whole, name, data)
    os.replace(part, path)


def read_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's files."""
    with tarfile.open(path) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                yield member.name, file.read()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
