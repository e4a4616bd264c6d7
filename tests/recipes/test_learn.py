"""The learning half of the loop at toy size: what a cycle leaves, that it goes on where it was cut, and the gate."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image
from sqlalchemy import select

from caig.data.catalog import read_products_of
from caig.errors import CaigError, CatalogError, InputError
from caig.models.hub import fingerprint
from caig.online import campaigns
from caig.online.allocation import best_chances, posterior
from caig.online.learned import name_in_use
from caig.online.ledger import Ledger
from caig.online.schema import creatives, models, open_database, products
from caig.pipeline import AdPipeline
from caig.recipes import learn_ledger, pcpo_update
from caig.recipes.learn import Config, run
from caig.recipes.learn_data import Cycle
from caig.service.painter import Painter as ServicePainter
from caig.service.store import add_product, get
from caig.service.uploads import Files
from tests.cli.cli_fakes import Prompts, Rewards
from tests.recipes.cutting import cut_at
from tests.recipes.learn_toys import make_shop, toy, visit
from tests.recipes.pcpo_toys import Painter


@pytest.fixture(scope="module", autouse=True)
def short_texts():
    """A model of random weights never ends by itself; 12 tokens are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
        yield


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def passes():
    """A gate that every model passes, so that toys go through the whole cycle."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caig.recipes.learn_steps.opened", lambda *_: True)
        yield


def begin(shop: Path, tmp_path: Path, **fields: Any) -> Config:
    """A copy of the shop as it was before anything was learned; without tuning unless `fields` ask for it."""
    shutil.copytree(shop / "service", tmp_path / "service")
    return toy(tmp_path / "service", shop / "models", tmp_path / "out", **fields)


@pytest.fixture(scope="module")
def uncut(shop: Path, passes: None, tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = begin(shop, tmp_path_factory.mktemp("uncut"), rounds=1)
    run(config, Painter())
    return config


def manifest(config: Config, number: int = 1) -> dict[str, Any]:
    return json.loads((config.out / f"cycles/{number:04d}/manifest.json").read_text())


def settled(config: Config) -> dict[str, Any]:
    """The manifest but for the moment at which clicks were taken."""
    found = manifest(config)
    found["log"].pop("until")
    return found


def test_a_cycle_says_which_data_made_which_model_made_which_picture(uncut: Config) -> None:
    found, engine = manifest(uncut), open_database(uncut.database)
    assert found["log"]["impressions"] == 8 * 200 and found["log"]["first"] == "2026-01-01"
    assert list(found["log"]["files"]) == ["0001/2026-01-01/impressions.parquet"]
    assert found["in_use"] == {"reward": "cycles/0001/reward/model", "prompt": "cycles/0001/pcpo/best"}
    for role, part in (("reward", "reward"), ("prompt", "prompt")):
        assert found["trained"][part]["fingerprint"] == fingerprint(uncut.out / found["in_use"][role])
        assert name_in_use(engine, role) == str((uncut.out / found["in_use"][role]).resolve())
    with engine.connect() as connection:
        rows = {row.role: row for row in connection.execute(select(models))}
        made = {row.id: row for row in connection.execute(select(creatives))}
    assert rows["reward"].learned_until == found["log"]["until"]
    assert rows["reward"].learned_from == {"cycle": 1, "logs": [found["log"]["hash"]], "judge": None}
    assert rows["prompt"].learned_from == {"cycle": 1, "logs": [], "judge": rows["reward"].fingerprint}
    assert rows["reward"].parent == fingerprint(Path(uncut.reward_model))
    fresh = [ad for campaign in found["fresh"] for ad in campaign["creatives"]]
    assert 0 < len(fresh) < 8, "at most one of each campaign, where it is ranked above all that runs"
    for ad in fresh:
        assert made[ad["id"]].models["reward"]["fingerprint"] == found["trained"]["reward"]["fingerprint"]
        assert made[ad["id"]].models["prompt"]["name"].endswith("cycles/0001/pcpo/best")


def test_fresh_ads_become_arms_and_the_weakest_make_room(uncut: Config) -> None:
    engine = open_database(uncut.database)
    for campaign, told in zip(campaigns.read_campaigns(engine), manifest(uncut)["fresh"], strict=True):
        arms = dict(campaigns.arm_rows(engine, campaign.id))
        live = [arm for arm, retired in arms.items() if not retired]
        assert len(live) == 1 + uncut.arms
        if not told["creatives"]:
            assert told["retired"] == [] and len(arms) == len(live), "nothing joined, so nothing made room"
            continue
        (fresh,), (gone,) = told["creatives"], told["retired"]
        assert list(arms)[4:] == [fresh["id"]] and [arm for arm in arms if arms[arm]] == [gone]
        counts = campaigns.tally(engine, campaign, 2**60)
        chance = best_chances(*posterior(counts.total["click"].sum(0)[:4], counts.shown.sum(0)[:4]))
        assert chance[counts.arms.index(gone)] == chance[1:].min(), "the photo, the first arm, always stays"
        allocation = campaigns.latest(engine, campaign)
        assert allocation is not None and set(allocation.arms) == set(live)


def test_without_new_clicks_there_is_nothing_to_learn(uncut: Config) -> None:
    report = run(uncut, Painter())
    assert (report.cycle, str(report)) == (0, "nothing to learn from yet: 0 new clicks, --least-clicks asks for 10")
    assert not (uncut.out / "cycles/0002").exists()


SLOW = pytest.mark.slow


@pytest.mark.parametrize("where", [pytest.param("reward", marks=SLOW), "prompt", pytest.param("launch", marks=SLOW)])
def test_a_cut_cycle_goes_on_and_equals_an_uncut_one(
    where: str, shop: Path, uncut: Config, passes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begin(shop, tmp_path, rounds=1)
    if where == "reward":
        monkeypatch.setattr("caig.recipes.training.cosine_with_warmup", cut_at(2))
    elif where == "prompt":
        monkeypatch.setattr(pcpo_update, "cosine_with_warmup", cut_at(0))
    else:
        monkeypatch.setattr(learn_ledger, "weakest", cut_in_second_campaign())
    with pytest.raises(KeyboardInterrupt):
        run(config, Painter())
    monkeypatch.undo()
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
    monkeypatch.setattr("caig.recipes.learn_steps.opened", lambda *_: True)
    visit(tmp_path / "service", 5, at=int(1000 * time.time()))  # what comes in meanwhile waits for the next cycle
    run(config, Painter())
    assert settled(config) == settled(uncut)


def cut_in_second_campaign() -> Any:
    real, calls = learn_ledger.weakest, []

    def cut(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    return cut


@SLOW
def test_the_next_cycle_goes_on_from_the_models_in_use_on_new_clicks(shop: Path, passes: None, tmp_path: Path) -> None:
    config = begin(shop, tmp_path)
    run(config, Painter())
    first = manifest(config)
    visit(tmp_path / "service", 40, at=first["log"]["until"])
    time.sleep(1.1)  # a click counts within a second
    run(config, Painter())
    second = manifest(config, 2)
    assert second["before"] == first["in_use"]
    assert second["log"]["impressions"] == 8 * 40 and second["log"]["files"].keys().isdisjoint(first["log"]["files"])
    assert second["trained"]["reward"]["logs"] == [first["log"]["hash"], second["log"]["hash"]]
    assert second["trained"]["reward"]["parent"] == first["trained"]["reward"]["fingerprint"]
    data = json.loads((config.out / "cycles/0002/reward/model/training.json").read_text())["data"]
    assert data["train"]["pictures"] > first_pictures(config)  # both windows
    pairs = [found["gate"]["estimates"][2]["n"] for found in (first, second)]
    assert pairs[0] == 3 * 6 and pairs[1] > pairs[0]  # three held-out products with four ads; then both cycles
    assert len(Cycle(out=config.out, number=2).windows(1)) == 1


def first_pictures(config: Config) -> int:
    path = config.out / "cycles/0001/reward/model/training.json"
    return json.loads(path.read_text())["data"]["train"]["pictures"]


def test_bots_teach_nothing(shop: Path, tmp_path: Path) -> None:
    config = begin(shop, tmp_path, least_clicks=10**6)
    before = str(run(config, Painter()))
    visit(tmp_path / "service", 50, at=1_767_355_200_000, bot=True)
    assert str(run(config, Painter())) == before
    assert not (config.out / "clicks/0001").exists()


def test_a_model_that_is_no_better_stays_out(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = begin(shop, tmp_path)
    monkeypatch.setattr("caig.recipes.learn_steps.opened", lambda *_: False)
    report = run(config, Painter())
    assert "stays out" in str(report)
    found, engine = manifest(config), open_database(config.database)
    assert found["in_use"] == {"reward": config.reward_model, "prompt": config.prompt_model}
    assert name_in_use(engine, "reward") is None and not (config.out / "cycles/0001/pcpo").exists()
    assert found["fresh"] == [] and "no fresh ads join" in str(report)


def test_other_settings_do_not_finish_a_cut_cycle(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = begin(shop, tmp_path)
    monkeypatch.setattr("caig.recipes.training.cosine_with_warmup", cut_at(1))
    with pytest.raises(KeyboardInterrupt):
        run(config, Painter())
    with pytest.raises(InputError, match="steps: 4, now 5"):
        run(Config(**{**asdict(config), "steps": 5}), Painter())


def test_clicks_without_pairs_wait_for_more(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = begin(shop, tmp_path)
    monkeypatch.setattr("caig.recipes.reward.samples.split", lambda id: "test")
    with pytest.raises(CatalogError, match="a training product with two usable pictures"):
        run(config, Painter())
    assert not (config.out / "clicks/0001").exists()
    assert [path.name for path in (config.out / "cycles").rglob("*.*")] == ["rejected.jsonl"], "which the error names"
    engine = open_database(config.database)
    row = get(engine, products, "a1")
    assert row is not None
    add_product(engine, {**row, "id": "new"})
    monkeypatch.undo()
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
    assert run(config, Painter()).cycle == 1
    assert "new" in [product.id for product in read_products_of(config.out / "products-0001.jsonl")]


def test_the_service_paints_with_the_models_in_use(uncut: Config) -> None:
    engine = open_database(uncut.database)
    pipeline = AdPipeline(prompt_model=Prompts(), background_model=Painter(), reward_model=Rewards())
    painter = ServicePainter(engine=engine, files=Files(uncut.folder), pipeline=pipeline, parent=0).up_to_date()
    fingerprints = {role: model["fingerprint"] for role, model in painter.pipeline.models().items()}
    found = manifest(uncut)
    assert fingerprints["reward"] == found["trained"]["reward"]["fingerprint"]
    assert fingerprints["prompt"].endswith(found["trained"]["prompt"]["fingerprint"])
    assert painter.pipeline.background_model is pipeline.background_model
    assert painter.up_to_date().pipeline == painter.pipeline, "nothing is loaded twice"


def partitions(config: Config, shop: Path, days: int) -> Path:
    """The shop's ledger as a folder of dated partitions, one a day, each with all its impressions."""
    folder = config.out.parent / "log"
    rows = Ledger(open_database(config.database)).export()
    for day in range(1, days + 1):
        (folder / f"day=2026-01-0{day}").mkdir(parents=True, exist_ok=True)
        moved = rows.with_columns(pl.col("at").dt.offset_by(f"{day - 1}d"), pl.col("impression_id") + f"-{day}")
        moved.write_parquet(folder / f"day=2026-01-0{day}/part-0.parquet")
    return folder


