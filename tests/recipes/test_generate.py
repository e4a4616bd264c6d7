"""A run of ads: files and manifest, resume, changed settings, failures that stay alone, folders that are not ours."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caig.artifacts import content_hash
from caig.data.catalog import RejectedRow
from caig.errors import CutoutError, InputError
from caig.imaging.promises import LEAST, MOST
from caig.recipes.generate import Config, duration, job_key, run
from caig.recipes.generate_report import Report, write_strip
from caig.recipes.likeness import read_likeness
from caig.types import Box, Direction, LayerFormat, Placement, Product
from tests.recipes.fake_pipeline import MEASURED, PALETTE, FakePipeline

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture
def products(tmp_path: Path) -> list[Product]:
    folder = tmp_path / "photos"
    folder.mkdir()
    found = []
    for number, name in enumerate(("wine", "a/b", "milk")):
        photo = Image.new("RGB", (40, 60), "white")
        photo.paste((50 * number, 90, 120), (10, 10, 30, 50))
        photo.save(folder / f"{number}.png")
        found.append(Product(id=name, title=f"Title of <{name}>", category="drinks", image=folder / f"{number}.png"))
    return found


def small(tmp_path: Path, **changes: Any) -> Config:
    return Config(**{"out": tmp_path / "out", "n": 2, "size": (72, 64)} | changes)


def files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`; the seconds that a run took are taken out, they may differ."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: re.sub(rb'"seconds": \{[^}]*\}', b"", content) for name, content in found.items()}


def manifest(report: Report) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (report.out / "manifest.jsonl").read_text().split("\n") if line]


def test_files_and_manifest(tmp_path: Path, products: list[Product]) -> None:
    report = run(small(tmp_path), FakePipeline(), products, progress=QUIET)
    assert report.exit_code == 0
    assert sorted(files(report.out)) == sorted(
        ["index.html", "manifest.jsonl"]
        + [
            f"{folder}/{name}"
            for folder in ("wine", "a%2Fb", "milk")
            for name in ("manifest.jsonl", "rank-1.png", "rank-2.png")
        ]
    )
    line = manifest(report)[1]
    data = (report.out / "wine/rank-2.png").read_bytes()
    with Image.open(report.out / "wine/rank-2.png") as picture:
        pixels = np.asarray(picture)
    assert {key: value for key, value in line.items() if key not in ("job", "caig_version")} == {
        "status": "done",
        "product_id": "wine",
        "title": "Title of <wine>",
        "category": "drinks",
        "rank": 2,
        "file": "wine/rank-2.png",
        "file_hash": content_hash(data),
        "layers": None,
        "creative_id": content_hash(pixels),
        "description": "<b>scene</b> 2",
        "description_author": "prompts",
        "description_seed": 2,
        "negative": "",
        "theme": "",
        "clear": None,
        "like": None,
        "seed": 20,
        "palette": {"mean": [60.0, 1.0, 2.0], "spread": [10.0, 3.0, 4.0]},
        "size": [72, 64],
        "placement": {"scale": 0.5, "x": 0.5, "y": 0.8},
        "digital_source_type": "compositeWithTrainedAlgorithmicMedia",
        "predicted_ctr": {
            "name": "simulated CTR",
            "value": 0.02,
            "low": 0.01,
            "high": 0.04,
            "utility": -2,
            "basis": "simulated",
        },
        "fidelity": MEASURED,
        "promises": {
            "broken": [],
            "rolls": 1,
            "limits": {"at_most": dict(MOST), "at_least": dict(LEAST)},
            "tries": [{"seed": 20} | MEASURED],
        },
        "seconds": {"paint": 0.123},
        "models": FakePipeline().models(),
    }
    assert manifest(report)[2:4] == [
        json.loads(text) for text in (report.out / "a%2Fb/manifest.jsonl").read_text().splitlines()
    ]


def test_a_cut_run_goes_on_and_equals_an_uncut_one(tmp_path: Path, products: list[Product]) -> None:
    uncut = run(small(tmp_path, out=tmp_path / "uncut"), FakePipeline(), products, progress=QUIET)
    config = small(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(config, FakePipeline(cut_at="milk"), products, progress=QUIET)
    assert sorted(path.name for path in config.out.iterdir()) == ["a%2Fb", "wine"]
    second = FakePipeline()
    report = run(config, second, products, progress=QUIET)
    assert second.calls == ["milk"]
    assert report.kept == 2
    assert files(config.out) == files(uncut.out)


def test_nothing_is_done_twice_and_the_pages_are_the_same(tmp_path: Path, products: list[Product]) -> None:
    config, again = small(tmp_path), FakePipeline()
    run(config, FakePipeline(), products, progress=QUIET)
    before = files(config.out)
    assert run(config, again, products, progress=QUIET).kept == 3
    assert again.calls == []
    assert files(config.out) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 3},
        {"size": (64, 64)},
        {"seed": 1},
        {"placement": Placement(scale=0.4)},
        {"rolls": 2},
        {"direction": Direction(theme="spa")},
        {"direction": Direction(negative="fruit")},
        {"direction": Direction(clear=Box(x=0, y=0, w=1, h=0.3))},
        {"direction": Direction(palette=PALETTE)},
        {"format": "webp"},
        {"quality": 80},
        {"digital_source_type": "trainedAlgorithmicMedia"},
    ],
)
def test_a_changed_setting_makes_the_ads_again(
    tmp_path: Path, products: list[Product], changes: dict[str, Any]
) -> None:
    run(small(tmp_path), FakePipeline(), products[:1], progress=QUIET)
    pipeline = FakePipeline()
    report = run(small(tmp_path, **changes), pipeline, products[:1], progress=QUIET)
    assert pipeline.calls == ["wine"]
    assert len(list((report.out / "wine").glob("rank-*"))) == len(report.ads)


def test_every_input_and_model_is_part_of_the_key(tmp_path: Path, products: list[Product]) -> None:
    config, pipeline, product = small(tmp_path), FakePipeline(), products[0]
    assert isinstance(product.image, Path)
    key = job_key(config, pipeline, product)
    assert key == job_key(small(tmp_path, out=tmp_path / "elsewhere"), pipeline, replace(product))
    assert key != job_key(config, pipeline, replace(product, category="wine"))
    assert key != job_key(config, pipeline, replace(product, title="Wine"))
    assert key != job_key(config, pipeline, replace(product, attributes={"color": "red"}))
    assert key != job_key(config, pipeline, replace(product, mask=product.image))
    pipeline.cutout = "rembg"
    assert key != job_key(config, pipeline, product)
    pipeline.cutout, pipeline.reward = "auto", "r2"
    assert key != job_key(config, pipeline, product)
    pipeline.reward = "r1"
    assert key == job_key(config, pipeline, product)
    Image.new("RGB", (40, 60), "white").save(product.image)
    assert key != job_key(config, pipeline, product)


def test_a_damaged_file_is_made_again(tmp_path: Path, products: list[Product]) -> None:
    config, pipeline = small(tmp_path), FakePipeline()
    run(config, FakePipeline(), products, progress=QUIET)
    (config.out / "wine/rank-2.png").write_bytes(b"half a pic")
    (config.out / "milk/rank-1.png").unlink()
    run(config, pipeline, products, progress=QUIET)
    assert pipeline.calls == ["wine", "milk"]


def test_a_bad_product_fails_alone(tmp_path: Path, products: list[Product]) -> None:
    fault = CutoutError("0.png", expected="a plain ground", got="a busy one", next_step="Give a mask.")
    pipeline = FakePipeline({"wine": fault, "milk": ValueError("sur\nprise\n")})
    photo = tmp_path / "photos/0.png"
    rejected = [RejectedRow(row=4, id="", title="<i>No id", reason="id: expected a text", image=photo)]
    report = run(small(tmp_path), pipeline, products, rejected=rejected, progress=QUIET)
    assert report.exit_code == 1
    assert [line["product_id"] for line in report.ads] == ["a/b", "a/b"]
    failed = [line for line in manifest(report) if line["status"] == "failed"]
    assert [(line["product_id"], line.get("row"), line["reason"]) for line in failed] == [
        ("wine", None, "0.png: expected a plain ground, got a busy one. Give a mask."),
        ("milk", None, "unexpected ValueError: sur prise"),
        ("", 4, "id: expected a text"),
    ]
    assert "prise" in failed[1]["traceback"] and "traceback" not in failed[0]
    assert all(line["thumbnail"].startswith("data:image/webp;base64,") for line in failed)
    assert sorted(path.name for path in report.out.iterdir()) == ["a%2Fb", "index.html", "manifest.jsonl"]
    page = (report.out / "index.html").read_text()
    for text in ("a busy one", "sur prise", "row 4", "<i>No id", "3 products failed"):
        assert text in unescape(page)
    assert page.count(failed[0]["thumbnail"]) == 2  # of wine and of the row with the same photo


def test_a_strict_run_raises_and_writes_nothing(tmp_path: Path, products: list[Product]) -> None:
    fault = CutoutError("0.png", expected="a plain ground", got="a busy one", next_step="Give a mask.")
    with pytest.raises(CutoutError):
        run(small(tmp_path), FakePipeline({"wine": fault}), products[:1], strict=True, progress=QUIET)
    assert not (tmp_path / "out").exists()


def test_the_page_stands_alone_and_escapes_texts(tmp_path: Path, products: list[Product]) -> None:
    report = run(small(tmp_path), FakePipeline(), products, progress=QUIET)
    page = (report.out / "index.html").read_text()
    assert set(re.findall(r'src="([^:]*):', page)) == {"data"}
    assert re.findall(r'href="([^"#]*)"', page)[:3] == ["wine/rank-1.png", "wine/rank-2.png", "a%252Fb/rank-1.png"]
    assert "Title of &lt;wine&gt;" in page and "&lt;b&gt;scene&lt;/b&gt; 1" in page
    assert "<b>scene" not in page and "<script" not in page
    assert "simulated CTR" in page and "simulated click log" in page
    assert "<strong>4.0 %</strong>" in page and "95 % interval 2.0 to 8.0 %" in page
    assert all('alt="' in tag for tag in re.findall(r"<img[^>]*>", page))


def test_broken_promises_and_rolls_are_shown(tmp_path: Path, products: list[Product]) -> None:
    lines: list[str] = []
    pipeline = FakePipeline()
    pipeline.rolls, pipeline.still = 3, ("product extended", "halo")
    report = run(small(tmp_path), pipeline, products[:1], progress=lines.append)
    assert lines[-1].endswith("%), 2 ads painted again, 2 still with: product extended, halo")
    assert "painted 3 times; still: product extended, halo" in (report.out / "index.html").read_text()
    promises = manifest(report)[0]["promises"]
    assert (promises["rolls"], promises["broken"]) == (3, ["product extended", "halo"])
    assert [one["seed"] for one in promises["tries"]] == [10, 11, 12]
    quiet = run(small(tmp_path, out=tmp_path / "quiet"), FakePipeline(), products[:1], progress=lines.append)
    assert "painted" not in lines[-1] and "times; still" not in (quiet.out / "index.html").read_text()


def test_a_creative_is_found_again_by_picture_and_by_id(tmp_path: Path, products: list[Product]) -> None:
    report = run(small(tmp_path), FakePipeline(), products[:2], progress=QUIET)
    line = manifest(report)[3]
    by_picture, by_id = (
        read_likeness(name, report.out) for name in (str(report.out / line["file"]), line["creative_id"])
    )
    assert by_picture == by_id
    assert (by_id.description.text, by_id.seed, by_id.palette) == ("<b>scene</b> 2", 20, PALETTE)


@pytest.mark.parametrize("name", ["nowhere", "photos/0.png"])
def test_a_creative_that_is_not_there(tmp_path: Path, products: list[Product], name: str) -> None:
    with pytest.raises(InputError, match="like: expected an ad's picture beside its manifest, or the id of a creative"):
        read_likeness(str(tmp_path / name), tmp_path / "out")


def test_a_manifest_of_another_kind(tmp_path: Path, products: list[Product]) -> None:
    (tmp_path / "photos/manifest.jsonl").write_text('{"file": "0.png"}\n')
    with pytest.raises(InputError, match="expected a line of caig's manifest.jsonl, got one without 'product_id'"):
        read_likeness(str(tmp_path / "photos/0.png"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["ora", "psd"])
def test_layers_lie_beside_the_ads(tmp_path: Path, products: list[Product], kind: LayerFormat) -> None:
    report = run(small(tmp_path, layers=kind), FakePipeline(), products[:1], progress=QUIET)
    for rank, line in enumerate(report.ads, 1):
        assert line["layers"] == f"wine/rank-{rank}.{kind}"
        assert (report.out / line["layers"]).read_bytes()[:2] == {"ora": b"PK", "psd": b"8B"}[kind]


def test_missing_layers_are_made_again(tmp_path: Path, products: list[Product]) -> None:
    config, again = small(tmp_path, layers="ora"), FakePipeline()
    run(config, FakePipeline(), products[:1], progress=QUIET)
    (config.out / "wine/rank-2.ora").unlink()
    assert run(config, again, products[:1], progress=QUIET).kept == 0
    assert again.calls == ["wine"] and (config.out / "wine/rank-2.ora").is_file()


def test_ads_of_another_job_are_kept_where_asked(tmp_path: Path, products: list[Product]) -> None:
    run(small(tmp_path), FakePipeline(), products[:1], progress=QUIET)
    before, again = files(tmp_path / "out"), FakePipeline()
    assert run(small(tmp_path), again, products[:1], overwrite=False, progress=QUIET).kept == 1
    with pytest.raises(InputError, match="wine: expected .* got ads of another job. Choose another --out."):
        run(small(tmp_path, seed=1), again, products[:1], overwrite=False, progress=QUIET)
    assert again.calls == [] and files(tmp_path / "out") == before


@pytest.mark.parametrize(("format", "suffix", "kind"), [("webp", ".webp", "WEBP"), ("jpeg", ".jpg", "JPEG")])
def test_other_formats(tmp_path: Path, products: list[Product], format: str, suffix: str, kind: str) -> None:
    report = run(small(tmp_path, format=format), FakePipeline(), products[:1], progress=QUIET)
    assert report.ads[0]["file"] == f"wine/rank-1{suffix}"
    with Image.open(report.out / report.ads[0]["file"]) as picture:
        assert picture.format == kind
        decoded = np.asarray(picture).astype(float)
    # the 20x40 product is scaled to 32 high, 16 wide, its base at 0.8 x 64; the middle of it is core for sure
    error = (decoded - (40 * np.ones((64, 72, 1)))).reshape(64, 72, 3)[25:45, 30:42]
    stripes = np.zeros((64, 72, 3))
    stripes[::2, ::3] = len("Title of <wine>") - 40
    error -= stripes[25:45, 30:42]
    middle = 10 * np.log10(255**2 / (error**2).mean())
    print(f"required: core PSNR within 3 dB of its middle's {middle:.1f}, measured: {report.ads[0]['fidelity'].psnr}")
    assert abs(report.ads[0]["fidelity"].psnr - middle) < 3
    coarse = run(small(tmp_path, format=format, quality=20), FakePipeline(), products[:1], progress=QUIET)
    assert coarse.ads[0]["fidelity"].psnr < report.ads[0]["fidelity"].psnr


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("out", "expected a folder, got the file "),
        ("out/index.html", "of an earlier run, got one with a index.html of something else. Choose another --out."),
        ("out/manifest.jsonl", "of an earlier run, got one with a manifest.jsonl of something else. Choose another"),
    ],
)
def test_files_of_others_are_left_alone(tmp_path: Path, products: list[Product], path: str, message: str) -> None:
    file, pipeline = tmp_path / path, FakePipeline()
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    with pytest.raises(InputError) as caught:
        run(small(tmp_path), pipeline, products, progress=QUIET)
    assert message in str(caught.value)
    assert (file.read_text(), pipeline.calls) == ("mine", [])


def test_a_folder_of_others_is_never_replaced(tmp_path: Path, products: list[Product]) -> None:
    mine = tmp_path / "out/wine/thesis.tex"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    report = run(small(tmp_path), FakePipeline(), products, progress=QUIET)
    assert [line["product_id"] for line in report.failures] == ["wine"]
    assert "something that caig did not write" in report.failures[0]["reason"]
    assert mine.read_text() == "mine"


def test_progress_says_what_is_left(tmp_path: Path, products: list[Product]) -> None:
    lines: list[str] = []
    fault = CutoutError("1.png", expected="a plain ground", got="a busy one", next_step="Give a mask.")
    run(small(tmp_path), FakePipeline(), products[:1], progress=QUIET)
    run(small(tmp_path), FakePipeline({"a/b": fault}), products, progress=lines.append)
    assert [re.sub(r"about \d+ s left", "about S s left", line) for line in lines] == [
        f"2 products to do, 1 done before: 2 ads of 72x64 each into {tmp_path / 'out'}; "
        "the first product tells how long the rest takes",
        "[1/2, about S s left] a/b: failed: 1.png: expected a plain ground, got a busy one. Give a mask.",
        "[2/2] milk: 2 ads, best simulated CTR 4.0 % (2.0 to 8.0 %)",
    ]


def test_rejected_rows_are_named_first(tmp_path: Path, products: list[Product]) -> None:
    lines: list[str] = []
    rejected = [RejectedRow(row=2, id="beer", title="", reason="title: expected a text, got an empty one.")]
    run(small(tmp_path), FakePipeline(), products[:1], rejected=rejected, progress=lines.append)
    assert lines[0] == "row 2 beer: failed: title: expected a text, got an empty one."


def test_a_photo_that_cannot_be_opened_fails_alone(tmp_path: Path, products: list[Product]) -> None:
    gone = replace(products[0], image=tmp_path / "photos")  # a folder: reading it raises an OSError
    fault = CutoutError("photos", expected="a photo", got="a folder", next_step="Name a photo.")
    report = run(small(tmp_path), FakePipeline({"wine": fault}), [gone, products[1]], progress=QUIET)
    assert ([line["product_id"] for line in report.failures], len(report.ads)) == (["wine"], 2)


def test_ranked_strip(tmp_path: Path, products: list[Product]) -> None:
    report = run(small(tmp_path), FakePipeline(), products[:1], progress=QUIET)
    with Image.open(write_strip(report, products[0])) as strip:
        # 360 high: the 40x60 photo becomes 240 wide, both 72x64 ads 405; a gap of 12 at either end and between
        assert strip.size == (240 + 405 + 405 + 4 * 12, 360 + 2 * 12 + 60)
        pixels = np.asarray(strip.convert("RGB"))
    assert tuple(pixels[20, 20]) == (255, 255, 255) and tuple(pixels[180, 130]) == (0, 90, 120)
    assert pixels[390:, 12:252].min() < 100, "the caption below the photo is missing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 0}, "n: expected at least 1 ad per product, got 0. Ask for 1 or more."),
        ({"rolls": 0}, "rolls: expected 1 to 20, got 0. 1 paints every ad just once."),
        ({"quality": 101}, "quality: expected 1 to 100, got 101. 92 is hard to tell from lossless."),
    ],
)
def test_settings_out_of_range(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        small(tmp_path, **changes)
    assert str(caught.value) == message


def test_durations_read_like_speech() -> None:
    assert [duration(seconds) for seconds in (4.2, 89, 125, 5400)] == ["4 s", "89 s", "2 min", "1.5 h"]
