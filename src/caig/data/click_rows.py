"""What a row of a click log must hold: columns by shape, their types, and the reasons for which a row is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from caig.data.scanning import EXTRA, Table, plain_name
from caig.errors import CatalogError

# Names of our columns by field, best first: caig's own, then CreativeRanking's. Compared in lower case with "_".
ALIASES: Mapping[str, tuple[str, ...]] = {
    "impression_id": ("impression_id",),
    "product_id": ("product_id", "item_id"),
    "creative_id": ("creative_id",),
    "at": ("at",),
    "clicked": ("clicked",),
    "position": ("position",),
    "propensity": ("propensity",),
    "group": ("group",),
    "conversion": ("conversion",),
    "value": ("value",),
    "image": ("image", "creative_image_hash"),
    "impressions": ("impressions", "exp_impression_cnt"),
    "clicks": ("clicks", "exp_click_cnt"),
    "day": ("day", "date"),
}
PER_IMPRESSION = ("impression_id", "product_id", "creative_id", "at", "clicked")
PER_CREATIVE = ("product_id", "creative_id", "impressions", "clicks")
NAMES = frozenset(name for names in ALIASES.values() for name in names)
UNUSED = {"conversion", "value"}  # known, but no part of a click-through rate


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Why a row is left out: `column` is not as `expected`. `broken` is true for such rows."""

    column: str
    expected: str
    next_step: str
    broken: pl.Expr

    @property
    def reason(self) -> str:
        return f"{self.column}: expected {self.expected}. {self.next_step}"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One row per impression, or one per creative (and day): which columns of a table are read as what."""

    per_impression: bool
    columns: Mapping[str, str]  # field -> the table's own column
    ignored: tuple[str, ...]


def shape_of(table: Table, mapping: Mapping[str, str]) -> Shape:
    """Tell a table's shape by its columns; `mapping` names columns by field and goes before the usual names.

    Raises:
        CatalogError: `mapping` names a field or column that is not there, or a column is missing.
    """
    for field, column in mapping.items():
        if field not in ALIASES:
            raise _unknown(table, "field", field, ALIASES)
        if column not in table.columns:
            raise _unknown(table, "column", column, table.columns)
    plain = {plain_name(name): name for name in reversed(table.columns)}
    found = {f: next((plain[a] for a in aliases if a in plain), "") for f, aliases in ALIASES.items()}
    columns = {f: c for f, c in found.items() if c and c not in mapping.values()} | dict(mapping)
    per_impression = "clicked" in columns
    if "path_day" in table.rows.collect_schema():
        columns.setdefault("at" if per_impression else "day", "path_day")
    required = PER_IMPRESSION if per_impression else PER_CREATIVE
    if missing := [field for field in required if field not in columns]:
        raise CatalogError(
            table.name,
            expected=f"the columns {', '.join(PER_IMPRESSION)} or {', '.join(PER_CREATIVE)}",
            got=f"none for {', '.join(missing)} among {', '.join(table.columns)}",
            next_step=f"Name it, e.g. --map {missing[0]}=COLUMN.",
        )
    ignored = tuple(name for name in table.columns if name not in columns.values())
    return Shape(per_impression=per_impression, columns=columns, ignored=ignored)


def typed(table: Table, shape: Shape) -> tuple[pl.LazyFrame, tuple[Rule, ...]]:
    """The table's rows with every field typed, `fault` (0: none, else the number of the first rule that is broken,
    from 1) and, as `raw_<column>`, the cells that the rules speak of; and the rules."""
    schema = table.rows.collect_schema()
    raw = {field: pl.col(f"raw_{field}") for field in shape.columns if field not in UNUSED}
    renamed = table.rows.select("row", *(pl.col(shape.columns[f]).alias(f"raw_{f}") for f in raw), *_extra(schema))
    cells = {field: _read(field, cell, schema[shape.columns[field]]) for field, cell in raw.items()}
    if shape.per_impression:
        cells["day"] = cells.pop("at")
    rules = _rules(shape, raw, EXTRA in schema)
    fault = pl.coalesce(
        *(pl.when(rule.broken).then(pl.lit(n, pl.UInt8)) for n, rule in enumerate(rules, 1)), pl.lit(0, pl.UInt8)
    )
    return renamed.with_columns(**cells).with_columns(fault=fault), rules


def _extra(schema: Mapping[str, pl.DataType]) -> list[str]:
    return [EXTRA] if EXTRA in schema else []


def _read(field: str, cell: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The typed cell, null where it cannot be read."""
    if field in ("at", "day"):
        return _day(cell, kind)
    if field == "clicked":
        return _flag(cell, kind)
    if field == "propensity":
        value = cell.cast(pl.Float64, strict=False)
        return pl.when((value > 0) & (value <= 1)).then(value)
    if field in ("impressions", "clicks"):
        return _count(cell, kind)
    text = cell if kind == pl.String else cell.cast(pl.String)
    return text.str.strip_chars() if kind == pl.String else text