def from_log(shop: Path, tmp_path: Path, days: int, **fields: Any) -> Config:
    config = begin(shop, tmp_path, **fields)
    files = Files(config.folder).folder
    lines = ["id,title,category,image"]
    for k in range(8):
        row = get(open_database(config.database), products, f"a{k}")
        assert row is not None
        lines.append(f"a{k},box number {k},mug,{row['photo']}")
    (files / "products.csv").write_text("\n".join(lines) + "\n")
    log = partitions(config, shop, days)
    return replace(config, database="", log=log, images=files, catalog=files / "products.csv")


def test_each_partition_of_a_log_is_taken_once(
    shop: Path, passes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caig.recipes.learn_steps.ROUNDING", -math.inf)  # fresh ads join whatever their rank
    config = from_log(shop, tmp_path, 3, window=2)
    (config.log / "day=2999-01-01").mkdir()  # its day is not over
    shutil.copy(config.log / "day=2026-01-01/part-0.parquet", config.log / "day=2999-01-01/part-0.parquet")
    assert run(config, Painter()).cycle == 1
    found = manifest(config)
    assert found["log"]["impressions"] == 3 * 8 * 200
    assert list(found["log"]["files"]) == [f"day=2026-01-0{day}/part-0.parquet" for day in (1, 2, 3)]
    assert [path.name for path in sorted((config.out / "clicks/0001").iterdir())] == ["2026-01-01", "2026-01-03"]
    assert len(found["fresh"]) == 8
    for one in found["fresh"]:
        (ad,) = one["creatives"]
        with Image.open(config.out / f"cycles/0001/fresh/{ad['product_id']}/{ad['id']}.png") as picture:
            assert picture.size == (64, 64)
    assert run(config, Painter()).cycle == 0
    shutil.copy(config.log / "day=2026-01-02/part-0.parquet", config.log / "day=2026-01-02/part-1.parquet")
    with pytest.raises(
        InputError, match="part-1.parquet: expected partitions as they were when they were taken, got a new"
    ):
        run(config, Painter())


def test_what_can_not_be_used_is_told_and_stops_nothing(shop: Path, passes: None, tmp_path: Path) -> None:
    """A product that the catalogue lacks, and one whose photo can't be cut out."""
    config = from_log(shop, tmp_path, 1, rounds=1)
    assert config.catalog is not None
    Image.effect_noise((48, 48), 90).convert("RGB").save(config.catalog.parent / "noise.png")
    head, _, first, *others = config.catalog.read_text().splitlines()
    noisy = f"{first.rpartition(',')[0]},noise.png"
    config.catalog.write_text("\n".join([head, noisy, *others]))
    report, found = str(run(config, Painter())), manifest(config)
    (left_out,) = found["left_out"]
    assert (left_out["what"], left_out["count"]) == ("creatives", 4)
    assert f"4 creatives left out: {left_out['reason']}" in report
    assert found["trained"]["prompt"]["unusable_rows"] == 1 and found["in_use"]["prompt"] == "cycles/0001/pcpo/best"
    assert [one["failed"][:46] for one in found["fresh"] if "failed" in one] == [
        f"product 'a1': {config.catalog.parent / 'noise.png'}"[:46]
    ]
    assert "1 products got none, the first: product 'a1'" in report and len(found["fresh"]) == 7


def test_a_partition_without_a_day_is_an_error(shop: Path, tmp_path: Path) -> None:
    config = from_log(shop, tmp_path, 1)
    (config.log / "more.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="more.csv: expected a day in the name, got none"):
        run(config, Painter())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"database": ""}, "learn: expected --database or --log, got neither"),
        ({"log": Path("x")}, "learn: expected --database or --log, got both"),
        ({"database": "", "log": Path("x")}, "--catalog: expected titles and photos beside --log, got none"),
        (
            {"folder": Path("nowhere")},
            "--folder: expected the service's folder, with its pictures in files, got nowhere",
        ),
        ({"steps": 0}, "--steps: expected at least 1, got 0"),
        ({"fresh": 4}, "--fresh: expected at most 2, of so many --candidates and --arms, got 4"),
        ({"side": 8}, "size: expected sides of 64 to 2048 pixels, got 8x8"),
        ({"reward_model": "python:tests.cli.cli_fakes:Rewards"}, "reward model: expected a checkpoint that can learn"),
    ],
)
def test_unusable_settings(fields: dict[str, Any], message: str, shop: Path, tmp_path: Path) -> None:
    with pytest.raises(CaigError, match=re.escape(message)):
        run(replace(begin(shop, tmp_path), **fields), Painter())
    left = {path.name for path in (tmp_path / "out").rglob("*.json")}
    assert left <= {"taken.json", "settings.json"}, "no step was done"


