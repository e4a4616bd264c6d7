"""Readers of click logs: every shape gives the same counts, and whatever is left out is counted and listed."""

import json
from datetime import datetime

import fsspec
import polars as pl
import pytest

from caig.data import clicks
from caig.data.clicks import read_clicks
from caig.data.images import Images, find_image
from caig.errors import CatalogError
from caig.types import ClickCounts

HEADER = "product_id,creative_id,image,impressions,clicks"
IMPRESSIONS = "impression_id,product_id,creative_id,at,clicked,position,propensity,group"


def write(folder, *rows, header=HEADER, name="log.csv"):
    (folder / "a.png").touch()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def counted(log):
    return {c.creative_id: (c.counts.clicks, c.counts.impressions) for c in log.creatives}


def test_counts_per_creative_in_order_of_ids(tmp_path):
    log = read_clicks(write(tmp_path, "p1,y,a.png,1000,31", "p1,x,a.png,500,0"), images=[])
    assert counted(log) == {"x": (0, 500), "y": (31, 1000)}
    assert log.creatives[1].counts == log.creatives[1].effective == ClickCounts(clicks=31, impressions=1000)
    assert log.creatives[0].image == "a.png" and log.rejected == ()
    assert "confounded: the log does not say position, day, group" in log.remarks[0]
    assert "propensity" in log.remarks[0]


@pytest.mark.parametrize(
    ("row", "reason", "example"),
    [
        ("p1,x,a.png,10,11", "clicks: expected at most the impressions", "log.csv row 2: creative 'x', got '11'"),
        ("p1,x,a.png,-10,0", "impressions: expected a whole number from 0", "got '-10'"),
        ("p1,x,a.png,10,1.5", "clicks: expected a whole number from 0", "got '1.5'"),
        ("p1,x,a.png,10,nan", "clicks: expected a whole number from 0", "got 'nan'"),
        ("p1,x,a.png,inf,1", "impressions: expected a whole number from 0", "got 'inf'"),
        ("p1,x,a.png,10,", "clicks: expected a whole number from 0", "got ''"),
        ("p1,x,a.png", "impressions: expected a whole number from 0", "got ''"),
        ("p1,x,a.png,10,1,7", "row: expected one cell for each column", "row 2"),
        (",x,a.png,10,1", "product_id: expected a text", "got ''"),
        ('p1,"x\ny",a.png,10,1', "creative_id: expected one line", "row 2"),
        ("p1,x,gone.png,10,1", "image: expected one file in", "creative 'x', got 'gone.png'"),
        ("p1,good,a.png,10,1", "creative_id: expected each once", "log.csv row 2: creative 'good'"),
    ],
)
def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path, row, reason, example):
    log = read_clicks(write(tmp_path, "p1,good,a.png,100,3", row), images=[])
    assert counted(log) == {"good": (3, 100)}
    assert [(r.reason.startswith(reason), r.count) for r in log.rejected] == [(True, 1)], log.rejected
    assert example in log.rejected[0].examples[0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("i1,p1,x,2026-01-31T10:00:00,2,1,0.5,g", "clicked: expected 0 or 1"),
        ("i1,p1,x,yesterday,1,1,0.5,g", "at: expected a time"),
        ("i1,p1,x,2026-01-31T10:00:00,1,1,0,g", "propensity: expected a probability"),
        ("i1,p1,x,2026-01-31T10:00:00,1,1,1.01,g", "propensity: expected a probability"),
        (",p1,x,2026-01-31T10:00:00,1,1,0.5,g", "impression_id: expected a text"),
        ("i0,p1,x,2026-01-31T10:00:00,1,1,0.5,g", "impression_id: expected each once"),
    ],
)
def test_broken_impressions_are_listed(tmp_path, row, reason):
    log = read_clicks(write(tmp_path, "i0,p1,good,2026-01-31T09:00:00,1,1,0.5,g", row, header=IMPRESSIONS))
    assert counted(log) == {"good": (1, 1)}
    assert [(r.reason.startswith(reason), r.count) for r in log.rejected] == [(True, 1)], log.rejected


def test_a_creative_of_several_products_belongs_to_none(tmp_path):
    log = read_clicks(write(tmp_path, "p1,x,a.png,10,1", "p2,x,a.png,10,1", "p2,y,a.png,10,1"))
    assert counted(log) == {"y": (1, 10)}
    assert log.rejected[0].examples == ("creative 'x' of p1, p2",)


