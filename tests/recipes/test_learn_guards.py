"""What keeps a model of `caig learn` from harm: the gate against chance, guard metrics, and one call at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import update

from caig.artifacts import to_json, write_atomic
from caig.data.catalog import folder_name
from caig.data.clicks import CreativeClicks
from caig.errors import InputError
from caig.imaging.writing import encode
from caig.online import campaigns, schema
from caig.online.allocation import Rules
from caig.online.learned import Learned, name_in_use, register
from caig.online.ledger import Event, Ledger
from caig.online.schema import open_database
from caig.recipes import learn_steps
from caig.recipes.learn import Config, _begin, run
from caig.recipes.learn_data import Cycle, FolderSource, take_once
from caig.recipes.learn_ledger import LedgerSource
from caig.recipes.learn_steps import Studio, Turn, decide, opened, rightly, watch
from caig.recipes.processes import join_processes
from caig.recipes.reward.report import Judged
from caig.recipes.reward.samples import ProductClicks
from caig.recipes.store import Store
from caig.types import ClickCounts, Estimate, Pixels, Product, Score
from tests.recipes.learn_toys import make_shop, toy
from tests.recipes.pcpo_toys import Painter

NOON = 1_767_268_800_000  # 2026-01-01


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def config(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A second cycle: in the first, so its manifest says, the model of the settings chose the first ad of each."""
    monkeypatch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
    shutil.copytree(shop / "service", tmp_path / "service")
    config = toy(tmp_path / "service", shop / "models", tmp_path / "out")
    engine = open_database(config.database)
    fresh = [
        {"campaign": one.id, "creatives": [{"id": campaigns.arm_rows(engine, one.id)[1][0]}], "retired": []}
        for one in campaigns.read_campaigns(engine)
    ]
    names = {"reward": config.reward_model, "prompt": config.prompt_model}
    told = {"before": names, "in_use": names, "chosen_by": config.reward_model, "fresh": fresh}
    told |= {"guards": {"harmed": []}, "log": {"until": 0, "hash": "", "files": {}}}
    write_atomic(config.out / "cycles/0001/manifest.json", to_json(told).encode())
    return config


def buy(config: Config, shoppers: int, *, chosen: float, others: float) -> None:
    """Every so manyth shopper who sees a chosen ad, or another one, buys for 10."""
    engine = open_database(config.database)
    for campaign in campaigns.read_campaigns(engine):
        allocation, events, due = campaigns.latest(engine, campaign), [], {True: 0.0, False: 0.0}
        assert allocation is not None
        first = campaigns.arm_rows(engine, campaign.id)[1][0]
        for k in range(shoppers):
            decision = allocation.decide(NOON + k)
            events.append(Event(kind="impression", at=NOON + k, decision=decision))
            mine = decision.creative_id == first
            due[mine] += chosen if mine else others
            if due[mine] >= 1:
                due[mine] -= 1
                events.append(Event(kind="conversion", at=NOON + k + 1, decision=decision, value=10.0))
        Ledger(engine).record(events)


def turn_of(config: Config) -> Turn:
    source, cycle = LedgerSource(config), Cycle.current(config.out)
    taken = take_once(source, cycle)
    assert taken is not None
    return _begin(config, cycle, source, taken, Painter())


@pytest.mark.parametrize(("chosen", "harmed"), [(0.0, ["conversion lead of the chosen ads"]), (0.8, [])])
def test_ads_that_sell_credibly_less_are_found(config: Config, chosen: float, harmed: list[str]) -> None:
    buy(config, 1000, chosen=chosen, others=0.8)
    found = watch(turn_of(config))
    assert found["harmed"] == harmed
    lead, value = found["estimates"]
    assert lead["value"] == pytest.approx((chosen - 0.8) * 5 / 6, abs=0.05)  # 200 of 1,200 saw ads before anyone bought
    assert value["value"] == pytest.approx(10 * lead["value"]) and value["low"] < 0 < value["high"]


def test_a_model_that_harms_goes_out_of_use_and_none_follows_it(
    config: Config, shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn_steps, "opened", lambda *_: True)
    shutil.copytree(shop / "models/reward", config.out / "cycles/0001/reward/model")
    path, name = config.out / "cycles/0001/manifest.json", "cycles/0001/reward/model"
    told = json.loads(path.read_text())
    told |= {"chosen_by": name, "in_use": {**told["in_use"], "reward": name}}
    path.write_text(to_json(told))
    engine = open_database(config.database)
    entry = Learned(role="reward", fingerprint="x", name=name, parent=None, learned_from={}, learned_until=0)
    register(engine, entry, 0, in_use=True)
    buy(config, 1000, chosen=0.0, others=0.8)
    assert "credibly worse: conversion lead of the chosen ads" in str(run(config, Painter()))
    found = json.loads((config.out / "cycles/0002/manifest.json").read_text())
    assert not found["gate"]["passed"] and found["chosen_by"] is None
    assert found["in_use"]["reward"] == config.reward_model and name_in_use(engine, "reward") is None
    assert found["fresh"] == [], "none has proved itself, so no ad joins"


