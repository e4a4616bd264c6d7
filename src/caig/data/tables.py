"""Read the rows of a CSV, TSV, JSON-lines, JSON or Parquet file, whatever their columns mean."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caig.errors import CatalogError


@dataclass(frozen=True)
class Row:
    """One row: `number` counts from 1 without the header; `fault` says why it could not be read whole, or is empty."""

    number: int
    values: Mapping[str, Any]
    fault: str = ""


def read_rows(path: Path) -> list[Row]:
    """Read all rows of `path`; the suffix says which format it is.

    Raises:
        CatalogError: the file is missing, of an unknown or broken format, or holds no rows.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise _fault(path, f"one of {', '.join(_READERS)}", f"'{path.suffix}'", "Save the catalogue as one of these.")
    if not path.is_file():
        raise _fault(path, "a file", "none there", "Check the path.")
    try:
        rows = reader(path)
    except UnicodeDecodeError as error:
        raise _fault(path, "UTF-8 text", f"byte {error.start} that is not", "Save the file as UTF-8.") from None
    except OSError as error:
        raise _fault(path, "a readable file", error.strerror or str(error), "Check its permissions.") from None
    if not any(row.values for row in rows):
        raise _fault(path, "at least one row", "none", "Add a product.")
    return rows


def _read_text_table(path: Path) -> list[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max("\t,;", key=first.count)  # spreadsheets in many countries write ";"
        try:
            header, *lines = [line for line in csv.reader(file, delimiter=delimiter, strict=True) if line] or [[]]
        except csv.Error as error:
            raise _fault(path, "a table", f"broken quoting ({error})", "Save it again from a spreadsheet.") from None
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        got = f"{', '.join(map(repr, repeated))} more than once"
        raise _fault(path, "each column name once", got, "Rename or remove one.")
    return [_text_row(number, names, line) for number, line in enumerate(lines, 1)]


def _text_row(number: int, names: list[str], line: list[str]) -> Row:
    fault = ""
    if len(line) != len(names):
        fault = f"row: expected {len(names)} cells, got {len(line)}. Quote cells that hold the separator."
    return Row(number, dict(zip(names, line, strict=False)), fault)


def _read_json_lines(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")  # splitlines() would also cut at U+2028 inside a text
    return [_json_row(number, line) for number, line in enumerate((line for line in lines if line.strip()), 1)]


def _json_row(number: int, line: str) -> Row:
    try:
        value = json.loads(line)
    except ValueError as error:
        return Row(number, {}, f"row: expected a JSON object, got broken JSON ({error}). Correct the line.")
    return _object_row(number, value)


def _object_row(number: int, value: Any) -> Row:
    if isinstance(value, dict):
        return Row(number, value)
    return Row(number, {}, f'row: expected a JSON object, got {type(value).__name__}. Write {{"id": …}}.')


def _read_json(path: Path) -> list[Row]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise _fault(path, "a JSON list", f"broken JSON ({error})", "Correct the file.") from None
    if not isinstance(values, list):
        raise _fault(path, "a JSON list of objects", type(values).__name__, 'Write [{"id": …}, …].')
    return [_object_row(number, value) for number, value in enumerate(values, 1)]


def _read_parquet(path: Path) -> list[Row]:
    import polars

    try:
        table = polars.read_parquet(path)
    except (polars.exceptions.PolarsError, OSError) as error:
        got = f"one that cannot be read ({str(error).splitlines()[0]})"
        raise _fault(path, "a Parquet file", got, "Write it again.") from None
    return _numbered(table.iter_rows(named=True))


def _numbered(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    return [Row(number, row) for number, row in enumerate(rows, 1)]


def _fault(path: Path, expected: str, got: str, next_step: str) -> CatalogError:
    return CatalogError(str(path), expected=expected, got=got, next_step=next_step)


_READERS: Mapping[str, Callable[[Path], list[Row]]] = {
    ".csv": _read_text_table,
    ".tsv": _read_text_table,
    ".txt": _read_text_table,  # Google Merchant's tab-separated feeds
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
