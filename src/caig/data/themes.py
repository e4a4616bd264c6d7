"""Themes: a look for a whole campaign. Each steers what the prompt model wrote, in words that the painter knows.

`themes.json` is the list. A theme holds phrases of places and names of floors, backdrops, props and lights, all of
them from `vocabulary.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from random import Random

from caig.data.captions import setting_of
from caig.data.vocabulary import Phrases, read_json, vocabulary
from caig.errors import InputError

TABLES = ("floors", "backdrops", "props", "lights")


@cache
def themes() -> Mapping[str, Phrases]:
    """Name of each theme -> its place phrases, floors, backdrops, props and lights."""
    raw = read_json("themes.json")
    return {name: {part: tuple(values) for part, values in row.items()} for name, row in raw.items()}


def check_theme(name: str) -> None:
    """InputError, with the names, unless there is such a theme."""
    if name not in themes():
        known = ", ".join(themes())
        raise InputError("theme", expected=f"one of {known}", got=repr(name), next_step="Choose one of these.")


def steer(text: str, theme: str, *, seed: int) -> str:
    """The description `text` in `theme`: place, floor, backdrop and light are the theme's; the blur stays the writer's,
    and so do things that lie around, unless they are known not to go with the theme, as ice on a beach. Where no thing
    is left, the theme names one. Same seed, same words.
    """
    row, rng, words = themes()[theme], Random(seed), vocabulary()
    kept = [phrase.strip() for phrase in text.split(",") if _stays(phrase.strip(), row)]
    blur = [phrase for phrase in kept if any(phrase in row for row in words.blur.values())]
    things = [phrase for phrase in kept if phrase not in blur]
    around = [_phrase(words.floors, row["floors"], rng), _phrase(words.backdrops, row["backdrops"], rng)]
    own = _phrase(words.props, row["props"], rng)  # drawn anyway, so that the light does not depend on the writer
    light = _phrase(words.lights, row["lights"], rng)
    place = rng.choice(row["place"])
    return ", ".join(filter(None, [place, *around, *(things or [own]), light, *blur]))


def _stays(phrase: str, row: Phrases) -> bool:
    """Whether a phrase of the writer's says nothing about place, floor, backdrop or light, nor names a known thing that
    the theme does not have."""
    words = vocabulary()
    strange = [phrases for name, phrases in words.props.items() if name not in row["props"]]
    placed = [*words.floors.values(), *words.backdrops.values(), *words.lights.values(), words.raised, *strange]
    return bool(phrase) and setting_of(phrase) is None and not any(phrase in phrases for phrases in placed)


def _phrase(table: Phrases, names: tuple[str, ...], rng: Random) -> str:
    phrases = table[rng.choice(names)]
    return rng.choice(phrases) if phrases else ""
