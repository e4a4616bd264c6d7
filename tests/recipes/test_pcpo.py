"""Preference optimisation at toy size: that it goes on where it was cut, that every setting matters, and the guards."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from caig.errors import InputError
from caig.models.prompt_model import PromptModel
from caig.recipes import pcpo_credit, pcpo_steps, pcpo_update
from caig.recipes.pcpo import Config, optimise, with_preset
from caig.recipes.pcpo_credit import Judged, credited, fitted, levelled, setting_share
from caig.recipes.pcpo_steps import Shelf, Watched, alarms, best_round
from caig.recipes.pcpo_update import Group, pairs_of
from caig.testing import sample_product
from caig.types import Product
from tests.project import ROOT
from tests.recipes.pcpo_toys import TEXTS, Judge, Painter, models, toy, write_prompt_model, write_shelf


@pytest.fixture(scope="module", autouse=True)
def short_texts():
    """A model of random weights never ends by itself; 12 tokens are enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caig.models.prompt_model.MAX_TOKENS", 12)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompt_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    return write_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def uncut(base: Path, shelf: list[Product], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uncut") / "run"
    optimise(toy(base, out), shelf, models(guard=Judge(2)))
    return out


def adapter(out: Path, r: int = 1) -> dict[str, torch.Tensor]:
    return torch.load(out / f"rounds/{r}/update.pt", weights_only=True)["adapter"]


def same(first: Path, second: Path, r: int = 1) -> bool:
    one, two = adapter(first, r), adapter(second, r)
    return one.keys() == two.keys() and all(
        one[name].shape == two[name].shape and torch.equal(one[name], two[name]) for name in one
    )


def test_what_a_run_leaves(uncut: Path, base: Path):
    tuned = PromptModel.from_pretrained(str(uncut / "best"))
    assert tuned.describe(sample_product(), 1, seed=0)
    measured = json.loads((uncut / "best/measured.json").read_text())
    watched = json.loads((uncut / f"rounds/{measured.pop('round')}/watch.json").read_text())
    assert measured == watched["metrics"]
    page = (uncut / "index.html").read_text()
    assert "data:image/jpeg;base64," in page and "http" not in page and "<script" not in page
    lines = [json.loads(line) for line in (uncut / "log.jsonl").read_text().splitlines()]
    steps, rounds = [line for line in lines if "loss" in line], [line for line in lines if "kl" in line]
    assert len(steps) == 2 * 2 * 2 and [line["step"] for line in rounds] == [1, 2]  # rounds, epochs, batches
    assert {"margin", "product_margin", "ordered"} <= steps[0].keys()
    assert {"kl", "entropy", "distinct_2", "match", "utility", "guard", "alarm"} <= rounds[0].keys()
    timed = {f"seconds_{step}" for step in ("describe", "paint", "judge", "update", "watch")}
    assert timed <= rounds[0].keys()
    assert sum("stranger_margin" in line for line in lines) == 2
    assert list((uncut / "tensorboard").iterdir())
    ids = {id for ids in json.loads((uncut / "rounds/0/pictures.json").read_text()).values() for id in ids}
    assert ids <= {path.stem for path in (uncut / "pictures").iterdir()}


def test_a_finished_run_tells_nothing_twice(base: Path, shelf: list[Product], uncut: Path):
    before = (uncut / "log.jsonl").read_text()
    optimise(toy(base, uncut), shelf, models(guard=Judge(2)))
    assert (uncut / "log.jsonl").read_text() == before


def test_kl_is_measured_under_the_prompts_that_were_answered(base: Path, shelf: list[Product], tmp_path: Path):
    """Of texts that were answered to a prompt, the one that wrote them: other instructions give other log-probs."""
    policy = pcpo_update.Policy.start(toy(base, tmp_path / "run"))
    asked: list[list[str]] = []

    def noted(module: str, name: str):
        plain = getattr(sys.modules[module], name)

        def encode(processor, texts, *more, **options):
            asked.append(list(texts))
            return plain(processor, texts, *more, **options)

        return f"{module}.{name}", encode

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*noted("caig.models.prompt_model", "encode"))
        patch.setattr(*noted("caig.recipes.pcpo_update", "encode_training"))
        products = shelf[:2]
        drafts = pcpo_steps.describe(products, policy, 1, pcpo_steps.WATCH)
        shown = [pcpo_steps.as_seen(product) for product in products]
        policy.distance(shown, [drafts[product.id] for product in products], pcpo_steps.WATCH)
    assert asked[0] == [request for [request] in asked[1:]] and len(asked) == 3


