"""`caig comparisons` as a recipe: what it writes, what each setting does, and that nothing half-done is left."""

import json

import numpy as np
import polars as pl
import pytest

from caig.errors import InputError
from caig.recipes import comparisons
from caig.recipes.comparisons import PRESETS, Config, run


@pytest.fixture
def log(tmp_path):
    """30 products of three creatives over four days; the third is clicked most, always or in the second half."""
    rng, rows = np.random.default_rng(0), []
    for product in range(30):
        for k in range(3):
            (tmp_path / f"{product}-{k}.png").touch()
            for day in range(1, 5):
                shown = 200 if product % 2 else 400
                rate = 0.02 + 0.01 * k if product % 3 or day > 2 else 0.03 - 0.01 * k
                rows.append((f"p{product}", f"{product}-{k}", f"2026-01-0{day}", shown, int(rng.binomial(shown, rate))))
    names = ["product_id", "creative_id", "day", "impressions", "clicks"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(tmp_path / "log.csv")
    return tmp_path


def config(log, **fields):
    return Config(**{"clicks": str(log / "log.csv"), "images": log, "out": log / "out"} | fields)


def test_the_table_and_the_report(log):
    report = run(config(log))
    table = pl.read_parquet(log / "out" / "comparisons.parquet")
    assert len(table) == report.pairs == 90 and report.kept == {s: (table["split"] == s).sum() for s in report.kept}
    row = table.row(0, named=True)
    assert (row["product_id"], row["first"], row["second"], row["first_image"]) == ("p0", "0-0", "0-1", "0-0.png")
    assert row["first_impressions"] == 1600 and 0 < row["first_effective_clicks"]
    assert row["weight"] == pytest.approx(abs(2 * row["first_better"] - 1))
    assert table.group_by("product_id").agg(pl.col("split").n_unique())["split"].max() == 1
    written = json.loads((log / "out" / "report.json").read_text())
    assert written["ceiling"][0]["value"] == report.ceiling[0].value
    assert written["config"]["clicks"] == "log.csv" and str(log) not in json.dumps(written["config"])
    assert "noise ceiling 0." in str(report) and "confounded: the log does not say position, group" in str(report)


def test_missing_pictures_are_left_out_and_reported(log):
    (log / "0-0.png").unlink()
    report = run(config(log))
    assert report.pairs == 88
    assert "1 creatives left out: image: expected one file" in str(report)


def test_the_published_filter(log):
    report = run(config(log, **PRESETS["caig-published"]))
    table = pl.read_parquet(log / "out" / "comparisons.parquet")
    assert 0 < len(table) < 90 and report.ceiling[0].n == len(table)
    assert table["ratio"].is_between(1.05, 1.20).all()
    assert table.select(pl.min_horizontal("first_impressions", "second_impressions")).min().item() > 1000


def test_windows_tell_which_orders_last(log):
    run(config(log, window=2))
    table = pl.read_parquet(log / "out" / "comparisons.parquet")
    third = pl.col("product_id").str.slice(1).cast(pl.Int64) % 3 == 0
    shares = [table.filter(kind)["window_agreement"].mean() for kind in (third, ~third)]
    assert shares[0] < 0.75 < shares[1]
    run(config(log, window=2, agreement=1.0))
    lasting = pl.read_parquet(log / "out" / "comparisons.parquet")
    assert len(lasting) == (table["window_agreement"] == 1).sum() < 90


def test_the_seed_moves_the_interval_only(log):
    first, second = run(config(log)).ceiling[0], run(config(log, seed=1)).ceiling[0]
    assert first.value == second.value and first.low != second.low


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"agreement": 0.5}, "--agreement: expected --window too"),
        ({"ratio": (0.9, 2)}, "filter: expected"),
        ({"window": -1}, "filter: expected"),
        ({"more_than": 10**9}, "expected a pair of creatives of one product within the filter, got none of 90 pairs"),
    ],
)
def test_settings_out_of_range(log, fields, message):
    with pytest.raises(InputError, match=message):
        run(config(log, **fields))
    assert not (log / "out").exists()


def test_windows_need_days(log):
    pl.read_csv(log / "log.csv").filter(pl.col("day") == "2026-01-01").drop("day").write_csv(log / "flat.csv")
    with pytest.raises(InputError, match="--window: expected a log with days"):
        run(config(log, clicks=str(log / "flat.csv"), window=1))


def test_an_older_result_stays_when_the_new_one_fails(log, monkeypatch):
    run(config(log))
    before = (log / "out" / "report.json").read_bytes()
    monkeypatch.setattr(comparisons, "to_json", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(config(log))
    assert (log / "out" / "report.json").read_bytes() == before
