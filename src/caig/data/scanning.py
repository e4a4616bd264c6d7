"""Scan tables of any size: files, folders of files, dated partitions and fsspec URLs become lazy frames.

Nothing is parsed before a frame is collected. Cells of text formats are text; Parquet keeps its types. The columns
`row` (from 1, without the header) and, where the path names a date, `path_day` are added.
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from caig.data.tables import read_rows
from caig.errors import CatalogError

SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".jsonl", ".ndjson", ".json", ".parquet")
EXTRA = "extra_cells"  # what a row holds beyond the header
PREAMBLE = 10  # exports of ad managers open with a title and a date range before the header
_DATE = re.compile(r"(?<!\d)(\d{4})-?(\d{2})-?(\d{2})(?!\d)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """One file: `name` as users know it, the names of its columns, and its rows."""

    name: str
    columns: tuple[str, ...]
    rows: pl.LazyFrame


@contextmanager
def local_copy(path: Path | str) -> Iterator[Path]:
    """Yield `path` itself, or for a URL (`s3://…`, any that fsspec knows) a copy that lasts as long as the block.

    Raises:
        CatalogError: the URL's files cannot be had.
    """
    if "://" not in str(path):
        yield Path(path)
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="caig-log-") as folder:
        target = Path(folder) / str(path).rstrip("/").rpartition("/")[2]
        try:
            system, source = fsspec.core.url_to_fs(str(path))
            system.get(source, str(target), recursive=system.isdir(source))
        except (OSError, ImportError, ValueError) as error:
            got = f"{type(error).__name__}: {error}"
            raise _fault(str(path), "files behind the URL", got, "Check the URL, or copy them by hand.") from error
        yield target


def scan(path: Path, wanted: frozenset[str] = frozenset()) -> list[Table]:
    """Return the tables of `path`: a file, or a folder with the files below it, in order of their names.

    Args:
        wanted: columns by which a header is told from the title lines above it.

    Raises:
        CatalogError: nothing is there, or a file is of an unknown or broken format.
    """
    if not path.exists():
        raise _fault(str(path), "a file or folder", "none there", "Check the path.")
    files = table_files(path) if path.is_dir() else [path]
    if not files:
        raise _fault(str(path), f"files ending in {', '.join(SUFFIXES)}", "none", "Save the log as one of these.")
    return [_table(file, str(file.relative_to(path.parent)), wanted) for file in files]


@contextmanager
def faults_of(path: Path | str) -> Iterator[None]:
    """Turn what polars says of a file while it reads into a CatalogError."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        got = f"one that cannot be read ({str(error).splitlines()[0]})"
        raise _fault(str(path), "UTF-8 text or a whole Parquet file", got, "Write it again.") from error


def table_files(folder: Path) -> list[Path]:
    """The tables below `folder` in order of their names; hidden files and folders and `_SUCCESS` marks are none."""
    found = (path for path in folder.rglob("*") if path.name.endswith(SUFFIXES))
    return sorted(p for p in found if not any(part.startswith((".", "_")) for part in p.relative_to(folder).parts))


def _table(file: Path, name: str, wanted: frozenset[str]) -> Table:
    suffix = file.name.removesuffix(".gz").rpartition(".")[2].lower()
    if suffix in ("csv", "tsv", "txt"):
        columns, rows = _scan_text(file, wanted)
    elif suffix in ("jsonl", "ndjson"):
        columns, rows = _scan_json_lines(file)
    elif suffix == "parquet":
        with faults_of(file):
            rows = pl.scan_parquet(file, row_index_name="row", row_index_offset=1, hive_partitioning=False)
            columns = tuple(rows.collect_schema().names()[1:])
    elif suffix == "json":
        columns, rows = _read_json(file)
    else:
        raise _fault(str(file), f"one of {', '.join(SUFFIXES)}", f"'.{suffix}'", "Save the log as one of these.")
    if day := day_of(name):
        rows = rows.with_columns(path_day=pl.lit(day))
    return Table(name=name, columns=columns, rows=rows)


def day_of(name: str) -> date | None:
    """The date that a path names: `day=2026-01-31/part-0.csv`, `clicks-20260131.csv`."""
    for digits in reversed(_DATE.findall(name)):
        try:
            return date(*map(int, digits))
        except ValueError:
            continue
    return None