def test_it_learns_what_the_judge_likes(base: Path, shelf: list[Product], tmp_path: Path):
    # Texts of a model that knows no words share none, so that pictures are credited.
    optimise(toy(base, tmp_path / "run", rounds=1, epochs=15, lr=0.02, credit="picture"), shelf, models())
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    margins = [line["margin"] for line in lines if "margin" in line]
    assert margins[0] == pytest.approx(0, abs=1e-3), "at first the policy is the reference"
    print(f"required: margins above 0.5 nats in the last pass; measured: {margins[-2:]}")
    assert min(margins[-2:]) > 0.5
    assert [line["kl"] for line in lines if "kl" in line][-1] != 0


@pytest.mark.parametrize(
    ("where", "calls"),
    [("caig.recipes.pcpo_update.group_loss", 6), ("tests.recipes.pcpo_toys.Painter.paint", 9)],
    ids=["in the second update", "while painting"],
)
def test_a_run_that_was_cut_ends_as_an_uncut_one(
    base: Path, shelf: list[Product], uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where, calls
):
    name, count = where.rpartition("."), 0
    target = pcpo_update if "update" in where else Painter
    plain = getattr(target, name[2])

    def cut(*arguments, **more):
        nonlocal count
        count += 1
        if count == calls:
            raise KeyboardInterrupt
        return plain(*arguments, **more)

    monkeypatch.setattr(pcpo_update, "CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(target, name[2], cut)
    with pytest.raises(KeyboardInterrupt):
        optimise(toy(base, tmp_path / "run"), shelf, models(guard=Judge(2)))
    assert not (tmp_path / "run/best").exists()
    monkeypatch.setattr(target, name[2], plain)
    optimise(toy(base, tmp_path / "run"), shelf, models(guard=Judge(2)))
    assert same(tmp_path / "run", uncut)
    for step in ("rounds/1/drafts", "rounds/1/utilities", "rounds/2/watch"):
        assert (tmp_path / f"run/{step}.json").read_text() == (uncut / f"{step}.json").read_text()


def test_a_finished_run_does_nothing_again(base: Path, shelf: list[Product], uncut: Path):
    class Idle(Painter):
        def paint(self, *arguments, **more):
            raise AssertionError("painted again")

    before = adapter(uncut)
    optimise(
        toy(base, uncut), shelf, models(guard=Judge(2)).__class__(background=Idle(), reward=Judge(), guard=Judge(2))
    )
    assert all(torch.equal(value, before[name]) for name, value in adapter(uncut).items())


def test_a_folder_of_other_settings_is_left_alone(base: Path, shelf: list[Product], uncut: Path):
    with pytest.raises(InputError, match=r"expected a new folder, or a run with the same settings.*beta: 0.1, now 0.2"):
        optimise(toy(base, uncut, beta=0.2), shelf, models())


@pytest.mark.parametrize(
    "change",
    [
        {"products": 3}, {"candidates": 4}, {"side": 72}, {"loss": "ipo"}, {"beta": 0.5}, {"product_weight": 0.0},
        {"product_beta": 5.0}, {"anchor": 1.0},
        {"negative": "stranger"}, {"corruptions": 1}, {"smoothing": 0.2}, {"per_token": True}, {"labels": "hard"},
        {"credit": "picture"}, {"rank": 3}, {"alpha": 8.0}, {"dropout": 0.2}, {"lr": 1e-3}, {"epochs": 1}, {"batch": 3},
        {"warmup": 3}, {"seed": 1},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_setting_changes_the_adapter(
    base: Path, shelf: list[Product], uncut: Path, tmp_path: Path, change: dict, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("caig.recipes.pcpo_update.stranger_margin", lambda *arguments: 0.0)
    optimise(toy(base, tmp_path / "run", rounds=1, **change), shelf, models())
    assert not same(tmp_path / "run", uncut, r=0)


def test_words_are_credited_by_all_rounds_so_far(shelf: list[Product], monkeypatch: pytest.MonkeyPatch):
    texts = ["rustic kitchen table, soft morning light", "sandy beach by the sea, neon glow", "snow, neon glow"]
    first, second = shelf[:4], [shelf[4], shelf[0]]
    one = Judged(first, {p.id: texts for p in first}, {p.id: [0.2, 0.1, 0.0] for p in first})
    drafts, utilities = (
        {second[0].id: texts, second[1].id: texts[:2]},
        {second[0].id: [0.1] * 3, second[1].id: [0.1] * 2},
    )
    two = Judged(second, drafts, utilities)
    config = Config(catalog=Path("c"), out=Path("o"), candidates=3)
    told = credited(config, [one, two])
    assert [len(told[p.id]) for p in second] == [3, 2]
    own = told[second[0].id]
    assert own[0] > own[1] + 0.02 > own[2] + 0.04, "liked in the round before"
    assert credited(config, [two])[second[0].id] == pytest.approx([0.0] * 3)
    assert credited(replace(config, credit="picture"), [one, two]) == utilities
    whole = credited(config, [one])
    monkeypatch.setattr(pcpo_credit, "LATEST", 6)
    assert credited(config, [one]) == whole, "a round counts whole, however few may"
    assert credited(config, [one, two])[second[0].id] == pytest.approx([0.0] * 3), "older pictures drop out"


def test_an_alarm_stops_the_run_and_keeps_the_best_round(base: Path, shelf: list[Product], tmp_path: Path):
    folder = optimise(toy(base, tmp_path / "run", max_kl=-1.0, halvings=1), shelf, models())
    tries = sorted(path.name for path in (tmp_path / "run/rounds/1").glob("watch*") if "-d" not in path.name)
    assert tries == ["watch-0.5-pictures.json", "watch-0.5.json", "watch-pictures.json", "watch.json"]
    assert (tmp_path / "run/rounds/1/watch.json").exists() and not (tmp_path / "run/rounds/1/drafts.json").exists()
    assert "Stopped by a guard: kl" in (tmp_path / "run/index.html").read_text()
    plain, kept = PromptModel.from_pretrained(str(base)), PromptModel.from_pretrained(str(folder))
    texts = [[d.text for d in one.describe(sample_product(), 2, seed=0)] for one in (plain, kept)]
    assert texts[0] == texts[1], "no round was without alarm: the model as it came"


def test_a_step_too_far_is_halved_and_a_cut_run_halves_it_again(
    base: Path, shelf: list[Product], uncut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    full, usual = json.loads((uncut / "rounds/1/watch.json").read_text())["metrics"], pcpo_steps.alarms
    monkeypatch.setattr(pcpo_steps, "alarms", lambda *of: ["too far"] if of[2] == full else usual(*of))
    write = pcpo_steps.write

    def cut(store, name, *arguments, **more):
        if name == "rounds/1/drafts":
            raise KeyboardInterrupt
        return write(store, name, *arguments, **more)

    monkeypatch.setattr(pcpo_steps, "write", cut)
    with pytest.raises(KeyboardInterrupt):
        optimise(toy(base, tmp_path / "run"), shelf, models(guard=Judge(2)))
    monkeypatch.setattr(pcpo_steps, "write", write)
    optimise(toy(base, tmp_path / "run"), shelf, models(guard=Judge(2)))
    optimise(toy(base, tmp_path / "whole"), shelf, models(guard=Judge(2)))
    assert same(tmp_path / "run", tmp_path / "whole") and not same(tmp_path / "run", uncut)
    start = pcpo_update.Policy.start(toy(base, tmp_path / "start")).weights
    kept = torch.load(tmp_path / "run/rounds/0/adapter.pt", weights_only=True)["adapter"]
    for name, value in adapter(uncut, 0).items():
        assert torch.allclose(kept[name], (start[name] + value) / 2)
    lines = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines if "part" in line] == [0.5, 1.0]


BEFORE = {"kl": 0.0, "entropy": 2.0, "distinct_2": 0.5, "utility": 0.0, "match": 0.6, "guard": 1.0}


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({}, None),
        ({"kl": 31.0}, "kl 31 is above 30"),
        ({"entropy": 1.5}, "entropy 1.5 is below 1.6"),
        ({"distinct_2": 0.29}, "distinct_2 0.29 is below 0.3"),
        ({"match": 0.49}, "match 0.49 is below 0.5"),
        ({"guard": 0.8}, "guard 0.8 is below 0.9"),
        ({"utility": -5.0}, None),
    ],
)
def test_alarms(change: dict, alarm: str | None):
    found = alarms(Config(catalog=Path("c"), out=Path("o")), BEFORE, {**BEFORE, **change})
    assert found == ([alarm] if alarm else [])


def test_the_best_round_is_the_guards_choice_among_those_without_alarm():
    config = Config(catalog=Path("c"), out=Path("o"))
    rounds = [{}, {"guard": 1.5, "utility": 1.0}, {"guard": 1.2, "utility": 9.0}, {"guard": 3.0, "kl": 99.0}]
    watched = [Watched(products=[], metrics={**BEFORE, **change}) for change in rounds]
    assert best_round(config, watched[0], watched) == 1
    bare = [Watched(products=[], metrics={k: v for k, v in w.metrics.items() if k != "guard"}) for w in watched]
    assert best_round(config, bare[0], bare) == 2
    assert best_round(config, watched[0], watched[:1]) == 0


def test_pairs_and_their_doubts_by_hand():
    # Product 0: utilities 2, 0, 1 and equal texts at 0 and 1; product 1: 0, 0, 3.
    clean = torch.tensor([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0]])
    group = Group(
        views=[],
        references=[clean - 1, clean - 2],
        lengths=torch.full((2, 3), 4),
        utilities=torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]]),
        texts=[["a", "a", "b"], ["a", "b", "c"]],
    )
    pairs, doubt = pairs_of(group, clean, clean * 10, 1)
    assert pairs.chosen.tolist() == [-1.0, -3.0, -4.0, -6.0, -6.0]
    assert pairs.rejected.tolist() == [-3.0, -2.0, -5.0, -4.0, -5.0]
    assert pairs.corrupted.tolist() == [-10.0, -30.0, -40.0, -60.0, -60.0]
    assert pairs.ref_corrupted.tolist() == [-3.0, -5.0, -6.0, -8.0, -8.0]
    assert pairs.chosen_length.tolist() == [4.0] * 5
    assert doubt.tolist() == pytest.approx([0.2689, 0.2689, 0.5, 0.0474, 0.0474], abs=1e-4)  # s(-gap)
    assert pairs_of(group, clean, clean * 10, 1, ties=False)[0].chosen.tolist() == [-1.0, -3.0, -6.0, -6.0]


