import json

import polars
import pytest

from caig.data.clicks import find_image, read_clicks
from caig.errors import CatalogError
from caig.types import ClickCounts

HEADER = "product_id,creative_id,image,impressions,clicks"


def write(folder, *rows, header=HEADER):
    (folder / "a.png").touch()
    path = folder / "log.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_reads_counts_and_keeps_the_order(tmp_path):
    log = read_clicks(write(tmp_path, "p1,y,a.png,1000,31", "p1,x,a.png,500,0"))
    assert [c.creative_id for c in log.creatives] == ["y", "x"]
    assert log.creatives[0].counts == ClickCounts(clicks=31, impressions=1000)
    assert log.rejected == ()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("p1,x,a.png,10,11", "clicks: expected at most the 10 impressions, got 11"),
        ("p1,x,a.png,-10,0", "impressions: expected a whole number from 0, got '-10'"),
        ("p1,x,a.png,10,1.5", "clicks: expected a whole number from 0, got '1.5'"),
        ("p1,x,a.png,10,nan", "clicks: expected a whole number from 0, got 'nan'"),
        ("p1,x,a.png,inf,1", "impressions: expected a whole number from 0, got 'inf'"),
        ("p1,x,a.png,10,", "clicks: expected a whole number from 0, got ''"),
        (",x,a.png,10,1", "product_id: expected a text, got an empty one"),
        ("p1,x,gone.png,10,1", "image: expected a file in the data folder or beside the log, got 'gone.png'"),
        ("p1,good,a.png,10,1", "creative_id: expected each once, got 'good' as in row 1"),
        ("p1,x,a.png", "row: expected 5 cells, got 3"),
    ],
)
def test_a_broken_row_is_listed_with_its_reason(tmp_path, row, reason):
    log = read_clicks(write(tmp_path, "p1,good,a.png,100,3", row))
    assert [c.creative_id for c in log.creatives] == ["good"]
    assert [(r.row, r.reason.startswith(reason)) for r in log.rejected] == [(2, True)], log.rejected


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("product_id,creative_id,image,impressions", "got no 'clicks'"),
        (f"{HEADER},ctr", "got also 'ctr'"),
        ("product_id,creative_id,image,impressions,click", "got no 'clicks'; also 'click'"),
    ],
)
def test_columns_must_match(tmp_path, header, message):
    cells = ",".join("1" * (header.count(",") + 1))
    with pytest.raises(CatalogError, match=message):
        read_clicks(write(tmp_path, cells, header=header))


def test_a_log_without_a_usable_row_is_an_error(tmp_path):
    with pytest.raises(CatalogError, match="none; row 1: clicks: expected at most the 1"):
        read_clicks(write(tmp_path, "p1,x,a.png,1,2"))


def test_json_lines_and_parquet_read_the_same(tmp_path):
    csv = read_clicks(write(tmp_path, "p1,x,a.png,100,3", "p1,y,a.png,200,9"))
    rows = [
        {"product_id": "p1", "creative_id": "x", "image": "a.png", "impressions": 100, "clicks": 3},
        {"product_id": "p1", "creative_id": "y", "image": "a.png", "impressions": 200.0, "clicks": 9},
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)))
    polars.DataFrame(rows, strict=False).write_parquet(tmp_path / "log.parquet")
    assert read_clicks(tmp_path / "log.jsonl") == csv
    assert read_clicks(tmp_path / "log.parquet") == csv


def test_images_are_looked_for_in_the_roots_first(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    (tmp_path / "two" / "s.tar").touch()
    folders = [tmp_path / "one", tmp_path / "two"]
    assert find_image("s.tar#a.webp", folders) == tmp_path / "two" / "s.tar"
    assert find_image("t.tar#a.webp", folders) is None
