"""Rendered scenes on the simulated shop's shelf, and the click log of what happened there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from caig.artifacts import write_atomic
from caig.data.images import read_in_threads
from caig.data.scenes import SceneRecord, read_scenes
from caig.errors import InputError
from caig.seeding import seed_for
from caig.shop.shoppers import Ad, World
from caig.types import Product


def ad_of(scene: SceneRecord) -> Ad:
    """Measure one scene; its product's mask is the neutral pass's alpha. InputError names a scene without product."""
    mask = scene.cutout()[..., 3].astype(np.float32) / 255
    try:
        return Ad.of(scene.id, scene.image(), mask, product_on_shelf(scene))
    except InputError as error:
        hint = "Render the scene again."
        raise InputError(f"scene {scene.id}", expected=error.expected, got=error.got, next_step=hint) from error


def product_on_shelf(scene: SceneRecord) -> Product:
    """The scene's product as the shop knows it."""
    about = scene.product
    return Product(
        id=about["id"], title=about["title"], category=about["category"], attributes={"price": about["price"]}
    )


def ads_of(scenes: Sequence[SceneRecord]) -> list[Ad]:
    """Measure every scene: about 30 ms each, on as many processors as there are."""
    return read_in_threads(ad_of, scenes)


def read_ads(scenes: Path) -> list[Ad]:
    """Measure every scene of a folder, in order of id."""
    return ads_of(read_scenes(scenes))


def counts(log: pl.DataFrame, ads: Sequence[Ad]) -> pl.DataFrame:
    """product_id, creative_id, impressions and clicks of each of `ads`, in their order; 0 where none was shown."""
    shown = pl.DataFrame({"product_id": [ad.product.id for ad in ads], "creative_id": [ad.id for ad in ads]})
    seen = log.group_by("creative_id").agg(impressions=pl.len().cast(pl.Int64), clicks=pl.col("clicked").sum())
    found = shown.join(seen, on="creative_id", how="left", maintain_order="left")
    return found.with_columns(pl.col("impressions", "clicks").fill_null(0).cast(pl.Int64))


def write_log(
    log: pl.DataFrame, world: World, ads: Sequence[Ad], scenes: Sequence[SceneRecord], out: Path
) -> list[Path]:
    """Write `out` (one row per impression) and beside it, named after it, two tables with one row per creative.

    `out` gets a column `image` (`archive.tar#member`), so that whoever reads it finds the pictures. `-creatives.csv`:
    product_id, creative_id, image, impressions, clicks: all that a reward model may learn from. `-truth.csv`:
    product_id, creative_id, ctr: for judging it afterwards, never for learning.
    """
    table = counts(log, ads).with_columns(image=pl.Series([f"{s.archive}#{s.id}.image.webp" for s in scenes]))
    creatives, truth = (out.with_name(f"{out.stem}-{name}.csv") for name in ("creatives", "truth"))
    out.parent.mkdir(parents=True, exist_ok=True)
    names = table.select("creative_id", "image")
    log.join(names, on="creative_id", how="left", maintain_order="left").write_parquet(out)
    table.select("product_id", "creative_id", "image", "impressions", "clicks").write_csv(creatives)
    table.select("product_id", "creative_id", ctr=pl.Series(world.ctr(ads))).write_csv(truth, float_precision=6)
    return [out, creatives, truth]


def write_counts(world: World, ads: Sequence[Ad], scenes: Sequence[SceneRecord], impressions: int, out: Path) -> None:
    """What a log of `impressions` of each ad would count, clicks drawn at once; a table like `-creatives.csv`."""
    clicks = np.random.default_rng(seed_for(world.seed, "counts", impressions)).binomial(impressions, world.ctr(ads))
    table = {
        "product_id": [ad.product.id for ad in ads],
        "creative_id": [ad.id for ad in ads],
        "image": [f"{scene.archive}#{scene.id}.image.webp" for scene in scenes],
        "impressions": np.full(len(ads), impressions),
        "clicks": clicks,
    }
    write_atomic(out, pl.DataFrame(table).write_csv().encode())