def test_what_a_setting_is_worth_to_a_category_is_levelled(monkeypatch: pytest.MonkeyPatch):
    kitchen, beach = TEXTS[0], TEXTS[1]
    products = [Product(id=id, title=id, category=kind) for id, kind in (("a", "tea"), ("b", "tea"), ("c", "soap"))]
    drafts = {"a": [kitchen, beach, "plain words"], "b": [kitchen, kitchen, beach], "c": [kitchen, beach]}
    utilities = {"a": [1.0, -1.0, 0.0], "b": [3.0, 1.0, -1.0], "c": [-2.0, 2.0]}
    # Above their product's mean, of tea: kitchen 1, 2, 0 (mean 1), beach -1, -2 (mean -1.5); of soap -2 and 2.
    assert levelled(products, drafts, utilities, 1.0) == utilities
    monkeypatch.setattr(pcpo_credit, "ELSEWHERE", 0.0)
    assert levelled(products, drafts, utilities, 0.0) == {"a": [0.0, 0.5, 0.0], "b": [2.0, 0.0, 0.5], "c": [0.0, 0.0]}
    assert levelled(products, drafts, utilities, 0.5) == {"a": [0.5, -0.25, 0.0], "b": [2.5, 0.5, -0.25], "c": [-1, 1]}
    # Everywhere: kitchen (1 + 2 + 0 - 2) / 4 = 0.25. Of one text more: soap's kitchen (-2 + 0.25) / 2 = -0.875.
    monkeypatch.setattr(pcpo_credit, "ELSEWHERE", 1.0)
    assert levelled(products, drafts, utilities, 0.0)["c"][0] == -2.0 + 0.875


