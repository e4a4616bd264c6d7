"""The reward recipe at toy size: that it learns, calibration by hand, that a cut run resumes, what it reports."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caig.errors import CatalogError, InputError
from caig.models.reward_model import GREY, RewardModel
from caig.recipes import reward
from caig.recipes.reward import Config, report, run, samples, steps
from caig.types import Product
from tests.recipes.reward_toys import sequences, toy, weights, write_log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uncut(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uncut")
    run(toy(data, out))
    return out


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


@pytest.mark.parametrize("fields", [{}, {"form": "joint", "point_weight": 0.5}], ids=["siamese", "joint"])
def test_training_learns_which_picture_is_clicked_more(data: Path, tmp_path: Path, fields: dict):
    usual = {
        "tune": "full",
        "steps": 60,
        "warmup": 4,
        "lr": 3e-3,
        "head_lr": 3e-3,
        "products": 6,
        "pictures": 3,
        "checkpoint_every": 60,
    }
    folder = run(toy(data, tmp_path, **usual | fields))
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


def test_what_training_did_not_see_is_kept_from_calibration_and_metrics_too(data: Path, tmp_path: Path):
    """Blind, pictures tie: in training, so that heads get nothing from pairs, and in training.json."""
    folder = run(toy(data, tmp_path, without=("image",)))
    metrics = {m["name"]: m["value"] for m in json.loads((folder / "training.json").read_text())["metrics"]}
    assert metrics["pair accuracy"] == metrics["accuracy against the true order"] == 0.5
    assert RewardModel.from_pretrained(str(folder)).calibration.temperature == 1, "no pair has a gap"
    config = toy(data, tmp_path, attribute_dropout=1.0, without=("title", "image"))
    read = samples.read_samples(config, 32)
    for known in (*read.train, *read.validation, *read.test):
        assert (known.product.title, known.product.category, known.product.attributes) == ("", "", {})
        assert all((picture == GREY).all() and picture.shape == (32, 32, 3) for picture in known.pictures)
    plain = samples.read_samples(toy(data, tmp_path), 32).train[0]
    assert plain.product.title and plain.product.attributes and not (plain.pictures[0] == GREY).all()


def test_the_published_preset(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = Config(data=data, clicks=data / "clicks.csv", out=tmp_path, preset="caig-published")
    assert reward.with_preset(asked, reward.PRESETS) == replace(
        asked,
        form="joint",
        both_orders=False,
        labels="hard",
        more_than=1000,
        ratio=(1.05, 1.20),
        products=16,
        pictures=2,
        point_weight=0.5,
    )
    built = []
    monkeypatch.setattr(reward, "build", lambda config: built.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(replace(asked, products=4))
    assert (built[0].form, built[0].products) == ("joint", 4), "what was given stays"
    plain = replace(asked, preset="")
    assert reward.with_preset(plain, reward.PRESETS) == plain


def test_log_ctrs_regressed_as_they_are_cost_nothing(data: Path, tmp_path: Path):
    """Joint: the left output is held against the left picture's log CTR, the right one against the right one's."""
    network, _, batch, config = sequences(data, tmp_path, form="joint")
    true = {id(picture): log_ctr for picture, log_ctr in zip(batch.pictures, batch.log_ctr, strict=True)}

    def point(regressed) -> float:
        def ask(heads, texts, rows, **how):
            told = torch.stack([torch.stack([true[id(picture)] for picture in row]) for row in rows])
            return torch.zeros_like(told), regressed(told)

        return steps.joint_losses(network, SimpleNamespace(ask=ask), batch, config)[1].item()

    assert point(lambda told: told) == pytest.approx(0, abs=1e-10)
    assert point(lambda told: told + 3) == pytest.approx(0, abs=1e-10), "centred within the pair"
    assert point(lambda told: told.flip(1)) > 0.01


def test_pictures_that_were_seen_once_read_the_same(data: Path, tmp_path: Path):
    network, kept, batch, config = sequences(data, tmp_path)
    whole = steps.Eyes(network, kept.processor, replace(config, tune="full"))
    rows = [[picture] for picture in batch.pictures]
    torch.testing.assert_close(kept.ask(network.told, batch.texts, rows), whole.ask(network.told, batch.texts, rows))


def test_blanked_tokens_are_drawn_from_the_seed(data: Path, tmp_path: Path):
    features = steps.PictureFeatures(tokens=torch.ones(4000, 3), deep=(torch.ones(4000, 3),))
    one, again, other = (steps.blanked(features, 0.25, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.tokens, again.tokens) and not torch.equal(one.tokens, other.tokens)
    assert one.tokens.mean().item() == pytest.approx(0.75, abs=0.03) and set(one.tokens.sum(1).tolist()) == {0.0, 3.0}
    assert torch.equal(one.deep[0], one.tokens)
    assert steps.blanked(replace(features, stacked=True), 0.25, torch.Generator()).stacked
    network, eyes, batch, config = sequences(data, tmp_path)
    plain = steps.losses(network, eyes, batch, config)[0]
    assert torch.equal(steps.losses(network, eyes, batch, replace(config, patch_dropout=0.9))[0], plain), (
        "only in training"
    )
    dropped = steps.losses(network.train(), eyes, batch, replace(config, patch_dropout=0.9))[0]
    assert not torch.equal(dropped, plain)


def test_both_orders_cancel_what_the_left_side_gains(data: Path, tmp_path: Path):
    """A head that always says left costs log 2 a pair in both orders, and much in one."""
    network, eyes, batch, config = sequences(data, tmp_path, form="joint", labels="hard")
    with torch.no_grad():
        network.heads["classification"].weight.zero_()
        network.heads["classification"].bias.copy_(torch.tensor([3.0, 0.0]))
        both = steps.losses(network, eyes, batch, config)[0]
        one = steps.losses(network, eyes, batch, replace(config, both_orders=False))[0]
    assert both.item() == pytest.approx(math.log(2), rel=1e-5)
    left = math.log1p(math.exp(-3))
    right = batch.label.eq(0).float().mean().item()
    assert one.item() == pytest.approx((1 - right) * left + right * (3 + left), rel=1e-4)


def test_the_ensemble_s_members_weigh_products_differently(data: Path, tmp_path: Path):
    votes = [samples.votes_of(f"p{n}", toy(data, tmp_path, members=3)) for n in range(2000)]
    means, deviations = np.mean(votes, 0), np.std(votes, 0)
    assert means == pytest.approx([1, 1, 1], abs=0.1) and deviations == pytest.approx([1, 1, 1], abs=0.1)
    assert abs(np.corrcoef(np.transpose(votes))[0, 1]) < 0.1
    assert samples.votes_of("p1", toy(data, tmp_path, members=1)) == [1.0]


def test_frozen_parts_stay_as_they_are(data: Path, uncut: Path, tmp_path: Path):
    start = reward.build(toy(data, tmp_path))[0].state_dict()
    end = weights(uncut)
    changed = {name for name in start if not torch.equal(start[name], end[name])}
    assert changed and not any("vision" in name or "projector" in name for name in changed)


def test_lora_learns_alone_and_loads_with_its_base(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, tune="lora"))
    start, end = reward.build(toy(data, tmp_path))[0].state_dict(), weights(tmp_path)
    same_as_before = {name.replace(".base_layer", ""): value for name, value in end.items() if "lora_" not in name}
    changed = {name for name in start if not torch.equal(start[name], same_as_before[name])}
    heads = {f"heads.utility.{part}" for part in ("tastes.weight", "tastes.bias", "linear", "pairwise")}
    assert changed == heads | {"log_slope"}
    assert (folder / "adapter_config.json").is_file() and not (folder / "model.safetensors").exists()
    assert RewardModel.from_pretrained(str(folder)).fingerprint.count("+") == 1
    with pytest.raises(InputError, match="tune: expected a checkpoint under the LoRA, got a fresh one"):
        steps.freeze(reward.build(toy(data, tmp_path))[0], toy(data, tmp_path, tune="lora", backbone="fresh"))


def test_a_joint_model_exports_and_reads_both_orders(data: Path, tmp_path: Path):
    folder = run(toy(data, tmp_path, form="joint"))
    model = RewardModel.from_pretrained(str(folder))
    assert model.calibration.form == "joint"
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (40, 220, 90)]
    scores = model.score(Product(id="p", title="mug"), pictures, ids=list("abc"))
    again = model.score(Product(id="p", title="mug"), pictures[::-1], ids=list("cba"))[::-1]
    assert [s.utility for s in again] == pytest.approx([s.utility for s in scores], abs=1e-5)
    assert sum(s.utility for s in scores) == pytest.approx(0, abs=1e-6)
    assert model.score(Product(id="p", title="mug"), pictures[:1], ids=["a"])[0].utility == 0


def test_evaluate_measures_a_shipped_folder(data: Path, uncut: Path):
    model = RewardModel.from_pretrained(str(uncut / "model"))
    found = {e.name: e for e in report.evaluate(model, data, data / "clicks.csv", truth=data / "truth.csv")}
    kept = {m["name"]: m for m in json.loads((uncut / "model" / "training.json").read_text())["metrics"]}
    assert {name: e.value for name, e in found.items()} == {name: m["value"] for name, m in kept.items()}
    assert found["share of true CTRs in their 95 % interval"].n == 12


def test_evaluate_says_what_is_left_out_and_what_is_doubtful(data: Path, uncut: Path, tmp_path: Path, capsys):
    log = data / "unknown.csv"
    log.write_text((data / "clicks.csv").read_text() + "p9999,x1,0-0.png,9,1\n")
    report.evaluate(RewardModel.from_pretrained(str(uncut / "model")), data, log)
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("1 creatives left out: product_id: expected a product of the catalogue")
    assert told[1].startswith("confounded: the log does not say position, day, group, propensity")
    run(toy(data, tmp_path, clicks=log, steps=1))
    assert capsys.readouterr().err.splitlines() == told, "training says the same"


def test_a_log_without_a_test_pair_is_trained_on(data: Path, tmp_path: Path):
    rows = (data / "clicks.csv").read_text().splitlines()
    lonely = [row for row in rows if samples.split(row.split(",")[0]) != "test" or "-0.png" in row]
    (data / "lonely.csv").write_text("\n".join(lonely) + "\n")
    folder = run(toy(data, tmp_path, clicks=data / "lonely.csv"))
    assert json.loads((folder / "training.json").read_text())["metrics"] == []


def test_the_truth_is_read_before_the_first_step(data: Path, tmp_path: Path):
    rows = (data / "truth.csv").read_text().splitlines()
    wanted = next(row for row in rows if samples.split(row.split(",")[0]) == "test")
    for text, told in (
        ("\n".join(row for row in rows if row != wanted), f"1 without, the first of them '{wanted.split(',')[1]}'"),
        ("creative_id,rate\nc0-0,0.1\n", "expected a table with columns creative_id and ctr, a number, got KeyError"),
    ):
        (tmp_path / "truth.csv").write_text(text)
        with pytest.raises(CatalogError, match=told):
            run(toy(data, tmp_path / "out", truth=tmp_path / "truth.csv"))
        assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_run_goes_on_under_its_own_settings_only(data: Path, tmp_path: Path):
    reward.keep_to(toy(data, tmp_path, steps=1), SimpleNamespace(is_main_process=False))
    assert not (tmp_path / "settings.json").exists(), "the main process writes for all"
    run(toy(data, tmp_path, steps=1))
    run(toy(data, tmp_path, steps=1, checkpoint_every=7, device="cpu", truth=None))
    with pytest.raises(InputError, match=r"a run with other settings \(lr: 0.0001, now 0.5\)"):
        run(toy(data, tmp_path, steps=1, lr=0.5))


def test_a_warm_up_ends_before_its_leg_does(data: Path, tmp_path: Path):
    for fields in ({"steps": 4}, {"backbone": "fresh", "tower_steps": 4}):
        with pytest.raises(InputError, match="warmup: expected fewer than .*steps, 4, got 4"):
            toy(data, tmp_path, **{"steps": 9, **fields}, warmup=4)
    usual = toy(data, tmp_path)
    assert [usual.warmup_of(steps) for steps in (3000, 400, 60, 4)] == [40, 40, 6, 0]


def test_a_fresh_backbone_depends_on_the_seed_alone(data: Path, tmp_path: Path):
    one, again, other = (
        reward.build(toy(data, tmp_path / name, backbone="fresh", tower_steps=0, seed=seed))[0].state_dict()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(one, again) and not same(one, other)


def test_kept_heads_go_on_from_the_model_that_they_come_from(data: Path, uncut: Path, tmp_path: Path):
    still = {"lr": 0.0, "head_lr": 0.0, "steps": 1, "checkpoint_every": 1, "tower_steps": 0}
    folder = run(toy(data, tmp_path, backbone=str(uncut / "model"), heads="kept", **still))
    before, after = (RewardModel.from_pretrained(str(path)) for path in (uncut / "model", folder))
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (30, 130, 220)]
    mug = Product(id="p", title="Fjord mug", category="mug")
    raw = [model.utilities(mug, pictures) for model in (before, after)]
    assert np.allclose(*raw, atol=1e-3) and np.ptp(raw[0]) > 0  # fp16 in between
    new = run(toy(data, tmp_path / "new", backbone=str(uncut / "model"), **still))
    assert not np.allclose(RewardModel.from_pretrained(str(new)).utilities(mug, pictures), raw[0], atol=1e-3)
    with pytest.raises(
        InputError, match="heads: expected kept heads of form siamese, members 2, got form siamese, mem"
    ):
        run(toy(data, tmp_path / "other", backbone=str(uncut / "model"), heads="kept", members=3))


def test_new_heads_keep_the_tastes_of_a_reward_model(data: Path, uncut: Path, tmp_path: Path):
    config = toy(data, tmp_path, backbone=str(uncut / "model"), members=3, tune="heads")
    start, end = reward.build(config)[0], run(config)
    assert same(start.state_dict(), reward.build(config)[0].state_dict()), "what is new comes from the seed"
    known = RewardModel.from_pretrained(str(uncut / "model")).network.heads["utility"].tastes.weight
    assert torch.equal(start.heads["utility"].tastes.weight, known), "of 3 members where there were 2"
    assert torch.equal(RewardModel.from_pretrained(str(end)).network.heads["utility"].tastes.weight, known)
    run(replace(config, out=tmp_path / "language", tune="language"))
    assert not torch.equal(weights(tmp_path / "language")["heads.utility.tastes.weight"], known)


def test_the_heads_alone_learn_from_states_that_were_read_once(data: Path, tmp_path: Path):
    network, eyes, batch, config = sequences(data, tmp_path, tune="heads")
    read = steps.Eyes(network, eyes.processor, replace(config, tune="language"))
    for eye in (eyes, eyes):
        asked = network.told, batch.texts, [[picture] for picture in batch.pictures]
        torch.testing.assert_close(eye.ask(*asked), read.ask(*asked))
    assert len(eyes.known) == len({picture.tobytes() for picture in batch.pictures})
    before = reward.build(config)[0].state_dict()
    run(config)
    changed = {name for name, value in weights(config.out).items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("heads.", "log_slope")) for name in changed)