def test_who_harmed_chooses_no_more_and_bars_no_follower(config: Config) -> None:
    turn = turn_of(config)
    assert not learn_steps.barred(turn)
    path = config.out / "cycles/0001/manifest.json"
    told = json.loads(path.read_text())
    path.write_text(to_json({**told, "guards": {"harmed": ["value lead of the chosen ads"]}}))
    buy(config, 1000, chosen=0.0, others=0.8)
    assert learn_steps.barred(turn) and watch(turn)["harmed"] == []
    assert not learn_steps.barred(replace(turn, before={**turn.before, "reward": "another"}))


def test_fresh_ads_are_the_best_of_those_ranked_above_all_that_run(config: Config) -> None:
    """Of the ads that keep their promises, and that the campaign has not had."""
    turn = turn_of(replace(config, candidates=4, fresh=2))
    photo = Path(turn.catalog.parent / "photos" / next((turn.catalog.parent / "photos").iterdir()).name)
    product, studio = Product(id="a1", title="box number 1", image=photo), Studio.open(turn, dict(turn.before))
    ranked = studio.best(product, (64, 64), nothing)
    assert [ad.rank for ad in ranked] == [1, 2]
    first, second = (ad.creative.image for ad in ranked)
    others = studio.best(product, (64, 64), lambda one: np.array_equal(one, first))
    assert [ad.rank for ad in others] == [2, 3]
    assert [ad.rank for ad in studio.best(product, (64, 64), nothing, [second])] == [1]
    assert studio.best(product, (64, 64), nothing, [first]) == []


def test_ads_for_a_log_are_ranked_above_all_that_it_shows(config: Config) -> None:
    turn = turn_of(replace(config, candidates=4, fresh=2))
    photo = next((turn.catalog.parent / "photos").iterdir())
    product, studio = Product(id="a1", title="box number 1", image=photo), Studio.open(turn, dict(turn.before))
    first, second = (ad.creative for ad in studio.best(product, (64, 64), nothing))
    for creative, left in ((first, []), (second, [first.id])):
        (turn.source.pictures / "shown.png").write_bytes(encode(creative.image))
        found = studio.write(product, (64, 64), [shown("a1", "shown.png")])
        assert [ad["id"] for ad in found["creatives"]] == left


def shown(product: str, image: str) -> CreativeClicks:
    counts = ClickCounts(clicks=1, impressions=9)
    return CreativeClicks(product_id=product, creative_id="x", image=image, counts=counts, effective=counts)


def test_any_id_names_a_step_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, cycle = ["../../a/b", "wine"], Cycle(out=tmp_path / "out", number=1)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    rows = [f"{id},x{k},10,1,a.png" for k, id in enumerate(ids)]
    (cycle.clicks / "2026-01-01").mkdir(parents=True)
    log = "product_id,creative_id,impressions,clicks,image"
    (cycle.clicks / "2026-01-01/log.csv").write_text("\n".join([log, *rows]))
    (tmp_path / "p.csv").write_text("\n".join(["id,title,image", *(f"{id},box,a.png" for id in ids)]))
    source = FolderSource(Config(log=tmp_path, catalog=tmp_path / "p.csv", images=tmp_path))
    studio = SimpleNamespace(turn=SimpleNamespace(cycle=cycle), write=lambda product, *_: {"id": product.id})
    store = Store(cycle.folder / "steps", {}, join_processes())
    assert source.launch(studio, store) == [{"id": id} for id in ids]  # type: ignore[arg-type]
    names = {path.name for path in (cycle.folder / "steps/fresh").iterdir()}
    assert names == {f"{folder_name(id)}.json" for id in ids}


def launched(config: Config, monkeypatch: pytest.MonkeyPatch, **rules: float) -> Callable[[], Any]:
    """What launches the two best of any quality in the first campaign, and can do so again: its record, and how many
    ads run beside the photo."""
    real = Studio.best
    monkeypatch.setattr(Studio, "best", lambda self, product, size, had, running: real(self, product, size, had))
    with open_database(config.database).begin() as connection:
        connection.execute(update(schema.campaigns).values(rules={**asdict(Rules(policy="uniform")), **rules}))
    turn = turn_of(replace(config, candidates=4, fresh=2))
    source, studio = turn.source, Studio.open(turn, dict(turn.before))
    assert isinstance(source, LedgerSource)
    source.campaigns = source.campaigns[:1]
    store = Store(turn.cycle.folder / "steps", {}, join_processes())

    def launch() -> Any:
        (told,) = source.launch(studio, store)
        return told, sum(not gone for _, gone in campaigns.arm_rows(source.engine, source.campaigns[0].id)) - 1

    return launch


