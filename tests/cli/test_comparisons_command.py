"""`caig comparisons` on a command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_log() -> None:
    rows = [f"p{p},{p}-{k},{2000 + p},{40 + 6 * k + p}" for p in range(6) for k in range(3)]
    Path("log.csv").write_text("\n".join(["product_id,Ad,impressions,clicks", *rows, "p9,x,1,2"]))
    for p in range(6):
        for k in range(3):
            Path(f"{p}-{k}.png").touch()


BASE = ("comparisons", "--clicks", "log.csv", "--images", ".", "--out", "out", "--map", "creative_id=Ad")


def test_it_prints_the_ceiling_and_what_was_left_out(caig: Callable) -> None:
    write_log()
    done = caig(*BASE)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith("18 creatives of 6 products, 18 pairs, 18 kept:")
    assert any(line.startswith("noise ceiling 0.") and line.endswith("(n=18)") for line in lines)
    assert any(line.startswith("1 rows left out: clicks: expected at most the impressions") for line in lines)
    assert any(line.startswith("confounded: ") for line in lines)
    assert lines[-1] == "out" and sorted(p.name for p in Path("out").iterdir()) == [
        "comparisons.parquet",
        "report.json",
    ]


def test_a_preset_and_what_goes_before_it(caig: Callable) -> None:
    write_log()
    kept = {}
    for options in ((), ("--preset", "caig-published"), ("--preset", "caig-published", "--max-ratio", "1.14")):
        kept[options] = int(caig(*BASE, *options).out.split(" pairs, ")[1].split()[0])
    assert sorted(kept.values(), reverse=True) == list(kept.values()) and len(set(kept.values())) == 3
    done = caig(*BASE, "--preset", "caig-published", "--more-than", "5000")
    assert done.code == 2 and done.err.startswith("error: log.csv: expected a pair of creatives")


def test_a_wrong_map(caig: Callable) -> None:
    write_log()
    assert "--map: expected FIELD=COLUMN, got 'Ad'" in caig(*BASE[:-1], "Ad").err
    assert "a column among product_id, Ad" in caig(*BASE, "--map", "clicks=Clicks").err