@pytest.mark.parametrize(("entropy", "share"), [(2.0, 1.0), (1.9, 2 / 3), (1.7, 0.0), (1.0, 0.0), (2.5, 1.0)])
def test_a_setting_counts_less_the_nearer_entropy_is_to_its_guard(entropy: float, share: float):
    config = Config(catalog=Path("c"), out=Path("o"), min_entropy=0.8)  # so that nothing counts at 0.85 of 2
    now, shares = {**BEFORE, "entropy": entropy}, [0.4]
    for _ in range(30):
        shares.append(setting_share(config, shares[-1], BEFORE, now))
    assert shares[1] == pytest.approx((0.4 + share) / 2), "half of the way in each"
    assert shares[-1] == pytest.approx(share, abs=1e-6)
    free = Config(catalog=Path("c"), out=Path("o"), min_entropy=0.0)
    assert setting_share(free, 0.0, BEFORE, {**BEFORE, "entropy": entropy}) == 1.0


def test_the_share_of_settings_reaches_the_update(
    base: Path, shelf: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("caig.recipes.pcpo_credit.setting_of", lambda text: text[0])  # toys name none
    for share in (0.0, 1.0):
        monkeypatch.setattr("caig.recipes.pcpo_credit.setting_share", lambda *arguments, share=share: share)
        optimise(toy(base, tmp_path / f"{share}", rounds=1), shelf, models())
    assert not same(tmp_path / "0.0", tmp_path / "1.0", r=0)


def test_a_setting_that_does_not_suit_costs_its_price():
    kitchen, beach, unknown = TEXTS[0], TEXTS[1], "plain words"
    products = [
        Product(id="milk", title="Oat milk", category="milk"),
        Product(id="x", title="Velmora", category="no such kind"),
    ]
    drafts = {"milk": [kitchen, beach, unknown], "x": [kitchen, beach]}
    utilities = {"milk": [1.0, 2.0, 3.0], "x": [4.0, 5.0]}
    assert fitted(products, drafts, utilities, 0.25) == {"milk": [1.0, 1.75, 2.75], "x": [4.0, 5.0]}
    assert fitted(products, drafts, utilities, 0.0) == utilities


def test_the_price_of_misfits_reaches_the_update(
    base: Path, shelf: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("caig.recipes.pcpo_credit.setting_of", lambda text: text[0])  # toys name none
    monkeypatch.setattr("caig.recipes.pcpo_credit.suitable_settings", lambda category: "abcdefghijklm")
    for name, price in (("free", 0.0), ("priced", 1.0)):
        optimise(toy(base, tmp_path / name, rounds=1, misfit_price=price), shelf, models())
    assert not same(tmp_path / "free", tmp_path / "priced", r=0)


def test_watched_products_never_train_and_windows_go_round(shelf: list[Product]):
    config = Config(catalog=Path("c"), out=Path("o"), products=4, watch=3)
    found = Shelf.of(config, shelf)
    assert not {p.id for p in found.train} & {p.id for p in found.watched} and found.watched
    ids = [p.id for r in range(3) for p in found.window(r)]
    assert len(found.window(0)) == 4 and ids == [found.train[i % len(found.train)].id for i in range(12)]
    with pytest.raises(InputError, match="expected at least 2 products to train on and 1 to watch"):
        Shelf.of(config, shelf[:1])


def test_the_rewarder_may_be_refreshed_from_clicks(base: Path, shelf: list[Product], tmp_path: Path):
    seen: list[int] = []

    def refresh(model, shown):
        assert all(
            one.image.shape == (64, 64, 3) and one.mask.shape == (64, 64) and one.mask.max() == 1 for one in shown
        )
        seen.append(len(shown))
        return Judge(1)

    optimise(toy(base, tmp_path / "run"), shelf, models(refresh=refresh))
    assert len(seen) == 2 and min(seen) > 4
    ids = json.loads((tmp_path / "run/rounds/1/pictures.json").read_text())
    utilities = json.loads((tmp_path / "run/rounds/1/utilities.json").read_text())
    from caig.recipes.pcpo_steps import Studio

    studio = Studio(toy(base, tmp_path / "run"), models())
    for product in ids:
        assert utilities[product] == studio.utilities(Judge(1), shelf[0], ids[product])


def test_a_prompt_model_that_is_an_adapter_goes_on(base: Path, shelf: list[Product], uncut: Path, tmp_path: Path):
    tuned = uncut / "best"
    further = optimise(toy(tuned, tmp_path / "further", rounds=1, max_kl=1e9), shelf, models())
    config = json.loads((further / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base), "one adapter, and the reference is under it"
    stopped = optimise(toy(tuned, tmp_path / "stopped", rounds=1, max_kl=-1e9), shelf, models())
    weights = [(one / "adapter_model.safetensors").read_bytes() for one in (tuned, stopped, further)]
    assert weights[0] == weights[1], "no round was without alarm: the adapter as it came"


def test_the_published_preset():
    asked = Config(catalog=Path("c"), out=Path("o"), preset="caig-published", products=64, lr=1e-5)
    found = with_preset(asked)
    assert (found.candidates, found.beta, found.rank, found.alpha, found.labels) == (2, 0.5, 128, 256.0, "hard")
    assert (found.products, found.lr) == (64, 1e-5), "what was given stays"
    assert with_preset(replace(asked, preset="")) == replace(asked, preset="")
    with pytest.raises(InputError, match="candidates: expected at least 2 to compare, got 1"):
        Config(catalog=Path("c"), out=Path("o"), candidates=1)
    with pytest.raises(InputError, match="corruptions: expected at least 1, got 0"):
        Config(catalog=Path("c"), out=Path("o"), corruptions=0)


def test_a_run_goes_on_from_an_adapter_of_its_own_model_only(base: Path, uncut: Path, shelf: list[Product], tmp_path):
    with pytest.raises(InputError, match="start_from .*: expected an adapter of .*, got a whole checkpoint"):
        optimise(toy(base, tmp_path / "whole", start_from=str(base)), shelf, models())
    other = write_prompt_model(tmp_path / "other")
    with pytest.raises(InputError, match=f"got an adapter of '{base}'. Name the checkpoint under it"):
        optimise(toy(other, tmp_path / "run", start_from=str(uncut / "best")), shelf, models())


def test_guards_count_from_the_model_under_the_adapter(base: Path, uncut: Path, shelf: list[Product], tmp_path: Path):
    optimise(toy(base, tmp_path / "run", rounds=1, start_from=str(uncut / "best")), shelf, models(guard=Judge(2)))
    read = [json.loads((tmp_path / f"run/rounds/0/{name}.json").read_text()) for name in ("reference", "watch")]
    first = json.loads((uncut / "rounds/0/watch.json").read_text())
    assert read[0]["metrics"] == pytest.approx(first["metrics"]), "the adapter is off"
    assert read[1]["metrics"] != read[0]["metrics"]


RUN = """
import sys
from pathlib import Path
from caig.recipes.pcpo import optimise
from caig.recipes import pcpo_update
from tests.project import ROOT
from tests.recipes.pcpo_toys import Judge, models, toy, write_shelf

pcpo_update.CHECKPOINT_EVERY = 1
base, shelf, out = map(Path, sys.argv[1:])
import caig.models.prompt_model
caig.models.prompt_model.MAX_TOKENS = 12
optimise(toy(base, out), write_shelf(shelf), models(guard=Judge(2)))
"""


@pytest.mark.slow
def test_a_killed_run_ends_as_an_uncut_one(base: Path, shelf: list[Product], uncut: Path, tmp_path: Path):
    out, killed = tmp_path / "run", []
    command = [sys.executable, "-c", RUN, str(base), str(shelf[0].image.parent), str(out)]
    for step in ("rounds/0/drafts.json", "rounds/0/update.pt", "rounds/1/pictures.json", "rounds/1/update.pt"):
        process = subprocess.Popen(command, cwd=ROOT)
        while not (out / step).exists() and process.poll() is None:
            time.sleep(0.002)
        process.kill()  # SIGKILL: nothing of the run hears of it
        killed.append(process.wait() == -signal.SIGKILL)
    subprocess.run(command, cwd=ROOT, check=True)
    assert sum(killed) >= 3
    assert same(out, uncut)
    for step in ("rounds/0/drafts", "rounds/1/drafts", "rounds/1/utilities", "rounds/2/watch"):
        assert (out / f"{step}.json").read_text() == (uncut / f"{step}.json").read_text()
