"""Read a click log of any size: counts per creative, corrected for where and when each was shown.

Two shapes, told apart by their columns. CSV, TSV, JSON lines, JSON or Parquet; a file, a folder, dated partitions or a
URL; rows are streamed in batches, never held at once.

    per impression  impression_id, product_id, creative_id, at, clicked [, position, propensity, group, image,
                    conversion, value]. `propensity`: probability with which the policy showed this creative there
    per creative    product_id, creative_id, impressions, clicks [, image, day]. CreativeRanking's names and JSON
                    (product -> list) are known; exports of ad managers come in through a mapping field -> column

A fault of the log as a whole raises CatalogError. Rows and creatives that cannot be used are counted by reason, with
the first examples, in `ClickLog.rejected`; what else was left out or is doubtful stands in `ClickLog.remarks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.data.click_rows import NAMES, Rule, Shape, shape_of, typed
from caig.data.confounding import STRATA, correct
from caig.data.images import Images
from caig.data.scanning import Table, faults_of, local_copy, scan
from caig.errors import CatalogError
from caig.types import ClickCounts

BATCH = 500_000  # rows read at once
PARTIAL = 4_000_000  # rows of partial counts held before they are added up
EXAMPLES = 20  # listed per reason
KEYS = ("product_id", "creative_id", *STRATA)


@dataclass(frozen=True, kw_only=True)
class CreativeClicks:
    """One creative of the log. `image` is a file name or `archive.tar#member`, relative to the folders searched.

    `counts` are those of the log. `effective` are what they are worth in a comparison within the product: clicks and
    impressions, fractions allowed, that give the corrected CTR with its precision. The two are equal where the log
    says nothing of position, day, group or propensity.
    """

    product_id: str
    creative_id: str
    image: str
    counts: ClickCounts
    effective: ClickCounts


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """`count` rows or creatives (`what`) that could not be used for one reason, the first of them as examples."""

    reason: str
    what: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} {self.what} left out: {self.reason} First: {self.examples[0]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ClickLog:
    """The usable creatives of a log, by product and creative id; what was left out; remarks on the whole.

    `days`: product_id, creative_id, day, impressions, clicks, one row per creative and day, where the log has days.
    """

    creatives: tuple[CreativeClicks, ...]
    rejected: tuple[Rejection, ...] = ()
    remarks: tuple[str, ...] = ()
    days: pl.DataFrame = field(default_factory=pl.DataFrame)


def read_clicks(
    path: Path | str, *, images: Iterable[Path] | None = None, mapping: Mapping[str, str] | None = None
) -> ClickLog:
    """Read the log at `path`.

    Args:
        images: folders in which each creative's picture is looked for, the log's own folder last: by the `image`
            column, else by the creative's id in the file's name. None: pictures are not looked for.
        mapping: field -> column, e.g. {"clicks": "Link clicks"}; other fields are found by their usual names.

    Raises:
        CatalogError: the log cannot be read, lacks a column or holds no usable row.
    """
    with local_copy(path) as local, faults_of(path):
        tables = scan(local, NAMES | {name.lower().replace(" ", "_") for name in (mapping or {}).values()})
        beside = local if local.is_dir() else local.parent
        found = None if images is None else Images([*images, *([beside] if "://" not in str(path) else [])])
        return _read(str(path), tables, mapping or {}, found)


def clicks_of(impressions: pl.DataFrame) -> ClickLog:
    """The log that `impressions` are, a frame in either shape."""
    rows = impressions.with_row_index("row", offset=1).lazy()
    return _read("log", [Table(name="log", columns=tuple(impressions.columns), rows=rows)], {}, None)


def _read(name: str, tables: Sequence[Table], mapping: Mapping[str, str], images: Images | None) -> ClickLog:
    shapes = [shape_of(table, mapping) for table in tables]
    if len({shape.per_impression for shape in shapes}) > 1:
        got = f"both, e.g. {tables[0].name} and {_other(tables, shapes).name}"
        hint = "Read them one by one."
        raise CatalogError(name, expected="rows per impression or rows per creative", got=got, next_step=hint)
    if len({"propensity" in shape.columns for shape in shapes}) > 1:
        hint = "Complete them, or leave the column out everywhere."
        raise CatalogError(name, expected="propensities in all files or none", got="in some", next_step=hint)
    cells, rejected = _Tally(tables, shapes).count()
    cells, mixed = _without_mixed_products(cells)
    creatives, missing = _with_images(_creatives(correct(cells)) if len(cells) else [], images)
    rejected = [*rejected, *mixed, *missing]
    if not creatives:
        got = f"none; {rejected[0]}" if rejected else "no rows"
        raise CatalogError(name, expected="at least one usable row", got=got, next_step="Correct the log.")
    remarks = (*_remarks(shapes), *_warning(cells))
    return ClickLog(creatives=creatives, rejected=tuple(rejected), remarks=remarks, days=_days(cells))


class _Tally:
    """Counts by creative and stratum, summed over batches; what each rule rejected."""

    def __init__(self, tables: Sequence[Table], shapes: Sequence[Shape]) -> None:
        self.tables, self.shapes = tables, shapes
        self.rejected: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def count(self) -> tuple[pl.DataFrame, list[Rejection]]:
        """Every row once; a second reading leaves out repeated rows, if there are any."""
        cells, hashes = self._add_up(None)
        repeated = _repeated(hashes)
        if repeated is not None:
            self.rejected.clear()
            cells, _ = self._add_up(repeated)
        rejected = [
            Rejection(reason=reason, what="rows", count=count, examples=tuple(examples))
            for (_, reason), (count, examples) in self.rejected.items()
        ]
        return cells, rejected

    def _add_up(self, repeated: NDArray[np.bool_] | None) -> tuple[pl.DataFrame, list[NDArray[np.uint64]]]:
        """Cells, and the hash of each usable row's identity in order; `repeated` marks usable rows to leave out."""
        parts: list[pl.DataFrame] = []
        hashes: list[NDArray[np.uint64]] = []
        seen = held = 0
        for table, shape, batch in self._usable():
            hashes.append(_identity(batch, shape))
            if repeated is not None:
                again = pl.Series(repeated[seen : seen + len(batch)])
                self._reject(table, _only_once(shape), batch.filter(again))
                batch = batch.filter(~again)
            seen += len(hashes[-1])
            parts.append(_cells(batch, shape))
            held += len(parts[-1])
            if held > PARTIAL:
                parts = [_sum(parts)]
                held = min(len(parts[0]), PARTIAL // 2)  # so that many cells are not added up at every batch
        return _sum(parts) if parts else pl.DataFrame(schema=dict.fromkeys(KEYS, pl.String)), hashes

    def _usable(self) -> Iterator[tuple[Table, Shape, pl.DataFrame]]:
        for table, shape in zip(self.tables, self.shapes, strict=True):
            rows, rules = typed(table, shape)
            for batch in rows.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming"):
                if batch["fault"].max():
                    for number, rule in enumerate(rules, 1):
                        self._reject(table, rule, batch.filter(fault=number))
                    batch = batch.filter(fault=0)
                yield table, shape, batch

    def _reject(self, table: Table, rule: Rule, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        count, examples = self.rejected.setdefault((rule.column, rule.reason), (0, []))
        raw = f"raw_{rule.column}"
        for row in rows.head(EXAMPLES - len(examples)).iter_rows(named=True):
            got = f", got '{'' if row[raw] is None else row[raw]}'" if raw in row else ""
            examples.append(f"{table.name} row {row['row']}: creative '{row['raw_creative_id'] or ''}'{got}")
        self.rejected[rule.column, rule.reason] = (count + len(rows), examples)


def _identity(batch: pl.DataFrame, shape: Shape) -> NDArray[np.uint64]:
    """A hash of what may be there once only; of 20 million, two unlike ones agree with probability 1e-5."""
    names = ["impression_id"] if shape.per_impression else [n for n in KEYS if n in batch.columns]
    column = batch[names[0]] if len(names) == 1 else batch.select(pl.struct(names)).to_series()
    return column.hash().to_numpy()


def _only_once(shape: Shape) -> Rule:
    what = "impression_id" if shape.per_impression else "creative_id"
    per_day = " a day" if "day" in shape.columns and not shape.per_impression else ""
    hint = "The first row counts; leave out the others."
    return Rule(column=what, expected=f"each once{per_day}", next_step=hint, broken=pl.lit(False))


def _repeated(hashes: list[NDArray[np.uint64]]) -> NDArray[np.bool_] | None:
    """bool[N]: rows that repeat an earlier one; None when there are none."""
    every = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    in_order = np.sort(every)
    if not (in_order[1:] == in_order[:-1]).any():
        return None
    order = np.argsort(every, kind="stable")
    again = np.zeros(len(every), bool)
    again[order[1:]] = every[order[1:]] == every[order[:-1]]
    return again


def _cells(batch: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """Sums by creative and stratum; w and w2 sum 1 / propensity and its square over impressions, wk and w2k clicks."""
    absent = [pl.lit(None, pl.String).alias(name) for name in ("position", "group") if name not in batch.columns]
    absent += [pl.lit(None, pl.Date).alias("day")] if "day" not in batch.columns else []
    image = pl.col("image").drop_nulls().first() if "image" in batch.columns else pl.lit(None, pl.String)
    if shape.per_impression:
        clicked = pl.col("clicked").cast(pl.Int64)
        sums = {"impressions": pl.len().cast(pl.Int64), "clicks": clicked.sum()}
        if "propensity" in batch.columns:
            weight = 1 / pl.col("propensity")
            products = {"w": weight, "wk": weight * clicked, "w2": weight**2, "w2k": weight**2 * clicked}
            sums |= {name: product.sum() for name, product in products.items()}
    else:
        sums = {"impressions": pl.col("impressions").sum(), "clicks": pl.col("clicks").sum()}
    grouped = batch.lazy().with_columns(absent).group_by(KEYS, maintain_order=True).agg(image=image, **sums).collect()
    texts = ("product_id", "creative_id", "position", "group", "image")
    return grouped.with_columns(pl.col(texts).cast(pl.String).cast(pl.Categorical))


def _sum(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    every = pl.concat(parts, how="diagonal_relaxed")
    return every.group_by(KEYS, maintain_order=True).agg(
        pl.col("image").drop_nulls().first(), pl.all().exclude(*KEYS, "image").sum()
    )


def _without_mixed_products(cells: pl.DataFrame) -> tuple[pl.DataFrame, list[Rejection]]:
    """A creative that is logged under several products belongs to none of them for sure."""
    owners = cells.group_by("creative_id").agg(pl.col("product_id").unique().cast(pl.String).sort())
    mixed = owners.filter(pl.col("product_id").list.len() > 1).sort(pl.col("creative_id").cast(pl.String))
    if mixed.is_empty():
        return cells, []
    examples = tuple(f"creative '{name}' of {', '.join(products)}" for name, products in mixed.head(EXAMPLES).rows())
    reason = "product_id: expected one product per creative. Give each creative an id of its own."
    rejection = Rejection(reason=reason, what="creatives", count=len(mixed), examples=examples)
    return cells.join(mixed, on="creative_id", how="anti"), [rejection]


def _creatives(corrected: pl.DataFrame) -> list[CreativeClicks]:
    return [
        CreativeClicks(
            product_id=row["product_id"],
            creative_id=row["creative_id"],
            image=row["image"] or "",
            counts=ClickCounts(clicks=row["clicks"], impressions=row["impressions"]),
            effective=ClickCounts(clicks=row["effective_clicks"], impressions=row["effective_impressions"]),
        )
        for row in corrected.iter_rows(named=True)
    ]


def _with_images(
    creatives: Sequence[CreativeClicks], images: Images | None
) -> tuple[tuple[CreativeClicks, ...], list[Rejection]]:
    """Creatives whose picture is found, its name filled in; and the others."""
    if images is None:
        return tuple(creatives), []
    kept, missing = [], []
    for creative in creatives:
        name = images.name_of(creative.creative_id, creative.image)
        if name is None:
            missing.append(f"creative '{creative.creative_id}', got '{creative.image}'")
        else:
            kept.append(replace(creative, image=name))
    reason = f"image: expected one file in {images}, named by the log or by the creative's id. Check names and folder."
    some = tuple(missing[:EXAMPLES])
    found = [Rejection(reason=reason, what="creatives", count=len(missing), examples=some)] if missing else []
    return tuple(kept), found


def _remarks(shapes: Iterable[Shape]) -> list[str]:
    ignored = sorted({name for shape in shapes for name in shape.ignored})
    return [f"columns not used: {', '.join(ignored)}"] if ignored else []


def _warning(cells: pl.DataFrame) -> list[str]:
    """Say what may have decided what was shown, and clicked, without standing in the log."""
    unknown = [name for name in STRATA if cells[name].is_null().all()] + ["propensity"] * ("w" not in cells.columns)
    if not unknown:
        return []
    return [
        f"confounded: the log does not say {', '.join(unknown)}, so creatives shown in better places or times, "
        "or to keener people, look better. Log one row per impression with these columns to correct for it."
    ]


def _days(cells: pl.DataFrame) -> pl.DataFrame:
    dated = cells.filter(pl.col("day").is_not_null())
    return dated.group_by("product_id", "creative_id", "day").agg(pl.col("impressions", "clicks").sum())


def _other(tables: Sequence[Table], shapes: Sequence[Shape]) -> Table:
    return next(t for t, s in zip(tables, shapes, strict=True) if s.per_impression != shapes[0].per_impression)