def test_rejections_are_counted_beyond_the_examples_and_across_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(clicks, "BATCH", 10)
    rows = [f"i{n},p1,x,2026-01-31T10:00:00,{2 if n % 2 else 1},1,0.5,g" for n in range(100)]
    twice = [row for row in rows if ",1,1," in row]
    log = read_clicks(write(tmp_path, *rows, *twice, header=IMPRESSIONS))
    assert counted(log) == {"x": (50, 50)}
    by_reason = {r.reason.partition(":")[0]: r for r in log.rejected}
    assert by_reason["clicked"].count == 50 and len(by_reason["clicked"].examples) == clicks.EXAMPLES
    assert by_reason["impression_id"].count == 50
    assert by_reason["impression_id"].examples[0] == "log.csv row 101: creative 'x', got 'i0'"


def impressions(n=60):
    return pl.DataFrame(
        {
            "impression_id": range(n),
            "product_id": ["p1"] * n,
            "creative_id": [f"c{i % 3}" for i in range(n)],
            "at": [datetime(2026, 1, 1 + i // 30, 12) for i in range(n)],
            "clicked": [i % 7 == 0 for i in range(n)],
            "position": [i % 2 + 1 for i in range(n)],
            "group": ["g"] * n,
        }
    )


def as_parquet(frame, folder):
    frame.write_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def as_csv(frame, folder):
    frame.write_csv(folder / "log.csv")
    return folder / "log.csv"


def as_semicolons(frame, folder):
    (folder / "log.csv").write_text("\ufeff" + frame.write_csv(separator=";", line_terminator="\r\n"))
    return folder / "log.csv"


def as_json_lines(frame, folder):
    frame.with_columns(pl.col("at").dt.to_string("iso:strict")).write_ndjson(folder / "log.jsonl")
    return folder / "log.jsonl"


def as_json(frame, folder):
    rows = frame.with_columns(pl.col("at").dt.to_string("iso:strict")).to_dicts()
    (folder / "log.json").write_text(json.dumps(rows))
    return folder / "log.json"


def as_partitions(frame, folder):
    for day, part in frame.with_columns(pl.col("at").dt.date()).partition_by("at", as_dict=True).items():
        path = folder / "log" / f"day={day[0]}" / "part-0.parquet"
        path.parent.mkdir(parents=True)
        part.drop("at").write_parquet(path)
    return folder / "log"


def as_url(frame, folder):
    files = fsspec.filesystem("memory")
    with files.open("/bucket/log/part-0.csv", "wb") as file:
        file.write(frame.write_csv().encode())
    return "memory://bucket/log"


@pytest.mark.parametrize(
    "written",
    [as_parquet, as_csv, as_semicolons, as_json_lines, as_json, as_partitions, as_url],
    ids=lambda f: f.__name__,
)
def test_every_format_gives_the_same_log(tmp_path, written):
    expected = clicks.clicks_of(impressions())
    log = read_clicks(written(impressions(), tmp_path))
    assert log.creatives == expected.creatives
    assert counted(log) == {"c0": (3, 20), "c1": (3, 20), "c2": (3, 20)}
    assert log.days.sort("creative_id", "day")["day"].n_unique() == 2


def test_creative_ranking_json(tmp_path):
    items = [
        {"creative_id": 7, "creative_image_hash": "ab12", "exp_impression_cnt": 900, "exp_click_cnt": 20},
        {"creative_id": 8, "creative_image_hash": "cd34", "exp_impression_cnt": 800, "exp_click_cnt": 30},
    ]
    (tmp_path / "list.json").write_text(json.dumps({"item 1": items}))
    for name in ("ab12.jpg", "cd34.jpg"):
        (tmp_path / name).touch()
    log = read_clicks(tmp_path / "list.json", images=[tmp_path])
    assert [(c.product_id, c.creative_id, c.image) for c in log.creatives] == [
        ("item 1", "7", "ab12.jpg"),
        ("item 1", "8", "cd34.jpg"),
    ]
    assert counted(log) == {"7": (20, 900), "8": (30, 800)}


def test_an_ad_managers_export(tmp_path):
    """A title and a date range above the header, thousands with commas, a total below, ids in the files' names."""
    (tmp_path / "export.csv").write_text(
        "Ad report\n1 January 2026 - 31 January 2026\n"
        'Campaign name,Ad ID,Day,Impressions,Link clicks,Spend\nMug,23-1,2026-01-01,"1,200",30,4.5\n'
        'Mug,23-1,2026-01-02,800,10,4.5\nMug,23-2,2026-01-01,"2,000",20,3\n,,,"4,000",60,12\n'
    )
    for name in ("mug_23-1_v2.png", "mug 23-2.JPG"):
        (tmp_path / name).touch()
    names = {"product_id": "Campaign name", "creative_id": "Ad ID", "clicks": "Link clicks"}
    log = read_clicks(tmp_path / "export.csv", images=[tmp_path], mapping=names)
    assert counted(log) == {"23-1": (40, 2000), "23-2": (20, 2000)}
    assert [c.image for c in log.creatives] == ["mug_23-1_v2.png", "mug 23-2.JPG"]
    assert [r.count for r in log.rejected] == [1]
    assert log.remarks[0] == "columns not used: Spend"


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        ("product_id,creative_id,image,impressions", {}, "got none for clicks among product_id"),
        (HEADER, {"clicks": "Clicks"}, "a column among .*got 'Clicks'"),
        (HEADER, {"click": "clicks"}, "a field among .*got 'click'"),
        ("product_id,product_id,creative_id,impressions,clicks", {}, "'product_id' more than once"),
    ],
)
def test_columns_must_be_there(tmp_path, header, mapping, message):
    with pytest.raises(CatalogError, match=message):
        read_clicks(write(tmp_path, ",".join("1" * (header.count(",") + 1)), header=header), mapping=mapping)