def _scan_text(file: Path, wanted: frozenset[str]) -> tuple[tuple[str, ...], pl.LazyFrame]:
    above, separator, names = _header(file, wanted)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        got = f"{', '.join(map(repr, repeated))} more than once"
        raise _fault(str(file), "each column name once", got, "Rename or remove one.")
    rows = pl.scan_csv(
        file,
        has_header=False,
        skip_lines=above + 1,
        separator=separator,
        schema=dict.fromkeys([*names, EXTRA], pl.String),
        missing_columns="insert",  # the column of extra cells, and cells that a short row lacks
        truncate_ragged_lines=True,
        row_index_name="row",
        row_index_offset=1,
        glob=False,
    )
    return tuple(names), rows.filter(~pl.all_horizontal(pl.col(name).is_null() for name in [*names, EXTRA]))


def _header(file: Path, wanted: frozenset[str]) -> tuple[int, str, list[str]]:
    """(lines above the header, separator, names): the first line that names most of `wanted`."""
    lines = _first_lines(file)
    if not lines:
        raise _fault(str(file), "a header and rows", "an empty file", "Write it again.")
    best: tuple[int, int, str, list[str]] = (-1, 0, ",", [])
    for number, line in enumerate(lines):
        separator = max("\t,;", key=line.count)  # spreadsheets in many countries write ";"
        names = [name.strip() for name in next(csv.reader([line], delimiter=separator))]
        found = len(wanted & {plain_name(name) for name in names})
        if found > best[0]:
            best = (found, number, separator, names)
    return best[1:]


def _first_lines(file: Path) -> list[str]:
    import gzip

    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            head = stream.read(1 << 16)
        lines = io.StringIO(head.decode("utf-8-sig", "strict" if len(head) < 1 << 16 else "ignore")).readlines()
    except UnicodeDecodeError as error:
        raise _fault(str(file), "UTF-8 text", f"byte {error.start} that is not", "Save the file as UTF-8.") from None
    except OSError as error:
        raise _fault(str(file), "a readable file", str(error), "Check the file.") from None
    return [line.rstrip("\r\n") for line in lines[:PREAMBLE]]


def _scan_json_lines(file: Path) -> tuple[tuple[str, ...], pl.LazyFrame]:
    """Each line is looked through for each name that the first lines use: one broken line costs that line alone."""
    lines = pl.scan_csv(
        file,
        has_header=False,
        schema={"line": pl.String},
        separator="\x01",
        quote_char=None,
        row_index_name="row",
        row_index_offset=1,
        glob=False,
    ).filter(pl.col("line").is_not_null())
    with faults_of(file):
        head = lines.head(100).collect()["line"]
    names = tuple(dict.fromkeys(name for line in head for name in _keys(line)))
    cells = [pl.col("line").str.json_path_match(_json_path(name)).alias(name) for name in names]
    return names, lines.with_columns(cells).drop("line")


def _keys(line: str) -> list[str]:
    import json

    try:
        value = json.loads(line)
    except ValueError:
        return []
    return list(value) if isinstance(value, dict) else []


def _json_path(name: str) -> str:
    return "$['{}']".format(name.replace("\\", "\\\\").replace("'", "\\'"))


def _read_json(file: Path) -> tuple[tuple[str, ...], pl.LazyFrame]:
    """A list of objects, or an object of product id -> list of objects (CreativeRanking)."""
    import json

    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError:
        content = None
    if isinstance(content, Mapping) and all(isinstance(rows, list) for rows in content.values()):
        rows: list[Any] = [_owned(product, row) for product, group in content.items() for row in group]
    else:
        rows = [row.values for row in read_rows(file)]
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = {name: [_cell(row.get(name)) for row in rows] for name in names}
    frame = pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))
    return names, frame.with_row_index("row", offset=1).lazy()


def _owned(product: str, row: Any) -> dict[str, Any]:
    return {"product_id": product, **row} if isinstance(row, Mapping) else {"product_id": product}


def _cell(value: Any) -> str | None:
    return None if value is None else str(value)


def plain_name(name: str) -> str:
    """A column's name in lower case with "_" for spaces."""
    return name.strip().lower().replace(" ", "_")


def _fault(name: str, expected: str, got: str, next_step: str) -> CatalogError:
    return CatalogError(name, expected=expected, got=got, next_step=next_step)
