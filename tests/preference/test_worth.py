"""What words are worth: found where words decide, by products that are alike; nothing where nothing is told."""

import numpy as np
import pytest

from caig.preference.worth import NOISE, WIDTH, likeness, worth_of_words

LIGHTS = ("soft morning light", "neon glow", "hard noon sun")
PLACES = ("kitchen table", "sandy beach")
LIKED = {(PLACES[0], LIGHTS[0]): 1.0, (PLACES[1], LIGHTS[0]): 1.0, (PLACES[1], LIGHTS[2]): 0.5}


def shelf(products: int = 12, noise: float = 0.0) -> tuple[list[str], list[str], list[int], np.ndarray]:
    """Each product in every place and light; morning light is liked, and hard sun on beaches."""
    rows = [
        (f"{place}, {light}", place, k, LIKED.get((place, light), 0.0))
        for k in range(products)
        for place in PLACES
        for light in LIGHTS
    ]
    texts, settings, owners, utilities = (list(column) for column in zip(*rows, strict=True))
    return texts, settings, owners, np.array(utilities) + noise * np.random.default_rng(0).standard_normal(len(rows))


def test_words_that_decide_are_found_through_pictures_that_vary():
    texts, settings, owners, _ = shelf()
    *_, utilities = shelf(noise=0.5)
    truth = np.array([LIKED.get(tuple(text.split(", ")), 0.0) for text in texts]).reshape(12, -1)
    truth -= truth.mean(1, keepdims=True)
    told = worth_of_words(texts, settings, owners, utilities).reshape(12, -1)
    seen = utilities.reshape(12, -1) - utilities.reshape(12, -1).mean(1, keepdims=True)
    error, before = np.square(told - truth).mean(), np.square(seen - truth).mean()
    print(f"mean squared error: required under 0.05, measured {error:.3f}, of the pictures' own {before:.3f}")
    assert error < 0.05 < 0.15 < before
    assert told.mean(1) == pytest.approx(0, abs=1e-9)


def test_two_texts_of_two_products_by_hand():
    """Kernel within owners: half of k(a, a) + k(b, b) - 2 k(a, b) = c on the diagonal, -c beside it, alike across
    owners; so with y = (1, -1) / 2 for both the worth is y * 4c / (4c + noise), noise = NOISE * c."""
    texts, owners = ["snow", "sand", "snow", "sand"], [0, 0, 1, 1]
    told = worth_of_words(texts, [None] * 4, owners, [1.0, 0.0, 3.0, 2.0])
    assert told == pytest.approx(np.array([0.5, -0.5, 0.5, -0.5]) * 4 / (4 + NOISE))
    assert worth_of_words(texts, [None] * 4, owners, [1.0, 0.0, 2.0, 3.0]) == pytest.approx(np.zeros(4))


def test_a_setting_that_other_words_name_counts():
    texts, owners = ["seaside", "worktop", "shore", "counter"], [0, 0, 1, 1]
    named = worth_of_words(texts, ["beach", "kitchen", "beach", "kitchen"], owners, [1.0, 0.0, 0.0, 0.0])
    plain = worth_of_words(texts, [None] * 4, owners, [1.0, 0.0, 0.0, 0.0])
    assert named[2] > named[3] + 0.1
    assert plain[2:] == pytest.approx(np.zeros(2))


def test_what_suits_one_product_suits_those_like_it():
    """Snow suits dark products, sand light ones; a light mug asks for sand, though no picture of it has been seen."""
    light = np.array([[0.0], [0.1], [0.9], [1.0], [0.95]])
    texts, owners = ["snow", "sand"] * 5, np.repeat(np.arange(5), 2).tolist()
    utilities = [1.0, 0.0] * 2 + [0.0, 1.0] * 2 + [0.0, 0.0]
    told = worth_of_words(texts, [None] * 10, owners, utilities, likeness(["cup"] * 5, light))
    assert told[9] > told[8] + 0.05
    blind = worth_of_words(texts, [None] * 10, owners, utilities)
    assert blind == pytest.approx(np.zeros(10))
    by_kind = likeness(["mug", "mug", "hat", "hat", "hat"], np.zeros((5, 1)))
    assert worth_of_words(texts, [None] * 10, owners, utilities, by_kind)[9] > 0.05


def test_likeness_by_hand():
    """Features 0 and 2 deviate by 1: they lie 2 deviations apart."""
    apart = 1 + 2 * np.exp(-(2.0**2) / (2 * WIDTH**2))
    assert likeness(["mug", "hat"], np.array([[0.0], [2.0]])) == pytest.approx(np.array([[4.0, apart], [apart, 4.0]]))


@pytest.mark.parametrize("case", ["one text each", "no utilities", "no words"])
def test_where_there_is_nothing_to_tell(case: str):
    texts, settings, owners, utilities = shelf()
    if case == "one text each":
        owners = list(range(len(texts)))
    if case == "no utilities":
        utilities[:] = 3.0
    if case == "no words":
        texts, settings = [""] * len(texts), [None] * len(texts)
    assert worth_of_words(texts, settings, owners, utilities) == pytest.approx(np.zeros(len(texts)))