def test_no_more_ads_join_than_the_campaign_allows(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three, by its floors: two of the three that run make room."""
    told, running = launched(replace(config, arms=8), monkeypatch, floor=0.25, control=0.1)()
    assert (len(told["creatives"]), len(told["retired"]), running) == (2, 2, 3)


def test_locked_ads_leave_less_room(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_database(config.database).begin() as connection:
        connection.execute(update(schema.creatives).values(locked=True))
    told, running = launched(replace(config, arms=4), monkeypatch)()
    assert (len(told["creatives"]), told["retired"], running) == (1, [], 4)


@pytest.mark.parametrize("joined", [False, True])
def test_a_cut_after_retiring_loses_no_record(joined: bool, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, real = launched(config, monkeypatch), campaigns.add_arms

    def cut(*arguments: Any) -> None:
        if joined:
            real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(campaigns, "add_arms", cut)
    with pytest.raises(KeyboardInterrupt):
        launch()
    monkeypatch.setattr(campaigns, "add_arms", real)
    told, running = launch()
    assert (len(told["creatives"]), len(told["retired"]), running) == (2, 2, 3)


def test_heads_begin_anew_where_the_first_cycle_did_and_the_rest_goes_on(config: Config, shop: Path) -> None:
    name = "cycles/0001/reward/model"
    shutil.copytree(shop / "models/reward", config.out / name)
    turn = turn_of(config)
    turn = replace(turn, before={**turn.before, "reward": name})
    for tune, begun in (("heads", config.reward_model), ("language", name), ("full", name)):
        found = learn_steps.starting_point(replace(turn, config=replace(config, tune=tune)))  # type: ignore[arg-type]
        assert (found[0], found[1].name, found[2]) == (begun, turn.located(begun), tune)


def test_what_others_like_is_gone_on_from_only_where_told(
    config: Config, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, asked = "cycles/0001/reward/model", []
    shutil.copytree(shop / "models/reward", config.out / name)

    def run(training):
        asked.append(training.heads)
        return config.out / name

    monkeypatch.setattr("caig.recipes.learn_steps.reward.run", run)
    for heads, tune, before in (
        ("new", "heads", name),
        ("new", "language", config.reward_model),
        ("new", "language", name),
        ("kept", "heads", name),
    ):
        settings = replace(config, heads=heads, tune=tune)  # type: ignore[arg-type]
        turn = turn_of(settings)
        learn_steps.train_reward(replace(turn, before={**turn.before, "reward": before}))
    assert asked == ["new", "new", "kept", "kept"]


@pytest.mark.parametrize(
    ("was", "now", "harmed", "barred", "passed", "proved"),
    [
        (0.40, 0.45, False, False, False, False),  # better than the last one, not than chance
        (0.45, 0.55, False, False, True, True),
        (0.60, 0.55, False, False, False, True),  # the last one has proved itself
        (0.60, 0.55, False, True, False, False),
        (0.45, 0.55, False, True, True, True),
        (0.45, 0.55, True, False, False, False),
    ],
)
def test_the_gate_asks_for_more_than_the_last_one_and_than_chance(
    was: float, now: float, harmed: bool, barred: bool, passed: bool, proved: bool
) -> None:
    before, new, gain = (Estimate(name="", value=v, low=v - 0.01, high=v + 0.01, n=9) for v in (was, now, now - was))
    for gate in ("better", "credible"):
        assert decide(before, new, gain, gate, harmed=harmed, barred=barred) == (passed, proved)
    unsure = replace(new, low=0.49)
    assert decide(before, unsure, gain, "credible", harmed=False, barred=True) == (False, False)


def test_the_gate_by_hand() -> None:
    """Labels 0.9 and 0.6, and one order of each sign and a tie: 0.9, 1 - 0.6, and a half."""
    better = np.array([[0.5, 0.9, 0.3], [0.1, 0.5, 0.6], [0.7, 0.4, 0.5]])
    clicks = ProductClicks(product=Product(id="a", title="a"), creatives=(), pictures=(), better=better)
    scores = [
        Score(creative_id=str(k), utility=u, ctr=0, low=0, high=0, basis="") for k, u in enumerate((1.0, 0.0, 1.0))
    ]
    assert rightly(Judged(clicks=clicks, scores=scores)).tolist() == pytest.approx([0.9, 0.5, 0.4])


@pytest.mark.parametrize(
    ("gate", "low", "passed"), [("better", -0.1, True), ("credible", -0.1, False), ("credible", 0.1, True)]
)
def test_who_passes(gate: str, low: float, passed: bool) -> None:
    assert opened(Estimate(name="gain", value=0.2, low=low, high=0.3, n=9), gate) is passed
    assert not opened(Estimate(name="gain", value=0.0, low=0.0, high=0.0, n=9), gate)


def nothing(picture: Pixels) -> bool:
    return False


def test_two_calls_do_not_work_in_one_folder(config: Config) -> None:
    program = (
        "import sys, pathlib\n"
        "from caig.recipes.store import held\n"
        "with held(pathlib.Path(sys.argv[1])):\n"
        "    print('holds', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(config.out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "holds\n"
        with pytest.raises(InputError, match="expected a folder of its own, got one that another call is at work in"):
            run(config, Painter())
        other.kill()  # however it ends, the folder is free again
        other.wait()
    assert run(replace(config, least_clicks=10**6), Painter()).cycle == 0
