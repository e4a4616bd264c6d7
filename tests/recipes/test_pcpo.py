"""Preference optimisation at toy size: that it goes on where it was cut, that every setting matters, and the guards."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from caig.errors import InputError
from caig.models.prompt_model import PromptModel
from caig.recipes import pcpo_steps, pcpo_update
from caig.recipes.pcpo import optimise
from caig.testing import sample_product
from caig.types import Product
from tests.project import ROOT
from tests.recipes.pcpo_toys import Judge, Painter, models, toy, write_prompt_model, write_shelf


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
    optimise(toy(base, uncut, checkpointing=True), shelf, models())  # changes no weight


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
    assert "Guards objected, so a part was taken: 0.5 of round 1.<" in (tmp_path / "run/index.html").read_text()


def test_the_share_of_settings_reaches_the_update(
    base: Path, shelf: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("caig.recipes.pcpo_credit.setting_of", lambda text: text[0])  # toys name none
    for share in (0.0, 1.0):
        monkeypatch.setattr("caig.recipes.pcpo_credit.setting_share", lambda *arguments, share=share: share)
        optimise(toy(base, tmp_path / f"{share}", rounds=1), shelf, models())
    assert not same(tmp_path / "0.0", tmp_path / "1.0", r=0)


def test_the_margin_of_misfits_reaches_the_update(
    base: Path, shelf: list[Product], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("caig.recipes.pcpo_credit.setting_of", lambda text: text[0])  # toys name none
    monkeypatch.setattr("caig.recipes.pcpo_credit.suitable_settings", lambda category: "abcdefghijklm")
    for name, margin in (("free", 0.0), ("priced", 9.0)):
        optimise(toy(base, tmp_path / name, rounds=1, misfit_margin=margin), shelf, models())
    assert not same(tmp_path / "free", tmp_path / "priced", r=0)


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
