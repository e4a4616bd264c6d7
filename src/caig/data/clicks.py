"""Read a click log with one row per creative: `product_id, creative_id, image, impressions, clicks`.

CSV, TSV, JSON lines, JSON list or Parquet. A fault of the file as a whole raises CatalogError; a row that cannot be
used is listed in `ClickLog.rejected` with its reason. Such a log is confounded wherever position or time decided what
was shown; nothing here corrects that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caig.data.tables import Row, read_rows
from caig.errors import CatalogError
from caig.types import ClickCounts

COLUMNS = ("product_id", "creative_id", "image", "impressions", "clicks")


@dataclass(frozen=True, kw_only=True)
class CreativeClicks:
    """One creative of the log; `image` is a file name or `archive.tar#member`, relative to the data folder."""

    product_id: str
    creative_id: str
    image: str
    counts: ClickCounts


@dataclass(frozen=True, kw_only=True)
class RejectedClicks:
    """A creative that cannot be used: `row` counts from 1 without the header, None when it was found out later."""

    row: int | None
    creative_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ClickLog:
    """The usable creatives of a log, in its order, and the rows that were rejected."""

    creatives: tuple[CreativeClicks, ...]
    rejected: tuple[RejectedClicks, ...] = ()


class _RowFault(Exception):
    """Why one row cannot be used."""


def read_clicks(path: Path | str, *, roots: Iterable[Path] = ()) -> ClickLog:
    """Read the counts-per-creative log at `path`.

    Args:
        roots: folders in which images are looked for, first hit first; the log's own folder comes last.

    Raises:
        CatalogError: the file cannot be read, holds no rows or no usable one, lacks a column or has an unknown one.
    """
    path = Path(path)
    rows = read_rows(path)
    _check_columns(path, rows)
    folders, kept, rejected = [*roots, path.parent], {}, []
    for row in rows:
        try:
            creative = _creative(row, folders)
            _refuse_repeated(creative, kept)
            kept[creative.creative_id] = (row.number, creative)
        except _RowFault as fault:
            rejected.append(
                RejectedClicks(row=row.number, creative_id=_text(row.values.get("creative_id")), reason=str(fault))
            )
    if not kept:
        raise CatalogError(
            str(path),
            expected="at least one usable row",
            got=f"none; row {rejected[0].row}: {rejected[0].reason}",
            next_step="Correct the rows.",
        )
    return ClickLog(creatives=tuple(creative for _, creative in kept.values()), rejected=tuple(rejected))


def find_image(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the file (for `archive.tar#member`: the archive) that `name` means in the first folder that has it."""
    file = name.partition("#")[0]
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _check_columns(path: Path, rows: Iterable[Row]) -> None:
    """A misspelt column must not silently be ignored, so unknown ones are an error too."""
    seen = {name for row in rows for name in row.values}
    missing = [name for name in COLUMNS if name not in seen]
    unknown = sorted(seen - set(COLUMNS))
    if missing or unknown:
        got = "; ".join(
            f"{word} {', '.join(map(repr, names))}" for word, names in (("no", missing), ("also", unknown)) if names
        )
        hint = "Rename or remove columns until the header matches."
        raise CatalogError(str(path), expected=f"the columns {', '.join(COLUMNS)}", got=got, next_step=hint)


def _creative(row: Row, folders: Iterable[Path]) -> CreativeClicks:
    if row.fault:
        raise _RowFault(row.fault)
    product, creative, image = (_required(row.values, name) for name in COLUMNS[:3])
    impressions, clicks = (_count(row.values, name) for name in COLUMNS[3:])
    if clicks > impressions:
        raise _RowFault(f"clicks: expected at most the {impressions} impressions, got {clicks}. Correct the counts.")
    if find_image(image, folders) is None:
        raise _RowFault(f"image: expected a file in the data folder or beside the log, got '{image}'. Check the path.")
    counts = ClickCounts(clicks=clicks, impressions=impressions)
    return CreativeClicks(product_id=product, creative_id=creative, image=image, counts=counts)


def _refuse_repeated(creative: CreativeClicks, kept: Mapping[str, tuple[int, CreativeClicks]]) -> None:
    if creative.creative_id in kept:
        row = kept[creative.creative_id][0]
        raise _RowFault(f"creative_id: expected each once, got '{creative.creative_id}' as in row {row}. Merge them.")


def _required(values: Mapping[str, Any], name: str) -> str:
    text = _text(values.get(name))
    if not text:
        raise _RowFault(f"{name}: expected a text, got an empty one. Fill it in.")
    return text


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _count(values: Mapping[str, Any], name: str) -> int:
    """A whole number from 0; spreadsheets and pandas write 12 as 12.0."""
    text = _text(values.get(name))
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0 and number == math.floor(number)):
        raise _RowFault(f"{name}: expected a whole number from 0, got '{text}'. Correct the count.")
    return int(number)
