"""Themes: every word of theirs is the vocabulary's, and they decide place and light."""

from __future__ import annotations

import pytest

from caig.data.captions import setting_of
from caig.data.themes import TABLES, check_theme, steer, themes
from caig.data.vocabulary import vocabulary
from caig.errors import InputError

WRITTEN = "sandy beach by the sea, golden sand, fresh lemons and oranges, cool crisp lighting, soft background blur"


def test_every_word_is_known_to_the_painter() -> None:
    words = vocabulary()
    places = {phrase for setting in words.settings.values() for phrase in setting.phrases}
    assert len(themes()) >= 18
    for name, row in themes().items():
        assert set(row) == {"place", *TABLES}, name
        assert row["place"] and set(row["place"]) <= places, name
        for table in TABLES:
            assert row[table] and set(row[table]) <= set(getattr(words, table)), (name, table)


@pytest.mark.parametrize("name", themes())
def test_a_theme_decides_place_and_light_and_leaves_things_and_blur(name: str) -> None:
    text, row, words = steer(WRITTEN, name, seed=1), themes()[name], vocabulary()
    phrases = text.split(", ")
    assert phrases[0] in row["place"] or text.startswith(row["place"])
    assert "sandy beach by the sea" not in text or name == "golden beach"
    assert "cool crisp lighting" not in text or "cool" in row["lights"]
    assert ("fresh lemons and oranges" in text) == ("lemons" in row["props"]), "what does not go with it is left out"
    assert phrases[-1] == "soft background blur"
    lights = [light for light in row["lights"] for phrase in words.lights[light] if phrase in text]
    assert lights


def test_the_setting_is_read_back_from_most_themes() -> None:
    places = {name: {setting_of(place) for place in row["place"]} for name, row in themes().items()}
    assert {name for name, found in places.items() if len(found) != 1 or None in found} == set()


def test_things_that_nobody_knows_stay() -> None:
    assert "a brass telescope" in steer("sandy beach by the sea, a brass telescope", "spa", seed=1)


def test_a_writer_without_things_gets_the_themes() -> None:
    texts = [steer("sandy beach", "spring garden", seed=seed) for seed in range(8)]
    props = [p for name in themes()["spring garden"]["props"] for p in vocabulary().props[name]]
    assert all(any(prop in text for prop in props) for text in texts)


def test_same_seed_same_words() -> None:
    assert steer(WRITTEN, "spa", seed=3) == steer(WRITTEN, "spa", seed=3)
    assert len({steer(WRITTEN, "spa", seed=seed) for seed in range(8)}) > 3


def test_an_unknown_theme_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="theme: expected one of studio pastel, .*, got 'disco'"):
        check_theme("disco")
