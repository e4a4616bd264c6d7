"""A service with 8 products, ads of plain colours, and shoppers who click what is bright; tiny models that learn."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caig.models.mllm import BackboneSize, build_backbone
from caig.models.reward_model import Calibration, RewardNetwork, save_reward, width_of
from caig.online import campaigns
from caig.online.allocation import Rules
from caig.online.campaigns import Campaign
from caig.online.ledger import Event, Ledger
from caig.online.schema import open_database
from caig.online.tokens import Decision
from caig.pipeline import AdPipeline
from caig.recipes.learn import Config
from caig.seeding import seed_for
from caig.service import store
from caig.service.painter import Painter
from caig.service.uploads import Files
from tests.cli.cli_fakes import Prompts, Rewards
from tests.recipes.pcpo_toys import Painter as Colours
from tests.recipes.pcpo_toys import write_prompt_model

TINY = BackboneSize(
    image=32, vision_width=16, vision_layers=1, width=32, layers=1, vocabulary=300, initializer=0.1
)  # as in the reward recipe's tests
TITLES = ["Where would you click, box number 1 or mug?", "Which picture of the box is clicked more?"] * 10
SIDE = 64
PRODUCTS = 8  # by a hash of their ids a0 tests, a5 and a6 validate, the others train


def write_reward_model(folder: Path, members: int = 2) -> Path:
    backbone, processor = build_backbone(TITLES, seed=3, size=TINY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = RewardNetwork(backbone, width_of(backbone), members=members)
    rates = {"base_rates": {}, "global_rate": 0.05, "global_offset": 0.0, "global_spread": 0.1}
    fitted = {"temperature": 1.0, "slope": 0.1, "offset": 0.0, "spread": 0.1}
    calibration = Calibration(**fitted, **rates, calibrated_on="simulated", image_side=32)
    save_reward(network, processor, calibration, folder)
    return folder


def make_shop(folder: Path) -> Path:
    """`folder` with a service in which shoppers clicked, and models to begin with."""
    (folder / "service").mkdir()
    open_shop(folder / "service")
    write_models(folder / "models")
    return folder


def open_shop(folder: Path) -> Path:
    """A service's folder with a campaign of three ads for each product, and clicks; every decision is long over."""
    engine, files = open_database(f"sqlite:///{folder / 'ledger.db'}"), Files(folder)
    pipeline = AdPipeline(prompt_model=Prompts(), background_model=Colours(), reward_model=Rewards())
    painter = Painter(engine=engine, files=files, pipeline=pipeline, parent=os.getppid())
    for k in range(PRODUCTS):
        photo = np.full((48, 48, 3), 255, np.uint8)
        photo[10:42, 14:34] = (10 * k, 60, 160 - 10 * k)
        Image.fromarray(photo).save(folder / "photo.png")
        name, _ = files.take((folder / "photo.png").read_bytes(), None, 10_000)
        row = {"id": f"a{k}", "title": f"box number {k}", "category": "mug", "photo": name}
        store.add_product(engine, row)
        request = {"n": 3, "width": SIDE, "height": SIDE, "seed": 1, "description": None, "parent": None}
        painter.work(store.add_job(engine, f"a{k}", request, 3))
        ads = store.ranked(engine, f"a{k}")
        ids = [ad["id"] for ad in sorted(ads, key=lambda ad: (ad["kind"] != "original", ad["id"]))]
        campaign = Campaign(id=f"c{k}", product_id=f"a{k}", rules=Rules(policy="uniform"), click_window=1000)
        campaigns.start(engine, campaign, ids, 0)
    visit(folder, 200)
    return folder


def visit(folder: Path, shoppers: int, *, at: int = 1_767_268_800_000, bot: bool = False) -> None:
    """Shoppers of each campaign's allocation in force, from `at` (2026-01-01 noon) on; they like what is bright, and
    come, see and click alike in every run."""
    engine, files = open_database(f"sqlite:///{folder / 'ledger.db'}"), Files(folder)
    for campaign in campaigns.read_campaigns(engine):
        allocation = campaigns.latest(engine, campaign)
        assert allocation is not None
        rows = {row["id"]: row for row in store.ranked(engine, campaign.product_id)}
        rng, events = np.random.default_rng(seed_for("visit", campaign.id, at)), []
        for k in range(shoppers):
            decision = decide_alike(allocation, at + k, rng)
            events.append(Event(kind="impression", at=at + k, decision=decision, bot=bot))
            with Image.open(files.path(rows[decision.creative_id]["file"])) as picture:
                bright = float(np.asarray(picture.convert("L")).mean()) / 255
            if rng.random() < 0.6 * bright**2:
                events.append(Event(kind="click", at=at + k + 500, decision=decision))
        Ledger(engine).record(events)


def decide_alike(allocation: campaigns.Allocation, at: int, rng: np.random.Generator) -> Decision:
    """A decision for an impression whose id, which decides what is shown, comes from `rng`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caig.online.campaigns.uuid.uuid4", lambda: uuid.UUID(bytes=rng.bytes(16)))
        return allocation.decide(at)


def toy(folder: Path, models: Path, out: Path, **fields: object) -> Config:
    small = {
        "steps": 4, "tune": "language", "rounds": 0, "products": 2, "side": 64, "candidates": 2, "fresh": 1, "arms": 3,
        "rolls": 1, "least_clicks": 10, "prompt_model": str(models / "prompt"), "reward_model": str(models / "reward"),
        "calibrated_on": "simulated",
    }  # fmt: skip
    database = f"sqlite:///{folder / 'ledger.db'}"
    return Config(**{"database": database, "folder": folder, "out": out, **small, **fields})  # type: ignore[arg-type]


def write_models(folder: Path) -> Path:
    write_prompt_model(folder / "prompt")
    write_reward_model(folder / "reward")
    return folder
