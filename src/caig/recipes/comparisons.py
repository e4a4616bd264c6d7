"""From a click log to labelled pairs of pictures (`caig comparisons`), with the noise ceiling of exactly these labels.

Differs from the paper: labels are soft, P(first truly better | counts), and of all pairs, in place of the observed
order of those that a filter on impressions and ratio keeps. Preset `caig-published` keeps the paper's filter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caig.artifacts import published_folder, to_json
from caig.errors import InputError
from caig.types import Estimate

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from caig.data.clicks import ClickLog, Rejection
    from caig.data.comparisons import Pairs

PAIRS, REPORT = "comparisons.parquet", "report.json"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig comparisons`."""

    clicks: str
    """Click log: a file, folder or URL."""
    images: Path | None
    """Folder with the pictures; None: they are not looked for."""
    out: Path
    """Folder for comparisons.parquet and report.json; an older one is replaced when the new one is whole."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Field -> column of the log."""
    more_than: int = -1
    """Impressions that each side must exceed; -1: any number will do."""
    ratio: tuple[float, float] = (1.0, float("inf"))
    """The higher observed CTR over the lower one must lie within."""
    window: int = 0
    """Days per window; each pair gets the share of windows that order it as the whole log does. 0: none."""
    agreement: float = 0.0
    """Least share of windows that must agree; needs `window`."""
    seed: int = 0
    """Of the draws behind the ceiling's interval."""


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "soft": {},
    "caig-published": {"more_than": 1000, "ratio": (1.05, 1.20)},  # the paper's filter, from its public code
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `caig comparisons` writes to report.json and prints."""

    out: Path
    creatives: int
    products: int
    pairs: int
    kept: Mapping[str, int]
    variation: float
    ceiling: tuple[Estimate, ...]
    rejected: tuple[Rejection, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        kept = sum(self.kept.values())
        lines = [
            f"{self.creatives} creatives of {self.products} products, {self.pairs} pairs, {kept} kept: "
            + ", ".join(f"{count} {name}" for name, count in self.kept.items()),
            f"true CTRs vary by {self.variation:.1%} within a product (fitted)",
            *map(str, self.ceiling),
            *map(str, self.rejected),
            *self.remarks,
        ]
        return "\n".join(lines)


def run(config: Config) -> Report:
    """Read, pair, filter, label and write `config.out`, whole or not at all.

    Raises:
        CatalogError: the log is not usable, or no pair is left.
        InputError: a setting is out of range, or windows are asked of a log without days.
    """
    from caig.data.clicks import read_clicks
    from caig.data.comparisons import compare, noise_ceiling

    _check(config)
    images = None if config.images is None else [config.images]
    log = read_clicks(config.clicks, images=images, mapping=config.mapping)
    pairs = compare(log.creatives)
    agreement = window_agreement(log, pairs, config.window) if config.window else None
    kept = _kept(config, pairs, agreement)
    if not kept.any():
        raise InputError(
            config.clicks,
            expected="a pair of creatives of one product within the filter",
            got=f"none of {len(pairs)} pairs",
            next_step="Loosen the filter or collect more clicks.",
        )
    table = _table(pairs, agreement).filter(kept)
    report = Report(
        out=config.out,
        creatives=len(log.creatives),
        products=len({creative.product_id for creative in log.creatives}),
        pairs=len(pairs),
        kept={name: int((table["split"] == name).sum()) for name in SPLITS},
        variation=pairs.spread.variation,
        ceiling=tuple(noise_ceiling(pairs.where(kept), seed=config.seed)),
        rejected=log.rejected,
        remarks=log.remarks,
    )
    with published_folder(config.out) as folder:
        table.write_parquet(folder / PAIRS)
        settings = replace(config, clicks=Path(config.clicks).name)
        content = {"config": _plain(settings), **{k: v for k, v in vars(report).items() if k != "out"}}
        (folder / REPORT).write_text(to_json(content, indent=2) + "\n", encoding="utf-8")
    return report


def window_agreement(log: ClickLog, pairs: Pairs, window: int) -> NDArray[np.float64]:
    """f64[P]: share of windows of `window` days that order the pair as the whole log does; NaN where none orders it.

    Windows count from the log's first day, by raw CTRs; one without an order of the pair is left out.
    """
    import numpy as np
    import polars as pl

    if log.days.is_empty():
        hint = "Leave --window out, or log a day or time."
        raise InputError("--window", expected="a log with days", got="none", next_step=hint)
    days = log.days.with_columns(window=(pl.col("day") - pl.col("day").min()).dt.total_days() // window)
    number = {creative.creative_id: index for index, creative in enumerate(pairs.creatives)}
    days = days.with_columns(
        creative=pl.col("creative_id").cast(pl.String).replace_strict(number, default=None)
    ).drop_nulls("creative")
    agreeing, ordered = np.zeros(len(pairs)), np.zeros(len(pairs))
    for _, rows in days.group_by("window"):
        clicks, impressions = np.zeros((2, len(number)))
        np.add.at(clicks, rows["creative"].to_numpy(), rows["clicks"].to_numpy())
        np.add.at(impressions, rows["creative"].to_numpy(), rows["impressions"].to_numpy())
        gap = clicks[pairs.first] * impressions[pairs.second] - clicks[pairs.second] * impressions[pairs.first]
        ordered += gap != 0
        agreeing += (gap != 0) & (np.sign(gap) == np.sign(pairs.observed - 0.5))
    return np.divide(agreeing, ordered, out=np.full(len(pairs), np.nan), where=ordered > 0)


def _check(config: Config) -> None:
    low, high = config.ratio
    if config.more_than < -1 or config.window < 0 or not 0 <= config.agreement <= 1 or not 1 <= low <= high:
        got = f"{config.more_than}, {config.window}, {config.agreement}, {low} to {high}"
        expected = "--more-than from -1, --window from 0, --agreement in 0..1, a ratio from 1 up"
        raise InputError("filter", expected=expected, got=got, next_step="Correct the option.")
    if config.agreement and not config.window:
        hint = "Say how many days a window has, e.g. --window 7."
        raise InputError("--agreement", expected="--window too", got="none", next_step=hint)


def _kept(config: Config, pairs: Pairs, agreement: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """bool[P]: pairs that pass every filter."""
    kept = pairs.within(more_than=config.more_than, ratio=config.ratio)
    return kept if agreement is None or not config.agreement else kept & (agreement >= config.agreement)


def _table(pairs: Pairs, agreement: NDArray[np.float64] | None) -> pl.DataFrame:
    """One row per pair: who, counts and effective counts of both sides, soft label, weight, split."""
    import polars as pl

    from caig.data.comparisons import split

    columns: dict[str, Any] = {"product_id": [pairs.creatives[i].product_id for i in pairs.first]}
    for side in ("first", "second"):
        own = [pairs.creatives[i] for i in getattr(pairs, side)]
        columns |= {side: [c.creative_id for c in own], f"{side}_image": [c.image for c in own]}
        for name in ("impressions", "clicks"):
            columns[f"{side}_{name}"] = [getattr(c.counts, name) for c in own]
            columns[f"{side}_effective_{name}"] = [float(getattr(c.effective, name)) for c in own]
    columns |= {"first_better": pairs.label, "weight": pairs.weight, "observed": pairs.observed, "ratio": pairs.ratio}
    if agreement is not None:
        columns["window_agreement"] = agreement
    columns["split"] = [split(product) for product in columns["product_id"]]
    return pl.DataFrame(columns)


def _plain(config: Config) -> dict[str, Any]:
    """The settings as JSON holds them: no folders of this machine, no infinity."""
    values = {name: value.name if isinstance(value, Path) else value for name, value in vars(config).items()}
    return values | {"ratio": [bound if bound != float("inf") else None for bound in config.ratio]}
