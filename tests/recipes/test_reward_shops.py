"""The second leg: what many shops' clicks are made into, and that a cut leg equals an uncut one."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from caig.errors import CatalogError, InputError
from caig.models.reward_model import GREY, RewardNetwork, width_of
from caig.preference.losses import click_share_error
from caig.recipes import reward
from caig.recipes.reward import Config, samples, shops
from tests.recipes.reward_toys import TINY, toy, weights, write_log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shops: in one brighter pictures are clicked more; the other has p0002 alone, with its darkest picture."""
    data = write_log(tmp_path_factory.mktemp("data"))
    (data / "shops").mkdir()
    (data / "shops" / "bright.csv").write_text((data / "clicks.csv").read_text())
    dark = ["product_id,creative_id,image,impressions,clicks", "p0002,c2-0,2-0.png,50,9"]
    (data / "shops" / "dark.csv").write_text("\n".join(dark) + "\n")
    return data


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "SIZE", TINY)


def config(data: Path, out: Path, **fields) -> Config:
    usual = {"backbone": "fresh", "tower_steps": 0, "shops": data / "shops", "shop_steps": 3, "checkpoint_every": 1}
    usual |= {"shop_products": 3}
    return toy(data, out, **usual | {"warmup": 1} | fields)


def test_what_shops_counted_by_hand(data: Path, tmp_path: Path):
    logs = sorted((data / "shops").iterdir())
    parts = shops.read_shelves(config(data, tmp_path), logs, 32)
    train = parts["train"]
    assert {product.id for product in train.products}.isdisjoint(p.id for p in parts["validation"].products)
    assert len(train.pictures) == 27 and len(train.rows) == 9
    own = [row for row, product in enumerate(train.products) if product.id == "p0002"]
    assert train.impressions[own].tolist() == [[5000, 50], [5000, 0], [5000, 0]]
    assert train.clicks[own].tolist() == [[100, 9], [150, 0], [200, 0]]
    assert shops.categories_of(samples.read_titles(data, None)) == ["mug"] and not train.category.any()


def test_shops_that_share_a_creative_id_keep_their_pictures(data: Path, tmp_path: Path):
    other = tmp_path / "other.csv"
    other.write_text("product_id,creative_id,image,impressions,clicks\np0002,c2-0,2-2.png,70,7\n")
    train = shops.read_shelves(config(data, tmp_path), [data / "shops" / "dark.csv", other], 32)["train"]
    assert train.impressions.tolist() == [[50, 0], [0, 70]]
    assert [int(picture[0, 0, 0]) for picture in train.pictures] == [42, 222]


def test_the_losses_are_the_mean_over_shops_and_that_of_naming_the_category(data: Path, tmp_path: Path):
    settings = config(data, tmp_path)
    network, processor, side = reward.build(replace(settings, shops=None, members=2))
    shelf = shops.read_shelves(settings, sorted((data / "shops").iterdir()), side)["train"]
    one = replace(shelf, rows=shelf.rows[:1], category=torch.ones_like(shelf.category))
    network.eval()
    naming = torch.nn.Linear(width_of(network.backbone), 3)
    torch.nn.init.zeros_(naming.weight)
    with torch.no_grad():
        naming.bias.copy_(torch.tensor([0.0, 2.0, 0.0]))
    about = replace(settings, attribute_dropout=0.0)
    found, named = shops.shop_losses(network, naming, one, shops.draw_shown(processor, one, about, seed=0))
    alike = click_share_error(torch.zeros(3), torch.tensor([1.0, 1.5, 2]), torch.ones(3), torch.zeros(3).long())
    print(f"required: about {alike / 2:.4f}, of utilities that hardly differ; measured: {found:.4f}")
    assert found.item() == pytest.approx(alike.item() / 2, rel=0.2), "the second shop has one picture: nothing to tell"
    assert named.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_a_step_draws_as_many_products_as_asked(data: Path, tmp_path: Path):
    settings = config(data, tmp_path, shop_products=2)
    _, processor, side = reward.build(replace(settings, shops=None))
    shelf = shops.read_shelves(settings, sorted((data / "shops").iterdir()), side)["train"]
    shown = shops.draw_shown(processor, shelf, settings, seed=1)
    assert shown.owner.tolist() == [0, 0, 0, 1, 1, 1] and len(shown.inputs["input_ids"]) == len(shown.picked) == 6
    assert len({shelf.products[row].id for row in shown.picked.tolist()[:3]}) == 1


