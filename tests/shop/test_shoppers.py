"""Worlds: bounded CTRs, tastes of a category, an attraction that all share; the same seed, the same world."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest

from caig.data.scenes import read_scenes
from caig.shop import shoppers
from caig.shop.shoppers import GROUPS, HIGH, LOW, RANGE, Ad, World
from caig.shop.statistics import NAMES
from caig.types import Product

DATA = Path(__file__).parents[1] / "data"
CATEGORIES = [f"category {k}" for k in range(14)]
SEEDS = range(6)


def product(id: str = "p1", category: str = "wine", title: str = "A wine") -> Product:
    return Product(id=id, title=title, category=category)


def ads(category: str, number: int = 600, seed: int = 0) -> list[Ad]:
    """Ordinary looks: standard normal, as those of the renders are."""
    looks = np.random.default_rng(seed).standard_normal((number, len(NAMES))).clip(-3, 3)
    return [Ad(id=f"a{k}", product=product(f"p{k // 5}", category), look=look) for k, look in enumerate(looks)]


def test_a_ctr_by_hand() -> None:
    world = World(3)
    look = np.arange(len(NAMES)) / 10
    groups = []
    for pull in world.taste("wine"):
        appeal = look @ (world.attraction + pull) - shoppers.CURVATURE / 2 * (look @ look - len(NAMES))
        groups.append(world.base_rate(product()) * np.exp(RANGE * np.tanh(appeal / RANGE)))
    ad = Ad(id="a", product=product(), look=look)
    assert world.group_ctr([ad])[0] == pytest.approx(groups)
    assert world.ctr([ad])[0] == pytest.approx(0.5 * groups[0] + 0.3 * groups[1] + 0.2 * groups[2])


def test_pixels_are_judged_and_never_words() -> None:
    scene = read_scenes(DATA)[0]
    image, mask = scene.image(), scene.cutout()[..., 3].astype(np.float32) / 255
    found = [World(0).true_ctr(image, mask, product(title=title)) for title in ("A wine", "Something else")]
    assert found[0] == found[1] == World(0).ctr([Ad.of("a", image, mask, product())])[0]
    assert World(0).true_ctr(image // 2, mask, product()) != found[0]
    assert "description" not in inspect.signature(World.true_ctr).parameters


@pytest.mark.parametrize("seed", SEEDS)
def test_ctrs_lie_between_half_and_ten_percent_and_vary_more_between_categories(seed: int) -> None:
    extreme = 3.0 * np.array([*itertools.product((-1, 1), repeat=len(NAMES))])
    for category in CATEGORIES[:3]:
        found = World(seed).ctr([Ad(id="x", product=product(category=category), look=look) for look in extreme])
        assert LOW <= found.min() and found.max() <= HIGH
    logs = np.log([World(seed).ctr(ads(category, 300)) for category in CATEGORIES])
    between, within = logs.mean(1).var(), logs.var(1).mean()
    print(f"variance of log CTR between categories {between:.3f}, within {within:.3f}")
    assert between > within


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shared_attraction_gives_every_category_much_the_same_best_look(seed: int) -> None:
    """Climbing blindly ends at one look; yet categories disagree, so there is something to learn beside it."""
    ctr = {category: World(seed).ctr(ads(category)) for category in CATEGORIES}
    looks = np.array([ad.look for ad in ads(CATEGORIES[0])])
    best = np.array([looks[np.argsort(c)[-12:]].mean(0) for c in ctr.values()])
    best /= np.linalg.norm(best, axis=1, keepdims=True)
    alike = (best @ best.T)[np.triu_indices(14, 1)].mean()
    ranks = np.argsort(np.argsort(list(ctr.values())))
    agreement = np.corrcoef(ranks)[np.triu_indices(14, 1)].mean()
    print(f"cosine of categories' best looks {alike:.2f}, rank correlation of their CTRs {agreement:.2f}")
    assert alike > 0.6
    assert 0.6 < agreement < 0.9


def test_a_stronger_attraction_leaves_less_to_taste() -> None:
    """Correlation of CTRs between categories, by attraction; everything else of the world stays."""

    def agreement(shared: float) -> float:
        ctr = [World(3, shared=shared).ctr(ads(category)) for category in CATEGORIES]
        return np.corrcoef(np.log(ctr))[np.triu_indices(14, 1)].mean()

    found = [agreement(shared) for shared in (0.0, 0.35, 0.7)]
    print(f"correlation of log CTR between categories at attraction 0, 0.35, 0.7: {np.round(found, 2)}")
    assert found[0] < found[1] - 0.2 and found[1] < found[2] - 0.02
    assert np.allclose(World(3, shared=0.7).attraction, 2 * World(3).attraction)


def test_groups_have_their_own_tastes_around_the_category_s() -> None:
    found = World(0).group_ctr(ads("wine"))
    correlation = np.corrcoef(np.log(found).T)[np.triu_indices(len(GROUPS), 1)]
    print(f"correlation of log CTR between groups {correlation.round(2)}")
    assert found.shape == (600, len(GROUPS)) and (0.7 < correlation).all() and (correlation < 0.995).all()


def test_any_category_has_a_taste_of_its_own_and_spelling_does_not_matter() -> None:
    world, shown = World(0), ads("wine", 50)
    assert np.array_equal(world.taste("Garden Gnome"), world.taste(" garden  gnome"))
    assert not np.allclose(world.taste("garden gnome"), world.taste("wine"))
    assert world.base_rate(product(category="Wine ")) == world.base_rate(product())
    assert world.base_rate(product("p1")) != world.base_rate(product("p2"))
    assert np.array_equal(world.ctr(shown), World(0).ctr(shown))
    assert not np.allclose(world.ctr(shown), World(1).ctr(shown))
    assert world.ctr([]).shape == (0,)
