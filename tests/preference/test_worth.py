"""What words are worth: told by other products, found where words decide, nothing where they do not."""

import numpy as np
import pytest

from caig.preference import worth
from caig.preference.worth import worth_of_words

LIGHTS = ("soft morning light", "neon glow", "hard noon sun")
PLACES = ("kitchen table", "sandy beach")


def shelf(
    products: int = 12, noise: float = 0.0
) -> tuple[list[str], list[str | None], list[str], list[str], np.ndarray]:
    """Each product in every place and light; morning light is liked, and beaches by hats alone."""
    rng = np.random.default_rng(0)
    rows = [
        (
            f"{place}, {light}",
            place if place == PLACES[1] else None,
            "hat" if k % 2 else "mug",
            f"p{k}",
            1.0 * (light == LIGHTS[0]) + (place == PLACES[1]) * (k % 2),
        )
        for k in range(products)
        for place in PLACES
        for light in LIGHTS
    ]
    texts, settings, categories, owners, utilities = zip(*rows, strict=True)
    return (
        list(texts),
        list(settings),
        list(categories),
        list(owners),
        np.array(utilities) + noise * rng.standard_normal(len(rows)),
    )


def test_words_that_decide_are_found_by_category():
    texts, settings, categories, owners, utilities = shelf()
    told, explained = worth_of_words(texts, settings, categories, owners, utilities)
    wanted = utilities.reshape(12, -1) - utilities.reshape(12, -1).mean(1, keepdims=True)
    print(f"required 0.8, measured {explained:.2f} of the variance")
    assert explained > 0.8
    assert np.abs(told.reshape(12, -1) - wanted).mean() < 0.2
    assert told.reshape(12, -1).mean(1) == pytest.approx(0, abs=1e-9)


def test_a_picture_of_its_own_counts_for_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worth, "NOISES", (0.3,))
    texts, settings, categories, owners, utilities = shelf(noise=0.1)
    odd = utilities.copy()
    odd[0] += 50.0  # the first product's first picture
    before, after = (worth_of_words(texts, settings, categories, owners, u)[0] for u in (utilities, odd))
    assert after[:6] == pytest.approx(before[:6]), "what is told of a product does not hang on its own pictures"
    assert abs(after[6] - before[6]) > 0.1, "the same words elsewhere do"


def test_left_out_in_closed_form_is_a_fit_without_the_product(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worth, "NOISES", (0.3,))
    texts, settings, categories, owners, utilities = shelf(products=4, noise=0.3)
    told, _ = worth_of_words(texts, settings, categories, owners, utilities)
    groups = [np.arange(6 * k, 6 * k + 6) for k in range(4)]
    kernel = worth._within(worth._within(worth._kernel(texts, settings, categories), groups).T, groups)
    wanted = worth._within(utilities, groups)
    own, rest = groups[1], np.r_[groups[0], groups[2], groups[3]]
    noise = 0.3 * np.trace(kernel) / len(kernel)
    weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + noise * np.eye(len(rest)), wanted[rest])
    assert told[own] == pytest.approx(kernel[np.ix_(own, rest)] @ weights)


@pytest.mark.parametrize("case", ["chance", "no utilities", "one product", "no words"])
def test_where_words_tell_nothing(case: str):
    texts, settings, categories, owners, utilities = shelf()
    utilities = np.random.default_rng(1).standard_normal(len(texts))
    if case == "no utilities":
        utilities[:] = 3.0
    if case == "one product":
        owners = ["p0"] * len(texts)
    if case == "no words":
        texts, settings = [""] * len(texts), [None] * len(texts)
    told, explained = worth_of_words(texts, settings, categories, owners, utilities)
    assert explained <= 0.05
    assert np.isfinite(told).all() and np.abs(told).mean() < 0.6
