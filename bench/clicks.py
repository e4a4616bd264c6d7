"""How long 20 million impressions take to become counts, and in how much memory: python bench/clicks.py --out DIR

Writes logs of 2 and 20 million impressions (1,000 products of 6 creatives, 30 days, 5 positions, 3 groups), as Parquet
in dated partitions and as CSV, unless DIR has them already. Reads each in a process of its own and prints the seconds
from start to counts and to corrected counts, processor seconds and peak memory, then the growth from 2 to 20 million.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

DAYS, MILLIONS = 30, (2, 20)


def write_log(folder: Path, rows: int) -> None:
    """One part a day in each format; nothing is held beyond a day."""
    for number in range(DAYS):
        day = datetime.date(2026, 1, 1) + datetime.timedelta(number)
        part = day_of_log(day, number, rows // DAYS)
        for suffix, write in (("parquet", part.write_parquet), ("csv", part.write_csv)):
            path = folder / suffix / f"day={day}" / f"part-0.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)


def day_of_log(day: datetime.date, number: int, rows: int) -> pl.DataFrame:
    """`rows` impressions of one day; clicks depend on the creative and the position."""
    rng = np.random.default_rng(number)
    product, creative, position = (rng.integers(0, most, rows) for most in (1000, 6, 5))
    frame = pl.DataFrame({"number": np.arange(number * rows, (number + 1) * rows), "p": product, "c": creative})
    return frame.select(
        pl.format("i{}", "number").alias("impression_id"),
        pl.format("p{}", "p").alias("product_id"),
        pl.format("p{}-{}", "p", "c").alias("creative_id"),
        pl.lit(day).cast(pl.Datetime) + pl.duration(seconds=pl.Series("at", np.sort(rng.integers(0, 86_400, rows)))),
        clicked=pl.Series(rng.random(rows) < 0.02 * (1 + creative / 5) / (1 + position)),
        position=pl.Series(position + 1),
        propensity=pl.lit(1 / 6),
        group=pl.Series(np.array(["new", "old", "gift"])[rng.integers(0, 3, rows)]),
    ).rename({"literal": "at"})


def read(path: Path) -> dict[str, float]:
    """Read the log at `path`; seconds and bytes of this process."""
    started = time.perf_counter()
    from caig.data import clicks

    counted, correct = [], clicks.correct

    def timed(cells: pl.DataFrame) -> pl.DataFrame:
        counted.append(time.perf_counter() - started)
        return correct(cells)

    clicks.correct = timed
    log = clicks.read_clicks(path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "creatives": len(log.creatives),
        "impressions": sum(creative.counts.impressions for creative in log.creatives),
        "counted_s": counted[0],
        "corrected_s": time.perf_counter() - started,
        "processor_s": used.ru_utime + used.ru_stime,
        "memory_mb": used.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the logs")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read)))
        return
    if args.out is None:
        parser.error("name a folder: --out DIR")
    print(f"{len(os.sched_getaffinity(0))} cores, polars {pl.__version__}")
    for suffix in ("parquet", "csv"):
        found = []
        for millions in MILLIONS:
            folder = args.out / f"{millions}m"
            if not folder.exists():
                write_log(folder, millions * 1_000_000)
            done = subprocess.run(
                [sys.executable, __file__, "--read", str(folder / suffix)], check=True, capture_output=True, text=True
            )
            found.append(json.loads(done.stdout))
            print(f"{suffix} {millions} M:", ", ".join(f"{k} {v:.1f}" for k, v in found[-1].items()))
        small, large = found
        growth = ", ".join(f"{k} x{large[k] / small[k]:.1f}" for k in ("counted_s", "processor_s", "memory_mb"))
        print(f"{suffix} growth from {MILLIONS[0]} to {MILLIONS[1]} M: {growth}")


if __name__ == "__main__":
    main()
