"""A click log of 14 products whose brighter pictures are clicked more, and toy settings of the reward recipe."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from caig.data.clicks import CreativeClicks
from caig.data.comparisons import compare
from caig.models.mllm import BackboneSize, build_backbone, save_mllm
from caig.recipes import reward
from caig.recipes.reward import Config, report, samples, steps
from caig.types import ClickCounts, Product, Score
from tests.archives import write_tar

TINY = BackboneSize(
    image=32, vision_width=16, vision_layers=1, width=32, layers=1, vocabulary=300, initializer=0.1
)  # so small a width learns nothing from weights of 0.02


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_log(folder: Path) -> Path:
    """14 products (by hash four test, one validation), three pictures each; the brighter one is clicked more."""
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
    usual = {"steps": 4, "tower_steps": 2, "products": 3, "pictures": 2, "checkpoint_every": 2, "members": 2}
    files = {"data": data, "clicks": data / "clicks.csv", "truth": data / "truth.csv", "out": out}
    return Config(**files | {"backbone": str(data / "backbone")} | usual | fields)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["network"]


def sequences(data: Path, out: Path, **fields) -> tuple:
    """A network, its eyes and a batch of real pictures."""
    config = toy(data, out, **fields)
    network, processor, side = reward.build(config)
    batch = samples.draw_batch(samples.read_samples(config, side).train, config, seed=5)
    return network.eval(), steps.Eyes(network, processor, config), batch, config


def creative(name: str, clicks: int, impressions: int) -> CreativeClicks:
    counts = ClickCounts(clicks=clicks, impressions=impressions)
    return CreativeClicks(product_id="p1", creative_id=name, image=name, counts=counts, effective=counts)


def judged(utilities: list[float], clicks: list[int], category: str = "mug", shown: int = 10**6) -> report.Judged:
    product = Product(id="p1", title="mug", category=category)
    creatives = [creative(str(i), c, shown) for i, c in enumerate(clicks)]
    pictures = {c.image: np.zeros((1, 1, 3), np.uint8) for c in creatives}
    own = samples.product_clicks(compare(creatives), {"p1": product}, pictures)[0]
    scores = [Score(creative_id="", utility=u, ctr=0.1, low=0.01, high=0.2, basis="simulated") for u in utilities]
    return report.Judged(clicks=own, scores=scores)
