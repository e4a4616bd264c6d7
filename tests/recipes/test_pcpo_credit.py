"""What a round of preference optimisation trains on, by hand: credit, pairs, guards, windows and the preset."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from caig.errors import InputError
from caig.recipes import pcpo_credit
from caig.recipes.pcpo import PRESETS, Config
from caig.recipes.pcpo_credit import Aims, Judged, credited, fitted, levelled, misfit_margin, setting_share
from caig.recipes.pcpo_steps import Shelf, Watched, alarms, best_round
from caig.recipes.pcpo_update import Group, pairs_of
from caig.recipes.presets import with_preset
from caig.types import Product
from tests.recipes.pcpo_toys import TEXTS, write_shelf


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    return write_shelf(tmp_path_factory.mktemp("shelf"))


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


BEFORE = {"kl": 0.0, "entropy": 2.0, "distinct_2": 0.5, "utility": 0.0, "match": 0.6, "guard": 1.0}


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({}, None),
        ({"kl": 31.0}, "kl 31 is above 30"),
        ({"entropy": 1.5}, "entropy 1.5 is below 1.6"),
        ({"distinct_2": 0.19}, "distinct_2 0.19 is below 0.2"),
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


@pytest.mark.parametrize(
    ("entropy", "share"), [(2.0, 1.0), (1.9, 2 / 3), (1.7, 0.0), (1.64, -0.2), (1.0, -1.0), (2.5, 1.0)]
)
def test_a_setting_counts_less_the_nearer_entropy_is_to_its_guard(entropy: float, share: float):
    config = Config(catalog=Path("c"), out=Path("o"), min_entropy=0.8)  # so that nothing counts at 0.85 of 2
    now, shares = {**BEFORE, "entropy": entropy}, [0.4]
    for _ in range(30):
        shares.append(setting_share(config, shares[-1], BEFORE, now))
    assert shares[1] == pytest.approx((0.4 + share) / 2), "half of the way in each"
    assert shares[-1] == pytest.approx(share, abs=1e-6)
    free = Config(catalog=Path("c"), out=Path("o"), min_entropy=0.0)
    assert setting_share(free, 0.0, BEFORE, {**BEFORE, "entropy": entropy}) == 1.0
    with pytest.raises(InputError, match="min_entropy: expected 0 to 0.9, got 0.95"):
        Config(catalog=Path("c"), out=Path("o"), min_entropy=0.95)


def test_texts_that_do_not_suit_come_off_worse_by_the_margin():
    kitchen, beach, unknown = TEXTS[0], TEXTS[1], "plain words"
    products = [
        Product(id="milk", title="Oat milk", category="milk"),
        Product(id="jam", title="Plum jam", category="milk"),
        Product(id="x", title="Velmora", category="no such kind"),
    ]
    drafts = {"milk": [kitchen, beach, unknown], "jam": [beach, kitchen, kitchen], "x": [kitchen, beach]}
    utilities = {"milk": [1.0, 2.0, 3.0], "jam": [0.5, 1.0, 1.5], "x": [4.0, 5.0]}
    # Misfits less what suits: milk 1 and 2, jam -0.5 and -1; 0.375 on average.
    found = fitted(products, drafts, utilities, 0.25)
    assert found.price == 0.625
    assert found.utilities == {"milk": [1.0, 1.375, 2.375], "jam": [-0.125, 1.0, 1.5], "x": [4.0, 5.0]}
    assert fitted(products, drafts, found.utilities, 0.25).price == pytest.approx(0), "no more is asked"
    dear = {**utilities, "milk": [9.0, 2.0, 3.0]}
    assert fitted(products, drafts, dear, 0.25) == Aims(dear, 0.0), "they never gain"
    assert fitted(products, drafts, utilities, -0.5) == Aims(utilities, 0.0)
    assert fitted(products[2:], drafts, utilities, 0.25).utilities == {"x": [4.0, 5.0]}, "what suits is not known"


@pytest.mark.parametrize(
    ("match", "margin"), [(0.8, 0.03), (0.76, 0.06), (0.7, 0.06), (0.82, 0.015), (0.84, 0.0), (0.9, 0.0)]
)
def test_the_margin_of_misfits_follows_the_match_rate(match: float, margin: float):
    config = Config(catalog=Path("c"), out=Path("o"), misfit_margin=0.03)
    assert misfit_margin(config, {"match": 0.8}, {"match": match}) == pytest.approx(margin)
    assert misfit_margin(config, {}, {}) == 0.03, "what suits is not known"


def test_watched_products_never_train_and_windows_go_round(shelf: list[Product]):
    config = Config(catalog=Path("c"), out=Path("o"), products=4, watch=3)
    found = Shelf.of(config, shelf)
    assert not {p.id for p in found.train} & {p.id for p in found.watched} and found.watched
    ids = [p.id for r in range(3) for p in found.window(r)]
    assert len(found.window(0)) == 4 and ids == [found.train[i % len(found.train)].id for i in range(12)]
    with pytest.raises(InputError, match="expected at least 2 products to train on and 1 to watch"):
        Shelf.of(config, shelf[:1])


def test_the_published_preset():
    asked = Config(catalog=Path("c"), out=Path("o"), preset="caig-published", products=64, lr=1e-5)
    found = with_preset(asked, PRESETS)
    assert (found.candidates, found.beta, found.rank, found.alpha, found.labels) == (2, 0.5, 128, 256.0, "hard")
    assert (found.products, found.lr) == (64, 1e-5), "what was given stays"
    assert with_preset(replace(asked, preset=""), PRESETS) == replace(asked, preset="")
    with pytest.raises(InputError, match="candidates: expected at least 2 to compare, got 1"):
        Config(catalog=Path("c"), out=Path("o"), candidates=1)
    with pytest.raises(InputError, match="corruptions: expected at least 1, got 0"):
        Config(catalog=Path("c"), out=Path("o"), corruptions=0)