def test_faults_of_the_whole_log(tmp_path):
    with pytest.raises(CatalogError, match="got none; 1 rows left out: clicks: expected at most the impressions"):
        read_clicks(write(tmp_path, "p1,x,a.png,1,2"))
    with pytest.raises(CatalogError, match="expected a file or folder, got none there"):
        read_clicks(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\np1,\xe9,a.png,1,0\n".encode("latin-1"))
    with pytest.raises(CatalogError, match="UTF-8"):
        read_clicks(tmp_path / "latin.csv")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(CatalogError, match="cannot be read"):
        read_clicks(tmp_path / "log.parquet")
    write(tmp_path, "p1,x,a.png,9,1", name="both/a.csv")
    write(tmp_path, "i0,p1,x,2026-01-31,1,1,1,g", header=IMPRESSIONS, name="both/b.csv")
    with pytest.raises(CatalogError, match="rows per impression or rows per creative, got both"):
        read_clicks(tmp_path / "both")
    for name, header in (("a", IMPRESSIONS), ("b", IMPRESSIONS.replace("propensity", "ignored"))):
        write(tmp_path, f"{name},p1,x,2026-01-31,1,1,1,g", header=header, name=f"some/{name}.csv")
    with pytest.raises(CatalogError, match="propensities in all files or none"):
        read_clicks(tmp_path / "some")
    with pytest.raises(CatalogError, match="files behind the URL"):
        read_clicks("memory://nowhere/log.csv")


def test_a_broken_json_line_costs_that_line_only(tmp_path):
    lines = ['{"product_id": "p1", "creative_id": "x", "impressions": 9, "clicks": 1}', '{"product_id": "p1", ']
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    log = read_clicks(tmp_path / "log.jsonl")
    assert counted(log) == {"x": (1, 9)}
    assert log.rejected[0].reason.startswith("row: expected one cell for each column")


def test_images_by_name_then_by_id_and_never_by_an_ambiguous_one(tmp_path):
    for name in ("one/ad 7-b_large.png", "one/7.png", "two/8 left.png", "two/8 right.png", "two/s.tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = Images([tmp_path / "one", tmp_path / "two"])
    assert images.name_of("7-b", "") == "ad 7-b_large.png"
    assert images.name_of("7", "") == "7.png"  # a whole name goes before a part of one
    assert images.name_of("8", "") is None
    assert images.name_of("b_l", "") is None  # no whole words
    assert images.name_of("x", "s.tar#a.webp") == "s.tar#a.webp"
    assert find_image("s.tar#a.webp", images.folders) == tmp_path / "two" / "s.tar"
    assert find_image("t.tar#a.webp", images.folders) is None
