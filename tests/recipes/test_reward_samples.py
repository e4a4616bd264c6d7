"""What the reward recipe learns from: the log's products and pictures, pairs, batches and words."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caig.data.clicks import read_clicks
from caig.data.comparisons import compare
from caig.errors import CatalogError
from caig.recipes.reward import report, samples
from caig.types import Product
from tests.recipes.reward_toys import creative, toy, write_log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("data"))


def test_what_cannot_be_used_is_listed(data: Path, tmp_path: Path):
    (data / "broken.png").write_bytes(b"no picture")
    rows = (data / "clicks.csv").read_text()
    extra = ["p9999,x1,0-0.png,9,1", "p0002,x2,broken.png,9,1", "p0002,x3,0-0.png,1,2", "p0002,x4,scenes-00.tar#no,9,1"]
    log = data / "more.csv"
    log.write_text(rows + "\n".join(extra) + "\n")
    read = samples.read_samples(toy(data, tmp_path, clicks=log), 32)
    listed = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    named = sorted(re.search(r"creative '(x\d)'", example)[1] for line in listed for example in line["examples"])
    assert named == ["x1", "x2", "x3", "x4"]
    assert sum(rejection.count for rejection in read.rejected) == 4
    assert sum(len(p.creatives) for part in (read.train, read.validation, read.test) for p in part) == 42


def test_pictures_are_read_from_archives(data: Path, tmp_path: Path):
    log = tmp_path / "log.csv"
    log.write_text("product_id,creative_id,image,impressions,clicks\np0002,a,scenes-00.tar#s0.image.webp,9,1\n")
    pictures: dict = {}
    assert samples.read_pictures(read_clicks(log, images=[data]).creatives, [data, tmp_path], 32, pictures) == []
    assert (pictures["scenes-00.tar#s0.image.webp"] == 99).all()


def test_a_log_without_pairs_is_an_error(data: Path, tmp_path: Path):
    log = data / "single.csv"
    log.write_text("product_id,creative_id,image,impressions,clicks\np0002,a,0-0.png,9,1\n")
    with pytest.raises(CatalogError, match="a training product with two usable pictures"):
        samples.read_samples(toy(data, tmp_path, clicks=log), 32)


def test_a_batch_compares_pictures_of_one_product_only(data: Path, tmp_path: Path):
    config = toy(data, tmp_path, products=4, pictures=3)
    batch = samples.draw_batch(samples.read_samples(config, 32).train, config, seed=1)
    assert len(batch.pictures) == len(batch.texts) == 12 and len(batch.label) == 4 * 3
    assert torch.equal(batch.product[batch.first], batch.product[batch.second])
    assert batch.votes.shape == (4, 2) and (batch.votes > 0).all()
    # 100, 150 and 200 clicks in 5,000: the one with more clicks is better almost surely.
    more = batch.log_ctr[batch.first] > batch.log_ctr[batch.second]
    assert torch.equal(more, batch.label > 0.5)
    assert batch.weight.tolist()[0] == pytest.approx(1 / (1 / (5000 * math.exp(batch.log_ctr[0])) + 0.04), rel=1e-2)


def test_the_paper_s_filter_keeps_close_pairs_only(data: Path, tmp_path: Path):
    """CTRs of 2, 3 and 4 %: ratios of 1.5, 2 and 1.33."""
    product = samples.read_samples(toy(data, tmp_path), 32).train[0]
    assert product.pairs(toy(data, tmp_path)) == [(0, 1), (0, 2), (1, 2)]
    assert product.pairs(toy(data, tmp_path, ratio=(1.3, 1.6))) == [(0, 1), (1, 2)]
    assert product.pairs(toy(data, tmp_path, more_than=5000)) == []
    with pytest.raises(CatalogError, match="pairs: expected one within the filter"):
        samples.draw_batch([product], toy(data, tmp_path, ratio=(5, 6)), seed=0)
    shown = [creative(name, clicks, 1000) for name, clicks in (("a", 105), ("b", 100), ("c", 0))]
    pictures = {c.image: np.zeros((1, 1, 3), np.uint8) for c in shown}
    own = samples.product_clicks(compare(shown), {"p1": Product(id="p1", title="mug")}, pictures)[0]
    assert own.pairs(toy(data, tmp_path, ratio=(1.05, 1.2))) == [(0, 1)], "0.105 over 0.1 is less than 1.05 in floats"


def test_hard_labels_are_the_observed_order(data: Path, tmp_path: Path):
    products = samples.read_samples(toy(data, tmp_path), 32).train
    soft, hard = (
        samples.draw_batch(products, toy(data, tmp_path, labels=kind), seed=1).label for kind in ("soft", "hard")
    )
    assert set(hard.tolist()) <= {0.0, 1.0} and torch.equal(hard, soft.round()) and not torch.equal(hard, soft)


def test_words_can_be_withheld(data: Path, tmp_path: Path):
    products = samples.read_samples(toy(data, tmp_path), 32).train
    for tune in ("language", "heads"):
        config = toy(data, tmp_path, without=("title",), attribute_dropout=1.0, tune=tune)
        texts = samples.draw_batch(samples.read_samples(config, 32).train, config, 0).texts
        assert all(text.startswith("the product in the picture. ") for text in texts)
    told = samples.draw_batch(products, toy(data, tmp_path, tune="heads"), 0).texts
    assert all("9.5" in text and "mug" in text for text in told), "heads alone are told everything"


def test_logs_that_share_a_creative_id_keep_their_pictures(data: Path, tmp_path: Path):
    header = "product_id,creative_id,image,impressions,clicks"
    for name, level in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        rows = [f"p0002,same,2-{level}.png,90,9", "p0002,other,2-2.png,90,9"]
        (tmp_path / name / "clicks.csv").write_text("\n".join([header, *rows]) + "\n")
    first, second = samples.read_log(data, [tmp_path / "a", tmp_path / "b"], None, 32).train
    light = [[int(picture[0, 0, 0]) for picture in product.pictures] for product in (first, second)]
    assert [[c.creative_id for c in product.creatives] for product in (first, second)] == [["other", "same"]] * 2
    assert light == [[222, 42], [222, 122]], "each log's own"


def test_windows_are_compared_apart_and_their_spread_is_fitted_together(data: Path, tmp_path: Path):
    rows = (data / "clicks.csv").read_text().splitlines()
    for name, scale in (("a", 50), ("b", 10)):  # of the clicks and impressions, so few that one window tells little
        (tmp_path / "log" / name).mkdir(parents=True)
        fields = [row.split(",") for row in rows[1:]]
        few = [[*row[:3], str(int(row[3]) // scale), str(int(row[4]) // scale)] for row in fields]
        lines = [rows[0], *(",".join(row) for row in few)]
        (tmp_path / "log" / name / "clicks.csv").write_text("\n".join(lines) + "\n")
    both = samples.read_samples(toy(data, tmp_path / "out", clicks=tmp_path / "log", windows=True), 32)
    assert len(both.train) == 2 * 9 and all(len(product.creatives) == 3 for product in both.train)
    assert {c.product_id for product in both.train for c in product.creatives} == {p.product.id for p in both.train}
    own = [product for product in both.train if product.product.id == both.train[0].product.id]
    assert [product.creatives[0].counts.impressions for product in own] == [100, 500]
    alone = samples.read_log(data, [tmp_path / "log/a"], None, 32)
    sure = [np.abs(read.train[0].better - 0.5).max() for read in (alone, both)]
    print(f"required: labels of the small window surer beside the large one; measured: {sure}")
    assert sure[1] > sure[0] and own[0].better.shape == (3, 3)


def test_heads_alone_take_more_pictures_a_step_and_a_higher_rate(data: Path, tmp_path: Path):
    config = toy(data, tmp_path, products=None, pictures=None, head_lr=None)
    heads = replace(config, tune="heads")
    assert (config.drawn, config.rate_of_heads) == ((8, 4), 1e-3)
    assert (heads.drawn, heads.rate_of_heads) == ((16, 8), 1e-2)
    assert replace(heads, products=2, head_lr=0.0).drawn == (2, 8) and replace(heads, head_lr=0.0).rate_of_heads == 0
    train = samples.read_samples(config, 32).train
    assert [len(samples.draw_batch(train, one, seed=1).votes) for one in (config, heads)] == [8, 16]


def test_one_name_means_another_picture_in_another_log(data: Path, tmp_path: Path):
    for name, grey in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (32, 32), (grey, grey, grey)).save(tmp_path / name / "own.png")
        (tmp_path / name / "clicks.csv").write_text(
            "product_id,creative_id,image,impressions,clicks\np0002,own,own.png,900,9\n"
        )
    read = samples.read_log(data, [tmp_path / "a", tmp_path / "b"], None, 32)
    found = [product.pictures[0].max() for product in (*read.train, *read.held_out)]
    assert found == [10, 200] and read.rejected == ()
    moved = (tmp_path / "a").rename(tmp_path / "c")
    told = [report.describe(samples.read_log(data, [part], None, 32))["clicks"] for part in (tmp_path / "b", moved)]
    assert told[0] == told[1], "wherever the log lies"
