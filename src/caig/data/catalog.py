"""Read a product catalogue: CSV, TSV, JSON lines, Parquet, or the CAIG list `[{id, image, new_caption}]`.

A fault of the file as a whole raises CatalogError; a row that cannot be used is listed in `Catalog.rejected` with its
reason. Every other row becomes a Product: columns that caig does not know become attributes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from caig.artifacts import content_hash
from caig.data.tables import Row, read_rows
from caig.errors import CatalogError, InputError
from caig.types import Product

REQUIRED = ("id", "title", "image")

# Column names by field, best first: caig's own, then Google Merchant, Shopify and the CAIG list. Compared in lower
# case with "_" for spaces.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "product_id", "sku", "handle"),
    "title": ("title", "new_caption", "name", "product_title"),
    "image": ("image", "image_link", "image_src", "image_path"),
    "mask": ("mask", "mask_path"),
    "category": ("category", "product_type", "google_product_category", "type", "product_category"),
    "brand": ("brand", "vendor"),
    "color": ("color", "colour"),
    "price": ("price", "variant_price"),
    "tags": ("tags",),
}
ATTRIBUTES = ("brand", "color", "price", "tags")

_UNSAFE_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|index\.html|manifest\.jsonl", re.IGNORECASE)
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class RejectedRow:
    """A row that cannot be used: `row` counts from 1 without the header, `image` is None when no such file exists."""

    row: int
    id: str
    title: str
    reason: str
    image: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The usable products of a catalogue, the rows that were rejected, and remarks on what else was left out."""

    products: tuple[Product, ...]
    rejected: tuple[RejectedRow, ...] = ()
    remarks: tuple[str, ...] = ()


class _RowFault(Exception):
    """Why one row cannot be used."""


def read_catalog(path: Path | str, mapping: Mapping[str, str] | None = None, *, root: Path | None = None) -> Catalog:
    """Read the catalogue at `path`.

    Args:
        mapping: field -> column, e.g. {"title": "name"}; other fields are found by their usual column names.
        root: folder that image and mask paths are relative to and must stay in (default: the catalogue's folder).

    Raises:
        CatalogError: the file cannot be read, holds no rows, lacks a column or repeats an id.
    """
    path = Path(path)
    rows = read_rows(path)
    columns = _columns_of(path, rows, mapping or {})
    kept, remarks = _without_continuations(rows, columns)
    _check_ids_unique(path, kept, columns)
    products: list[Product] = []
    rejected: list[RejectedRow] = []
    folders: dict[str, int] = {}
    for row in kept:
        try:
            product = _product(row, columns, root or path.parent)
            _claim_folder(folders, product.id, row.number)
            products.append(product)
        except _RowFault as fault:
            rejected.append(_rejected(row, columns, root or path.parent, str(fault)))
    return Catalog(products=tuple(products), rejected=tuple(rejected), remarks=remarks)


def read_products_of(path: Path | str) -> tuple[Product, ...]:
    """The products of a catalogue of which nothing may be left out: InputError names the first row that cannot be used.
    Other errors as in `read_catalog`."""
    catalog = read_catalog(path)
    if catalog.rejected:
        row = catalog.rejected[0]
        raise InputError(
            f"{path} row {row.row}", expected="a usable product", got=row.reason, next_step="Mend or remove the row."
        )
    return catalog.products


def folder_name(product_id: str) -> str:
    """Return a folder name for `product_id` that is safe on every file system; different ids, different names.

    Letters, digits, `-`, `_` and inner dots stay; anything else becomes %XX, and a very long id ends in its hash.
    """
    name = quote(product_id, safe="").replace("~", "%7E")
    if name.startswith(".") or _UNSAFE_NAMES.fullmatch(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name.endswith("."):
        name = f"{name[:-1]}%2E"
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 21]}~{content_hash(product_id.encode())}"
    return name


