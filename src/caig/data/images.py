"""Find the picture of a creative, by the name that the log gives or by its id in a file's name; read many at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TypeVar

Item, Read = TypeVar("Item"), TypeVar("Read")
READERS = 8  # threads; decoding a picture leaves Python alone
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}


def find_image(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the file (for `archive.tar#member`: the archive) that `name` means in the first folder that has it."""
    file = name.partition("#")[0]
    return next((folder / file for folder in folders if file and os.path.isfile(folder / file)), None)


def read_in_threads(read: Callable[[Item], Read], items: Iterable[Item]) -> list[Read]:
    """`read` of each of `items`, in their order."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, items))


class Images:
    """The pictures in some folders, first hit first; prints as the folders."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = list(folders)

    def __str__(self) -> str:
        return " or ".join(map(str, self.folders))

    def name_of(self, creative_id: str, name: str) -> str | None:
        """The picture's name relative to its folder; None when there is none, or several carry the same id."""
        if find_image(name, self.folders) is not None:
            return name
        return self._by_part.get(name or creative_id)

    @cached_property
    def _by_part(self) -> dict[str, str | None]:
        """File by each run of whole words in its name ("ad 17-b_v2.png": ad, 17, 17-b, …); a whole name goes first.

        None where two files hold the same words.
        """
        whole: dict[str, str | None] = {}
        parts: dict[str, str | None] = {}
        for folder in self.folders:
            files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
            for file in files:
                own = str(file.relative_to(folder))
                whole.setdefault(file.stem, own)
                for part in set(_runs(file.stem)):
                    parts[part] = own if parts.get(part, own) == own else None
        return parts | whole


def _runs(stem: str) -> Iterator[str]:
    """Every stretch of `stem` that starts and ends at a word's edge."""
    words = [match.span() for match in re.finditer(r"[^\W_]+", stem)]
    for first, (start, _) in enumerate(words):
        for _, end in words[first:]:
            yield stem[start:end]
