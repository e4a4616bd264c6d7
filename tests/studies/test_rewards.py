"""The ladder of reward models at toy size: cells are kept, tables by hand, baselines learn what they can see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from caig.data.scenes import read_scenes
from caig.errors import InputError
from caig.models.mllm import BackboneSize
from caig.models.reward_model import GREY, RewardModel
from caig.recipes import reward
from caig.recipes.reward import samples
from caig.shop.shoppers import World
from caig.studies import reward_baselines, rewards
from caig.studies.reward_systems import ABLATIONS, NEW_NOUNS, REFERENCES, THIRTY_TWO
from caig.studies.reward_tables import Judged, buckets, difference, judge, ladder, on_new_nouns, tables
from caig.studies.rewards import (
    Config,
    Shelf,
    accuracy,
    cell_path,
    has_held_out_noun,
    measured,
    noun_of,
    observed_pairs,
    read_cell,
    run,
)
from caig.types import Estimate
from tests.archives import webp, write_tar

TINY = BackboneSize(image=64, patch=32, vision_width=32, vision_layers=1, width=32, layers=1, vocabulary=300)
PRODUCTS, EACH = 24, 3


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 products in three scenes each: a block on a ground of random light and colour."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    products, shown = {}, {}
    for n in range(PRODUCTS):
        about = {
            "id": f"p{n:04d}",
            "category": f"kind {n % 2}",
            "title": f"Fjord item {n % 6} 30 ml, navy",
            "price": 9.5,
        }
        cutout = np.zeros((64, 64, 4), np.uint8)
        cutout[20:50, 22:42] = (40, 80, 160, 255)
        products |= {f"p{n:04d}.image.webp": webp(cutout), f"p{n:04d}.json": json.dumps(about).encode()}
        for k in range(EACH):
            ground = rng.integers(30, 220, 3) + rng.integers(-25, 25, (64, 64, 3))
            picture = np.where(cutout[..., 3:] > 0, cutout[..., :3], ground).clip(0, 255).astype(np.uint8)
            name = f"s{n:04d}{k}"
            record = {"id": name, "product": about}
            shown |= {f"{name}.image.webp": webp(picture), f"{name}.product.webp": webp(cutout)}
            shown[f"{name}.json"] = json.dumps(record).encode()
    write_tar(folder / "products.tar", products)
    write_tar(folder / "scenes-00.tar", shown)
    return folder


def toy(scenes: Path, out: Path, **fields) -> Config:
    usual = {"worlds": 1, "tower_steps": 1, "shops": 2, "shop_steps": 1, "steps": 2, "lrs": (1e-3,)}
    usual |= {"systems": ("chance", "oracle", "statistics")}
    return Config(**{"scenes": scenes, "out": out, "impressions": 800} | usual | fields)


def shelf_of(config: Config) -> Shelf:
    found = sorted(read_scenes(config.scenes), key=lambda scene: scene.product["id"])
    return Shelf(config=config, seed=config.seed, ads=measured(config, found), scenes=found)


def estimates(lines: list[Estimate | str]) -> dict[str, Estimate]:
    return {line.name: line for line in lines if isinstance(line, Estimate)}


def test_a_study_keeps_its_cells(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "SIZE", TINY)
    config = toy(scenes, tmp_path, systems=("chance", "ours", "published", "ours, 1,000 impressions"))
    filled, fill = [], rewards.fill

    def cut(shelf: Shelf, system: str):
        filled.append(system)
        if system == "published":
            raise KeyboardInterrupt
        return fill(shelf, system)

    monkeypatch.setattr(rewards, "fill", cut)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert filled == ["chance", "ours", "published"]
    lines = run(replace(config, systems=("chance", "ours")))
    assert filled == ["chance", "ours", "published"], "no cell was filled again"
    assert estimates(lines)["scoring 16 candidates: joint over siamese, CPU time"].value > 3
    found = estimates(lines)
    assert found["chance: pair accuracy"].value == 0.5 and found["chance: way from chance to the ceiling"].value == 0
    assert found["ours: ceiling"].n == found["chance: ceiling"].n > 0
    assert not list((tmp_path / "runs").iterdir()), "runs are cleared away"
    assert sorted(path.name for path in (tmp_path / "shops").iterdir()) == ["w10000.csv", "w10001.csv"]
    assert read_cell(config, config.seed, "ours")["chosen"] == 0
    assert tables(config, [shelf_of(config)])[-2:] == ["not run: published", "not run: ours, 1,000 impressions"]


def test_a_folder_holds_one_study(scenes: Path, tmp_path: Path):
    config = toy(scenes, tmp_path, systems=("chance",))
    run(config)
    run(replace(config, worlds=2, lrs=(1.0,), threads=2, systems=("chance", "oracle")))
    for fields in ({"impressions": 900}, {"steps": 3}, {"backbone": "embedded"}, {"shops": 3}):
        with pytest.raises(InputError, match=f"a run with other settings .{next(iter(fields))}: "):
            run(replace(config, **fields))
    with pytest.raises(InputError, match="shops: expected none, or two or more, got 1"):
        run(toy(scenes, tmp_path / "one", shops=1))


def test_what_training_did_not_see_is_kept_from_the_judged_pictures_too(scenes: Path, tmp_path: Path, monkeypatch):
    shelf, shown = shelf_of(toy(scenes, tmp_path)), []

    def score(product, pictures, ids):
        shown.append((product, pictures))
        return [SimpleNamespace(utility=0.0) for _ in ids]

    monkeypatch.setattr(rewards, "tower", lambda config: scenes)
    monkeypatch.setattr(reward, "run", lambda settings: settings.out.mkdir(parents=True) or settings.out)
    monkeypatch.setattr(RewardModel, "from_pretrained", lambda *_, **__: SimpleNamespace(score=score))
    kept, scene = {}, shelf.scenes[rewards.held_out_rows(shelf)[0][0]]
    for system in ("ours", "ours, attributes off", "ours, all words blanked", "ours, image blanked"):
        shown.clear()
        rewards.trained(shelf, system)
        kept[system] = shown[0]
    assert [(one.title, one.category, dict(one.attributes)) for one, _ in kept.values()] == [
        ("Fjord item 0 30 ml, navy", "kind 0", {"price": 9.5}),
        ("Fjord item 0 30 ml, navy", "", {}),
        ("", "", {}),
        ("Fjord item 0 30 ml, navy", "kind 0", {"price": 9.5}),
    ]
    picture = scene.image()
    assert all(np.array_equal(kept[system][1][0], picture) for system in list(kept)[:3])
    assert all((one == GREY).all() for one in kept["ours, image blanked"][1])


def test_each_ablation_differs_in_one_thing():
    known = {"ours, joint, both orders", THIRTY_TWO}  # the table's docstring says in what else
    for name, reference in REFERENCES.items():
        one, other = ABLATIONS[name], ABLATIONS[reference]
        changed = [field for field in {**one, **other} if one.get(field) != other.get(field)]
        assert (len(changed) == 1) != (name in known), (name, changed)


def test_a_step_of_heads_alone_draws_four_times_the_pictures_but_in_one_row():
    of_the_study = {"impressions", "nouns"}
    for name, fields in ABLATIONS.items():
        own = {field: value for field, value in fields.items() if field not in of_the_study}
        products, pictures = reward.Config(data=Path(), clicks=Path(), out=Path(), **own).drawn
        many = fields.get("tune") == "heads" and name != THIRTY_TWO
        assert products * pictures == (128 if many else 32), name


def test_a_named_backbone_takes_the_place_of_a_tower_trained_here(scenes: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(samples, "SIZE", TINY)
    first = toy(scenes, tmp_path / "first", systems=("ours",))
    run(first)
    folder, started = first.out / "tower" / "model", []
    from caig.recipes import reward

    train = reward.run
    monkeypatch.setattr(reward, "run", lambda config: started.append(config.backbone) or train(config))
    again = replace(first, out=tmp_path / "again", backbone=str(folder))
    run(again)
    assert started == [str(folder)] and not (again.out / "tower").exists()
    one, other = (read_cell(config, config.seed, "ours")["utility"] for config in (first, again))
    assert one == other and any(one)


def test_the_oracle_learns_and_its_features_are_measured_once(scenes: Path, tmp_path: Path, monkeypatch):
    config = toy(scenes, tmp_path, impressions=20_000)
    shelf = shelf_of(config)
    monkeypatch.setattr(rewards, "ad_of", lambda scene: pytest.fail("measured again"))
    assert [ad.look.tolist() for ad in shelf_of(config).ads] == [ad.look.tolist() for ad in shelf.ads]
    utility, _ = reward_baselines.oracle(shelf)
    assert accuracy(shelf, utility, "train") > 0.8
    (tmp_path / "looks.json").write_text('{"s1": [0]}')
    with pytest.raises(InputError, match="expected measures of these scenes, got those of others"):
        shelf_of(config)


def test_other_shops_count_what_their_shoppers_like(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rewards, "SHOP_IMPRESSIONS", 10**6)
    config = toy(scenes, tmp_path)
    shelf = shelf_of(config)
    for path, seed in zip(sorted(rewards.other_shops(config).iterdir()), (10_000, 10_001), strict=True):
        table = pl.read_csv(path)
        assert table["creative_id"].to_list() == [ad.id for ad in shelf.ads]
        truth, seen = World(seed).ctr(shelf.ads), table["clicks"].to_numpy() / table["impressions"].to_numpy()
        assert seen == pytest.approx(truth, rel=0.05) and seen != pytest.approx(shelf.world.ctr(shelf.ads), rel=0.05)


def test_systems_choose_among_the_rates_and_heads_alone_have_their_own(scenes: Path, tmp_path: Path, monkeypatch):
    shelf, rates, own = shelf_of(toy(scenes, tmp_path, lrs=(1e-4, 5e-4))), [], reward_baselines.CNN_RATES
    right = shelf.world.ctr(shelf.ads)
    monkeypatch.setattr(rewards, "_train", lambda *about: rates.append(about[-1]) or right * (about[-1] - 2e-4))
    assert rewards.trained(shelf, "published")[1] == 5e-4 and rates == [1e-4, 5e-4]
    assert rewards.trained(shelf, "ours")[1] == 0.0 and rates[2:] == [0.0], "nothing to choose"
    monkeypatch.setattr(reward_baselines, "_train_cnn", lambda shelf, lr: right * (lr - 3e-3))
    cells = [rewards.fill(shelf, system) for system in ("published", "ours", "cnn")]
    assert [(cell["chosen"], cell["rates"]) for cell in cells] == [(5e-4, (1e-4, 5e-4)), (0.0, ()), (own[-1], own)]


def test_statistics_and_cnn_learn_the_training_products(scenes: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(reward_baselines, "CNN_RATES", (3e-3,))
    shelf = shelf_of(toy(scenes, tmp_path, impressions=20_000, steps=60))
    for fit in (reward_baselines.statistics, reward_baselines.cnn):
        utility, _ = fit(shelf)
        assert accuracy(shelf, utility, "train") > 0.7, fit.__name__


def test_statistics_by_hand():
    flat = reward_baselines.measure(np.full((40, 40, 3), 255, np.uint8))
    assert flat[:5] == pytest.approx([100, 0, 0, 0, 0], abs=0.1), "white: L* 100, no colour, no slope"
    assert flat[5:15] == pytest.approx(np.zeros(10), abs=0.1) and flat[15:] == pytest.approx(
        np.log([0.05, 0.05]), abs=0.1
    )


def test_nouns_leave_brand_amount_and_colour_out(scenes: Path, tmp_path: Path):
    shelf = shelf_of(toy(scenes, tmp_path))
    assert {noun_of(ad) for ad in shelf.ads} == {f"item {k}" for k in range(6)}
    # per category three nouns, of which the first is held out: items 0, 2, 4 and 1, 3, 5
    assert {noun_of(ad) for ad in shelf.ads if has_held_out_noun(shelf, ad)} == {"item 0", "item 1"}
    kept = rewards.without_held_out_nouns(shelf, shelf.log(800)).read_text()
    for ad, part in zip(shelf.ads, shelf.part, strict=True):
        assert (f",{ad.id}," in kept) == (part != "train" or not has_held_out_noun(shelf, ad))


def keep(shelf: Shelf, system: str, utility: np.ndarray, **fields) -> None:
    path = cell_path(shelf.config, shelf.seed, system)
    path.parent.mkdir(exist_ok=True)
    cell = {"system": system, "seed": shelf.seed, "chosen": 0.0, "seconds": 0.0, "utility": utility.tolist()}
    path.write_text(json.dumps(cell | fields))


def test_a_judge_that_knows_the_truth_and_one_that_turns_it_round(scenes: Path, tmp_path: Path):
    shelf = shelf_of(toy(scenes, tmp_path))
    painted = [n % EACH == 0 or n // EACH % 2 == 1 and n % EACH == 1 for n in range(len(shelf.ads))]
    marked = [replace(s, archive="painted-00.tar") if p else s for s, p in zip(shelf.scenes, painted, strict=True)]
    shelf = replace(shelf, scenes=marked)
    ctr = shelf.world.ctr(shelf.ads)
    for system, sign in (("ours", 1), ("published", -1)):
        keep(shelf, system, sign * np.log(ctr))
    knows, turned = (judge(shelf.config, [shelf], system) for system in ("ours", "published"))
    first, second, observed = observed_pairs(shelf, "test")
    tied, better = observed == 0.5, ctr[first] > ctr[second]
    assert knows.order.tolist() == better.tolist() and 0 < better.mean() < 1
    assert knows.most.tolist() == np.where(tied, 0.5, better == (observed == 1)).tolist() == knows.right.tolist()
    assert turned.most.tolist() == knows.most.tolist() == (1 - turned.right).tolist() and knows.most.mean() > 0.5
    assert ((knows.chance > 0.5) == better).all() and ((turned.chance > 0.5) != better).all()
    assert knows.ratio == pytest.approx(np.exp(np.abs(np.log(ctr[first]) - np.log(ctr[second]))))
    assert set(knows.tau) == {1.0} and set(turned.tau) == {-1.0} and len(knows.tau) == len(set(knows.owner))
    assert knows.ndcg == pytest.approx(np.ones(len(knows.tau))) and max(turned.ndcg) < 1
    counts = [painted[a] + painted[b] for a, b in zip(first, second, strict=True)]
    assert knows.painted.tolist() == counts and set(counts) == {0, 1, 2}


def test_the_tables_say_which_learning_rates_were_chosen_of_which(scenes: Path, tmp_path: Path):
    config = toy(scenes, tmp_path, worlds=2, systems=("cnn", "published", "ours", THIRTY_TWO, "ours, whole network"))
    shelves = [replace(shelf_of(config), seed=seed) for seed in (160, 161)]
    for shelf, of_cnn, of_published in zip(shelves, ([5e-4, 2e-3, 5e-3], None), ([1e-4, 5e-4], [5e-4]), strict=True):
        utility = np.zeros(len(shelf.ads))
        keep(shelf, "cnn", utility, chosen=2e-3, **({"rates": of_cnn} if of_cnn else {}))
        keep(shelf, "published", utility, chosen=5e-4, rates=of_published)
        keep(shelf, "ours", utility, rates=[])
        keep(shelf, THIRTY_TWO, utility)
        keep(shelf, "ours, whole network", utility, chosen=5e-4, rates=[5e-4])
    lines = tables(config, shelves)
    assert [line for line in lines if isinstance(line, str)] == [
        "cnn: learning rate 0.002 in w160 (of 0.0005, 0.002, 0.005), 0.002 in w161 (of rates that were not kept)",
        "published: learning rate 0.0005 in w160 (of 0.0001, 0.0005, at the edge of those tried), "
        "0.0005 in w161 (of 0.0005)",
    ]
    held = [name for name in estimates(lines) if " less " in name and name.endswith("pair accuracy")]
    assert [name.removesuffix(": pair accuracy") for name in held] == [
        "ours less published",
        f"{THIRTY_TWO} less published",
        f"{THIRTY_TWO} less ours",
    ]


def judged(right: list[float]) -> Judged:
    return Judged(
        owner=["a", "a", "b", "b"],
        right=np.array(right),
        most=np.array([1.0, 1.0, 1.0, 0.0]),
        chance=np.array([0.9, 0.6, 0.3, 0.2]),
        order=np.array([1.0, 1.0, 0.0, 1.0]),
        ratio=np.array([1.05, 1.2, 1.2, 2.0]),
        new_noun=np.array([True, False, False, False]),
        painted=np.array([0, 0, 2, 2]),
        tau=[0.5, 1.0],
        ndcg=[0.9, 1.0],
        product=["a", "b"],
    )


def test_tables_by_hand():
    found = {e.name: e.value for e in ladder("x", judged([1, 1, 0.5, 0]))}
    assert found["x: pair accuracy"] == 0.625 and found["x: ceiling"] == 0.75
    assert found["x: way from chance to the ceiling"] == 0.5
    assert (found["x: Kendall tau per product, true CTR"], found["x: NDCG per product, true CTR"]) == (0.75, 0.95)
    assert difference("d", judged([1, 1, 0.5, 0]), judged([0, 0, 0.5, 0])).value == 0.5
    split = {e.name: (e.value, e.n) for e in buckets(judged([1, 0, 1, 0]))}
    assert split["ours, true CTR ratio 1.1 to 1.3: pair accuracy"] == (0.5, 2)
    assert split["ours, nouns of the held-out kind: pair accuracy"] == (1.0, 1)


def test_new_nouns_are_held_against_ours_on_the_same_pairs():
    own, ours = judged([0, 1, 1, 1]), judged([1, 0, 0, 0])
    assert [(e.name.partition(":")[0], e.value, e.n) for e in on_new_nouns(own, ours)] == [
        (f"{NEW_NOUNS}, on those nouns", 0.0, 1),
        ("ours, on the same pairs", 1.0, 1),
        (f"{NEW_NOUNS} less ours, on those nouns", -1.0, 1),
    ]


def test_an_unknown_system_is_told(scenes: Path, tmp_path: Path):
    with pytest.raises(InputError, match="expected chance, statistics, oracle.* got magic"):
        run(toy(scenes, tmp_path, systems=("magic",)))