def _columns_of(path: Path, rows: list[Row], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return field -> column name for every field that the file has."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    for field, column in mapping.items():
        if field not in ALIASES:
            raise _unknown(path, "field", field, list(ALIASES))
        if column not in names:
            raise _unknown(path, "column", column, names)
    by_plain_name = {_plain_name(name): name for name in reversed(names)}
    found = {
        field: next((by_plain_name[alias] for alias in aliases if alias in by_plain_name), None)
        for field, aliases in ALIASES.items()
    }
    columns = {field: column for field, column in found.items() if column and column not in mapping.values()}
    columns.update(mapping)
    for field in REQUIRED:
        if field not in columns:
            raise CatalogError(
                str(path),
                expected=f"a column for {field}: {' or '.join(ALIASES[field])}",
                got=f"columns {', '.join(names)}",
                next_step=f"Name it, e.g. --map {field}=COLUMN.",
            )
    return columns


def _unknown(path: Path, kind: str, got: str, known: list[str]) -> CatalogError:
    return CatalogError(
        f"{path}: --map",
        expected=f"a {kind} among {', '.join(known)}",
        got=f"'{got}'",
        next_step="Write --map FIELD=COLUMN, e.g. --map title=name.",
    )


def _plain_name(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _without_continuations(rows: list[Row], columns: Mapping[str, str]) -> tuple[list[Row], tuple[str, ...]]:
    """Leave out the further rows of a Shopify product (variants and extra images): same handle, empty title."""
    if _plain_name(columns["id"]) != "handle":
        return rows, ()
    kept: list[Row] = []
    seen: set[str] = set()
    for row in rows:
        handle = _text(row, columns, "id")
        if handle in seen and not _text(row, columns, "title"):
            continue
        seen.add(handle)
        kept.append(row)
    left_out = len(rows) - len(kept)
    remark = f"{left_out} rows continue the product above them (variants, further images) and were left out"
    return kept, (remark,) if left_out else ()


def _check_ids_unique(path: Path, rows: list[Row], columns: Mapping[str, str]) -> None:
    numbers: dict[str, list[int]] = {}
    for row in rows:
        numbers.setdefault(_text(row, columns, "id"), []).append(row.number)
    repeated = {key: where for key, where in numbers.items() if key and len(where) > 1}
    if repeated:
        key, where = next(iter(repeated.items()))
        others = f" (and {len(repeated) - 1} more ids)" if len(repeated) > 1 else ""
        raise CatalogError(
            str(path),
            expected="each id once",
            got=f"'{key}' in rows {', '.join(map(str, where))}{others}",
            next_step="Give each product an id of its own.",
        )


def _product(row: Row, columns: Mapping[str, str], root: Path) -> Product:
    if row.fault:
        raise _RowFault(row.fault)
    product_id, title = _text(row, columns, "id"), _text(row, columns, "title")
    if not product_id:
        raise _RowFault("id: expected a text, got an empty one. Give the product an id.")
    if not title:
        raise _RowFault("title: expected a text, got an empty one. Write what the product is.")
    image = _file(row, columns, "image", root)
    if image is None:
        raise _RowFault("image: expected a path, got an empty one. Give the path of a photo.")
    *_, category = ("", *(part.strip() for part in _text(row, columns, "category").split(">")))
    return Product(
        id=product_id,
        title=title,
        category=category,
        image=image,
        mask=_file(row, columns, "mask", root),
        attributes=_attributes(row, columns),
    )


def _attributes(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns that are no field of Product; a category's path is kept when only its end is used."""
    field_of = {column: field for field, column in columns.items()}
    taken = {columns[field] for field in columns if field not in ATTRIBUTES}
    found = {field_of.get(name, name): value for name, value in row.values.items() if name not in taken}
    category = _text(row, columns, "category")
    if ">" in category:
        found["category_path"] = category
    return {name: value for name, value in found.items() if value not in (None, "")}


def _text(row: Row, columns: Mapping[str, str], field: str) -> str:
    value = row.values.get(columns.get(field, ""))
    return "" if value is None else _one_line(_writable(str(value)))


def _writable(text: str) -> str:
    """Replace what UTF-8 cannot hold: JSON may contain halves of characters."""
    return text.encode("utf-8", "replace").decode()


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _file(row: Row, columns: Mapping[str, str], field: str, root: Path) -> Path | None:
    """Return the file that `field` names, None when the cell is empty."""
    value = row.values.get(columns.get(field, ""))
    if value is None or not str(value).strip():
        return None
    if not isinstance(value, str):
        raise _RowFault(f"{field}: expected a path, got {type(value).__name__}. Give the path of a file.")
    text = _writable(value).strip()
    if re.match(r"[a-z][a-z0-9+.-]+:", text, re.IGNORECASE):
        raise _RowFault(f"{field}: expected the path of a file, got the URL {text}. Download it and give its path.")
    path = Path(os.path.normpath(root / text))
    if not path.is_relative_to(os.path.normpath(root)):
        where = f"{field}: expected a path inside {root}, got {text}."
        raise _RowFault(f"{where} Move the file there; caig generate also takes its folder as --image-root.")
    if not os.path.isfile(path):  # Path.is_file raises for names that are too long
        raise _RowFault(f"{field}: expected a file, got {text}, which does not exist. Correct the path.")
    return path


def _rejected(row: Row, columns: Mapping[str, str], root: Path, reason: str) -> RejectedRow:
    try:
        image = _file(row, columns, "image", root)
    except _RowFault:
        image = None
    product_id, title = _text(row, columns, "id"), _text(row, columns, "title")
    return RejectedRow(row=row.number, id=product_id, title=title, reason=_one_line(reason), image=image)


def _claim_folder(folders: dict[str, int], product_id: str, number: int) -> None:
    """Reject an id that differs from an earlier one in case only: some file systems would mix up their folders."""
    first = folders.setdefault(folder_name(product_id).casefold(), number)
    if first != number:
        raise _RowFault(
            f"id: expected one that differs in more than capitals, got '{product_id}', as in row {first}. Rename it."
        )