CHANGES: dict[str, Any] = {
    "calibrated_on": "click log", "steps": 3, "tune": "heads", "lr": 1e-2, "head_lr": 1e-2, "candidates": 6,
    "fresh": 0, "arms": 4, "seed": 1, "rounds": 1, "products": 3,
}  # fmt: skip
"""What each setting changes in the manifest; those that tests above show are left out: database, folder, log, images,
catalog, out, the models, window, least_clicks, gate, recent, side; threads and rolls change time alone."""


@pytest.fixture(scope="module")
def plain(shop: Path, passes: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The manifest without any change."""
    config = begin(shop, tmp_path_factory.mktemp("plain"))
    run(config, Painter())
    return manifest(config)


def taught(config: Config) -> set[str]:
    """The products that a cycle's first round wrote for."""
    return set(json.loads((config.out / "cycles/0001/pcpo/rounds/0/drafts.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_changes_something(
    name: str, shop: Path, uncut: Config, plain: dict[str, Any], tmp_path: Path
) -> None:
    config = begin(shop, tmp_path, **{"rounds": int(name == "products"), name: CHANGES[name]})
    run(config, Painter())
    changed = manifest(config)
    if name == "products":
        assert len(taught(config)) == 3 and len(taught(uncut)) == 2
    elif name == "rounds":
        assert changed["in_use"]["prompt"] != plain["in_use"]["prompt"]
    elif name == "fresh":
        assert plain["fresh"] and changed["fresh"] == []
    elif name == "arms":
        assert any(one["retired"] for one in plain["fresh"]) and not any(one["retired"] for one in changed["fresh"])
    elif name == "candidates":
        assert changed["fresh"] != plain["fresh"]
    else:
        assert changed["trained"]["reward"]["fingerprint"] != plain["trained"]["reward"]["fingerprint"]
