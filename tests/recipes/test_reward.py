"""The reward recipe at toy size: what a batch holds, calibration by hand, that a cut run resumes, what it reports."""

import csv
import io
import json
import math
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caig.data.clicks import CreativeClicks, read_clicks
from caig.data.comparisons import compare
from caig.errors import CatalogError
from caig.models.mllm import BackboneSize, build_backbone, save_mllm
from caig.models.reward_model import RewardModel
from caig.recipes import reward
from caig.recipes.reward import Config, report, run, samples
from caig.types import ClickCounts, Product, Score

TINY = BackboneSize(image=32, vision_width=16, vision_layers=1, width=32, layers=1, vocabulary=300)


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 products (by hash four test, one validation), three pictures each; the brighter one is clicked more."""
    folder = tmp_path_factory.mktemp("data")
    products, log, truth = {}, [], []
    for n in range(14):
        record = {"id": f"p{n:04d}", "category": "mug", "title": f"Fjord mug {n}", "price": 9.5}
        products |= {f"p{n:04d}.image.webp": png(0), f"p{n:04d}.json": json.dumps(record).encode()}
        for k, level in enumerate((40, 120, 220)):
            (folder / f"{n}-{k}.png").write_bytes(png(level + n))
            rate = 0.02 + 0.01 * k
            log.append([f"p{n:04d}", f"c{n}-{k}", f"{n}-{k}.png", 5000, round(5000 * rate)])
            truth.append([f"p{n:04d}", f"c{n}-{k}", rate])
    write_tar(folder / "products.tar", products)
    write_tar(folder / "scenes-00.tar", {"s0.image.webp": png(99)})
    for name, header, rows in (
        ("clicks.csv", ["product_id", "creative_id", "image", "impressions", "clicks"], log),
        ("truth.csv", ["product_id", "creative_id", "ctr"], truth),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    texts = samples.tokenizer_texts(Config(data=folder, clicks=folder / "clicks.csv", out=folder / "out"))
    save_mllm(*build_backbone(texts, seed=3, size=TINY), folder / "backbone")
    return folder


def toy(data: Path, out: Path, **fields) -> Config:
    usual = {"steps": 4, "tower_steps": 1, "products": 3, "pictures": 2, "checkpoint_every": 2}
    files = {"data": data, "clicks": data / "clicks.csv", "truth": data / "truth.csv", "out": out}
    return Config(**files | {"backbone": str(data / "backbone")} | usual | fields)


@pytest.fixture(scope="module")
def uncut(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uncut")
    run(toy(data, out))
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["network"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_equals_an_uncut_one(data: Path, uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = samples.draw_batch
    seeds = {samples_seed(step) for step in (3,)}

    def cut_in_step_4(products, config, seed):
        if seed in seeds:
            raise KeyboardInterrupt
        return drawn(products, config, seed)

    monkeypatch.setattr(samples, "draw_batch", cut_in_step_4)
    with pytest.raises(KeyboardInterrupt):
        run(toy(data, tmp_path))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 2
    monkeypatch.undo()
    run(toy(data, tmp_path))
    assert same(weights(tmp_path), weights(uncut))


def samples_seed(step: int) -> int:
    return reward.seed_for(0, "step", step)


def test_training_learns_which_picture_is_clicked_more(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, steps=40, warmup=4, lr=3e-3, products=6, pictures=3))
    metrics = {m["name"]: m for m in json.loads((folder / "training.json").read_text())["metrics"]}
    assert metrics["pair accuracy"]["value"] == 1.0
    assert metrics["accuracy against the true order"]["value"] == 1.0
    assert metrics["pair accuracy"]["n"] == 12  # four test products, three pairs each


def test_the_export_says_what_made_it_and_holds_no_paths(data: Path, uncut: Path):
    text = (uncut / "model" / "training.json").read_text()
    facts = json.loads(text)
    assert facts["data"]["train"] == {"products": 9, "pictures": 27, "pairs": 27}
    assert facts["data"]["rejected"] == 0
    assert facts["config"]["seed"] == 0
    assert str(data) not in text
    model = RewardModel.from_pretrained(str(uncut / "model"))
    assert model.calibration.calibrated_on == "simulated"
    assert model.calibration.base_rates == {"mug": pytest.approx(0.03)}


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
    pictures, rejected = samples.read_pictures(read_clicks(log, images=[data]), [data, tmp_path], 32)
    assert rejected == [] and (pictures["a"] == 99).all()


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
    # 100, 150 and 200 clicks in 5,000: the one with more clicks is better almost surely.
    more = batch.log_ctr[batch.first] > batch.log_ctr[batch.second]
    assert torch.equal(more, batch.label > 0.5)
    assert batch.weight.tolist()[0] == pytest.approx(1 / (1 / (5000 * math.exp(batch.log_ctr[0])) + 0.04), rel=1e-2)


def creative(name: str, clicks: int, impressions: int) -> CreativeClicks:
    counts = ClickCounts(clicks=clicks, impressions=impressions)
    return CreativeClicks(product_id="p1", creative_id=name, image="x", counts=counts, effective=counts)


def judged(utilities: list[float], clicks: list[int], category: str = "mug") -> report.Judged:
    product = Product(id="p1", title="mug", category=category)
    creatives = [creative(str(i), c, 10**6) for i, c in enumerate(clicks)]
    pictures = {str(i): np.zeros((1, 1, 3), np.uint8) for i in range(9)}
    own = samples.product_clicks(compare(creatives), {"p1": product}, pictures)[0]
    scores = [Score(creative_id="", utility=u, ctr=0.1, low=0.01, high=0.2, basis="simulated") for u in utilities]
    return report.Judged(clicks=own, scores=scores)


def test_slope_and_offset_by_hand():
    # Log CTR rises by log 2 from picture to picture, utility by 2: slope log(2) / 2. The first has the base rate.
    products = [judged([0.0, 2.0, 4.0], [10_000, 20_000, 40_000])]
    slope = report.fit_slope([products[0].utility], products)
    assert slope == pytest.approx(math.log(2) / 2, rel=1e-3)
    offset, spread = report.fit_offset([products[0].utility], products, [math.log(0.005)], slope)
    assert offset == pytest.approx(math.log(2), abs=1e-3)
    assert spread == report.LEAST_SPREAD  # the fit leaves less than click noise


def test_a_model_that_ranks_backwards_still_gets_a_rising_ctr():
    products = [judged([1.0, 0.0], [10, 1000])]
    assert report.fit_slope([products[0].utility], products) == report.LEAST_SLOPE


def test_temperature_makes_confidence_right():
    # 3 of 4 pairs that differ by 4 logits are truly so ordered: calibrated when 4 / T = log 3.
    pairs = [judged([4.0, 0.0], clicks) for clicks in ([900, 1], [900, 1], [900, 1], [1, 900])]
    assert report.fit_temperature(pairs) == pytest.approx(4 / math.log(3), rel=0.03)


def test_base_rates_by_hand():
    products = [judged([0, 0], [10, 30]).clicks, judged([0], [100], "wine").clicks, judged([0], [0], "book").clicks]
    rates, overall = report.base_rates(products)
    assert rates == {"mug": pytest.approx(40 / 2e6), "wine": pytest.approx(100 / 1e6)}
    assert overall == pytest.approx(140 / 4e6)


def test_a_fresh_backbone_depends_on_the_seed_alone(data: Path, tmp_path: Path):
    one, again, other = (
        reward.build(toy(data, tmp_path, backbone="fresh", seed=seed))[0].state_dict() for seed in (0, 0, 1)
    )
    assert same(one, again) and not same(one, other)