def test_a_resumed_leg_equals_an_uncut_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    uncut = reward.build(config(data, tmp_path / "uncut"))[0]
    loss, cut = shops.shop_losses, [None] * 3 + [KeyboardInterrupt]  # a step, its validation, the next step, cut

    def interrupted(*args):
        if error := (cut.pop(0) if cut else None):
            raise error
        return loss(*args)

    monkeypatch.setattr(shops, "VALIDATION_BATCHES", 1)
    monkeypatch.setattr(shops, "shop_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reward.build(config(data, tmp_path / "cut"))
    monkeypatch.setattr(shops, "shop_losses", loss)
    resumed = reward.build(config(data, tmp_path / "cut"))[0]
    one, other = uncut.state_dict(), resumed.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert uncut.members == config(data, tmp_path).members and uncut.surprise() == 0, "it likes what is usual"
    assert one["heads.utility.mix"].shape == (uncut.members, 2) and one["heads.utility.shops_linear"][1:].any()
    untrained = reward.build(config(data, tmp_path / "none", shop_steps=0))[0].state_dict()
    assert not torch.equal(untrained["heads.utility.tastes.weight"], one["heads.utility.tastes.weight"])


def test_heads_alone_decide_how_the_shops_are_mixed(data: Path, tmp_path: Path):
    taught, _, _ = reward.build(config(data, tmp_path / "taught"))
    reward.run(config(data, tmp_path / "taught"))
    start = dict(backbone=str(tmp_path / "taught" / "model"), shops=None, steps=3)
    before = reward.build(config(data, tmp_path, tune="heads", **start))[0]
    assert torch.allclose(before.heads["utility"].shops_linear, taught.heads["utility"].shops_linear, atol=1e-3)
    reward.run(config(data, tmp_path, tune="heads", **start))
    after, kept = weights(tmp_path), before.state_dict()
    learned = {f"heads.utility.{name}" for name in ("mix", "linear", "pairwise")} | {"log_slope"}
    assert {name for name in after if not torch.equal(after[name], kept[name])} == learned


def test_the_prior_is_a_term_of_its_own(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reward.run(config(data, tmp_path / "taught"))
    start = dict(backbone=str(tmp_path / "taught" / "model"), shops=None, tune="heads", head_lr=0.1, steps=20)

    def size(out: str, **fields: float) -> float:
        reward.run(config(data, tmp_path / out, **start, **fields))
        return weights(tmp_path / out)["heads.utility.linear"].square().sum().item()

    free, held = (size(f"{weight}", point_weight=0.0, prior_weight=weight) for weight in (0.0, 1e6))
    print(f"required: smaller with the prior, without the point loss; measured {free:.4f}, {held:.4f}")
    assert held < free / 2
    monkeypatch.setattr(RewardNetwork, "surprise", lambda network: network.log_slope * 0 + 1e9)
    size("surprised")
    lines = [json.loads(line) for line in (tmp_path / "surprised" / "log.jsonl").read_text().splitlines()]
    assert max(line["point_loss"] for line in lines if "point_loss" in line) < 1, "logged without it"


def test_a_shop_is_a_file_or_a_folder_whatever_it_is_made_of(data: Path, tmp_path: Path):
    header, folder = "product_id,creative_id,image,impressions,clicks", tmp_path / "shops"
    for shop, clicks in (("a", 3), ("b", 7)):
        for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
            (folder / shop / f"day={day}").mkdir(parents=True)
            rows = [f"p0002,c2-{k},2-{k}.png,50,{clicks + k}" for k in range(3)]
            (folder / shop / f"day={day}" / "part-0.csv").write_text("\n".join([header, *rows]) + "\n")
    logs = shops.logs_of(folder)
    assert logs == [folder / "a", folder / "b"], "not one for each day"
    train = shops.read_shelves(config(data, tmp_path), logs, 32)["train"]
    assert train.impressions.tolist() == [[150, 150]] * 3 and train.clicks.tolist() == [[9, 21], [12, 24], [15, 27]]
    assert shops.logs_of(data / "shops") == [data / "shops" / "bright.csv", data / "shops" / "dark.csv"]


def test_what_is_withheld_is_kept_from_this_leg_too(data: Path, tmp_path: Path):
    blind = config(data, tmp_path, without=("title", "image"), attribute_dropout=1.0)
    shelf = shops.read_shelves(blind, shops.logs_of(data / "shops"), 32)["train"]
    assert {(one.title, one.category) for one in shelf.products} == {("", "")}
    assert all((picture == GREY).all() for picture in shelf.pictures)


def test_one_shop_is_too_few(data: Path, tmp_path: Path):
    (tmp_path / "shops").mkdir()
    (tmp_path / "shops" / "one.csv").write_text((data / "clicks.csv").read_text())
    with pytest.raises(InputError, match="expected click logs of two shops or more, got 1"):
        reward.build(config(data, tmp_path, shops=tmp_path / "shops"))


def test_a_leg_goes_on_under_its_own_settings_only(data: Path, tmp_path: Path):
    reward.build(config(data, tmp_path))
    with pytest.raises(InputError, match="a run with other settings .shop_products: 3, now 2"):
        reward.build(config(data, tmp_path, shop_products=2))
    log = data / "shops" / "third.csv"
    log.write_text((data / "shops" / "bright.csv").read_text())
    with pytest.raises(
        InputError, match=r"settings .shops: .'bright.csv', 'dark.csv'., now .'bright.csv', 'dark.csv', 'third.csv'"
    ):
        reward.build(config(data, tmp_path))
    log.unlink()


def test_a_reward_model_goes_on_from_what_it_knows(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reward.run(config(data, tmp_path / "taught"))
    start = {"backbone": str(tmp_path / "taught" / "model"), "tower_steps": 5}  # of no use: it can see
    before = reward.build(config(data, tmp_path, shops=None, **start))[0].state_dict()
    monkeypatch.setattr(shops, "KNOWN_LR", 0.0)
    monkeypatch.setattr(shops, "NEW_LR", 0.0)
    stayed = reward.build(config(data, tmp_path / "still", **start))[0].state_dict()
    apart = {name for name in before if not torch.equal(before[name], stayed[name])}
    assert apart == {f"heads.utility.{of}_{name}" for of in ("shops", "spread") for name in ("linear", "pairwise")}
    usual = "heads.utility.shops_linear"
    assert torch.allclose(stayed[usual][0], before[usual][0]) and not stayed[usual][1:].any(), "all like what is usual"
    monkeypatch.undo()
    monkeypatch.setattr(samples, "SIZE", TINY)
    moved = reward.build(config(data, tmp_path / "moved", **start))[0].state_dict()
    assert not torch.equal(moved["heads.utility.tastes.weight"], before["heads.utility.tastes.weight"])
    assert moved[usual][1:].any()
    lesson = shops.Lesson(
        config(data, tmp_path, **start), reward.build(config(data, tmp_path, shops=None, **start))[0], 2
    )
    rates = {id(weight): group["initial_lr"] for group in lesson.learning() for weight in group["params"]}
    of = {name: rates.get(id(weight)) for name, weight in lesson.named_parameters()}
    assert of["naming.weight"] == of["network.heads.utility.pairwise"] == shops.NEW_LR
    assert of["network.heads.utility.tastes.weight"] == shops.KNOWN_LR and of["network.log_slope"] is None


def test_shops_teach_siamese_models_with_new_heads_only(data: Path, tmp_path: Path):
    for fields in ({"backbone": "embedded", "heads": "kept"}, {"form": "joint"}):
        with pytest.raises(InputError, match="shops: expected siamese with new heads, got"):
            config(data, tmp_path, **fields)


def test_logs_without_pictures_are_told(data: Path, tmp_path: Path):
    with pytest.raises(CatalogError, match="a training product with two pictures that can be read"):
        shops.read_shelves(config(data, tmp_path), [data / "shops" / "dark.csv"], 32)


def test_what_cannot_be_used_is_listed(data: Path, tmp_path: Path):
    log = tmp_path / "more.csv"
    log.write_text((data / "clicks.csv").read_text() + "p9999,x1,0-0.png,9,1\np0002,x2,missing.png,9,1\n")
    shelf = shops.read_shelves(config(data, tmp_path), [log], 32)["train"]
    listed = (tmp_path / "shops-rejected.jsonl").read_text()
    assert len(shelf.pictures) == 27 and "'x1' of 'p9999'" in listed and "creative 'x2'" in listed
