"""`caig comparisons`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from caig.cli.options import parse_mapping
from caig.recipes.comparisons import PRESETS, Config, run


def comparisons(
    *,
    clicks: Annotated[str, Parameter(help="Click log: a file, a folder of files, dated partitions or a URL.")],
    out: Annotated[Path, Parameter(help="Folder for comparisons.parquet and report.json.")],
    images: Annotated[
        Path | None, Parameter(help="Folder of the creatives' pictures; without it none are checked.")
    ] = None,
    map: Annotated[
        tuple[str, ...], Parameter(negative=(), show_default=False, help="FIELD=COLUMN of the log; may repeat.")
    ] = (),
    preset: Annotated[
        Literal["soft", "caig-published"], Parameter(help="soft: all pairs; caig-published: the paper's filter.")
    ] = "soft",
    more_than: Annotated[int | None, Parameter(help="Impressions that each side must exceed.")] = None,
    min_ratio: Annotated[float | None, Parameter(help="Least ratio of the higher CTR to the lower one.")] = None,
    max_ratio: Annotated[float | None, Parameter(help="Largest ratio of the higher CTR to the lower one.")] = None,
    window: Annotated[int, Parameter(help="Days per window in which the order is looked at again; 0: none.")] = 0,
    agreement: Annotated[float, Parameter(help="Least share of windows with the same order, 0 to 1.")] = 0.0,
    seed: Annotated[int, Parameter(help="Of the draws behind the ceiling's interval.")] = 0,
) -> None:
    """Pair the creatives of each product, label the pairs from their clicks, and say how sure the labels can be.

    Prints the noise ceiling: the pair accuracy that a perfect ranker would score on exactly these labels.
    """
    plain = Config(clicks=clicks, images=images, out=out, **PRESETS[preset])
    low, high = plain.ratio
    config = Config(
        clicks=clicks,
        images=images,
        out=out,
        mapping=parse_mapping(map),
        more_than=plain.more_than if more_than is None else more_than,
        ratio=(low if min_ratio is None else min_ratio, high if max_ratio is None else max_ratio),
        window=window,
        agreement=agreement,
        seed=seed,
    )
    print(run(config))
    print(out)