def _day(cell: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """The date of a date, a time, or a text that opens with YYYY-MM-DD; of times with a zone, that of the zone."""
    if kind == pl.Date:
        return cell
    if isinstance(kind, pl.Datetime):
        return cell.dt.date()
    return cell.cast(pl.String).str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)


def _flag(cell: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if kind == pl.Boolean:
        return cell
    if kind == pl.String:
        yes, no = (cell.is_in(words) for words in (["1", "true", "True", "1.0"], ["0", "false", "False", "0.0"]))
        return pl.when(yes).then(True).when(no).then(False)
    return pl.when(cell == 1).then(True).when(cell == 0).then(False)


def _count(cell: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """A whole number from 0; spreadsheets write 12 as 12.0 and 1200 as 1,200."""
    if kind == pl.String:
        grouped = cell.str.contains(r"^\d{1,3}(,\d{3})+$")
        cell = pl.when(grouped).then(cell.str.replace_all(",", "", literal=True)).otherwise(cell.str.strip_chars())
    value = cell.cast(pl.Float64, strict=False)
    return pl.when((value >= 0) & value.is_finite() & (value == value.floor())).then(value).cast(pl.Int64)


def _rules(shape: Shape, raw: Mapping[str, pl.Expr], has_extra: bool) -> tuple[Rule, ...]:
    required = PER_IMPRESSION if shape.per_impression else PER_CREATIVE
    unreadable = pl.all_horizontal(raw[field].is_null() for field in required if shape.columns[field] != "path_day")
    if has_extra:
        unreadable |= pl.col(EXTRA).is_not_null()
    rules = [_rule("row", "one cell for each column", "Quote cells that hold the separator.", unreadable)]
    for field in (f for f in required if f.endswith("_id")):
        rules.append(_rule(field, "a text", "Fill it in.", pl.col(field).is_null() | (pl.col(field) == "")))
        broken = pl.col(field).str.contains("\n", literal=True)
        rules.append(_rule(field, "one line", "Close the quote; rows up to the next one were swallowed.", broken))
    if shape.per_impression:
        rules.append(_rule("clicked", "0 or 1", "Correct it.", pl.col("clicked").is_null()))
        rules.append(_rule("at", "a time such as 2026-01-31T12:00:00", "Write ISO 8601.", pl.col("day").is_null()))
        if "propensity" in raw:
            broken = pl.col("propensity").is_null()
            rules.append(
                _rule("propensity", "a probability above 0, up to 1", "Log what the policy drew with.", broken)
            )
        return tuple(rules)
    for field in ("impressions", "clicks"):
        rules.append(_rule(field, "a whole number from 0", "Correct the count.", pl.col(field).is_null()))
    rules.append(
        _rule("clicks", "at most the impressions", "Correct the counts.", pl.col("clicks") > pl.col("impressions"))
    )
    if "day" in raw:
        rules.append(_rule("day", "a date such as 2026-01-31", "Write ISO 8601.", pl.col("day").is_null()))
    return tuple(rules)


def _rule(column: str, expected: str, next_step: str, broken: pl.Expr) -> Rule:
    return Rule(column=column, expected=expected, next_step=next_step, broken=broken)


def _unknown(table: Table, kind: str, got: str, known: object) -> CatalogError:
    return CatalogError(
        f"{table.name}: --map",
        expected=f"a {kind} among {', '.join(known)}",  # type: ignore[call-overload]
        got=f"'{got}'",
        next_step="Write --map FIELD=COLUMN, e.g. --map clicks='Link clicks'.",
    )
