"""Background descriptions: written from scene factors, sampled for a setting, and read back to a setting.

All chance comes from the `random.Random` passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from random import Random
from typing import Any

from caig.data.vocabulary import blur_of, look_up, vocabulary

SETTING_KEPT = 0.97  # a painter should also cope with a description that names no setting
PHRASE_KEPT = 0.8
SETTING_FIRST = 0.7
APERTURES = (0.1, 0.2, 0.5, 4.0)


def write_caption(
    *,
    setting: str,
    floor: str,
    backdrop: str,
    props: str,
    lighting: str,
    aperture: float,
    raised: float = 0.0,
    rng: Random,
    setting_kept: float = SETTING_KEPT,
    setting_first: float = SETTING_FIRST,
) -> str:
    """Describe a scene in comma-separated phrases: random paraphrases, some dropped, surroundings in random order.

    The arguments are a scene record's factors (`raised` > 0: the product stands on a podium). The setting's phrase is
    there with probability `setting_kept` and opens the text with probability `setting_first`; every other one is there
    with `PHRASE_KEPT`. Light and blur come last, as in the scenes' own captions. InputError names an unknown value.
    """
    words = vocabulary()
    place = _keep(words.setting(setting).phrases, setting_kept, rng)
    around = [
        *_keep(look_up(words.floors, floor, "floor"), PHRASE_KEPT, rng),
        *_keep(look_up(words.backdrops, backdrop, "backdrop"), PHRASE_KEPT, rng),
        *_keep(look_up(words.props, props, "props"), PHRASE_KEPT, rng),
        *_keep(words.raised if raised > 0 else (), PHRASE_KEPT / 2, rng),
    ]
    rng.shuffle(around)
    position = 0 if rng.random() < setting_first else rng.randrange(len(around) + 1)
    mood = [
        *_keep(look_up(words.lights, lighting, "lighting"), PHRASE_KEPT, rng),
        *_keep(words.blur[blur_of(aperture)], PHRASE_KEPT / 2, rng),
    ]
    # Never empty: a description without any phrase would tell the painter nothing.
    return ", ".join([*around[:position], *place, *around[position:], *mood]) or rng.choice(
        words.setting(setting).phrases
    )


def sample_description(setting: str, rng: Random) -> str:
    """Write a description of `setting` with factors that go with it; the setting is always named, and first."""
    return write_caption(**sample_factors(setting, rng), rng=rng, setting_kept=1.0, setting_first=1.0)


def sample_factors(setting: str, rng: Random) -> dict[str, Any]:
    """Draw floor, backdrop, props, lighting and aperture that go with `setting`, as keywords of `write_caption`."""
    row = vocabulary().setting(setting)
    return {
        "setting": setting,
        "floor": rng.choice(row.floors),
        "backdrop": rng.choice(row.backdrops),
        "props": rng.choice(row.props),
        "lighting": rng.choice(row.lights),
        "aperture": rng.choice(APERTURES),
    }


def setting_of(text: str) -> str | None:
    """Return the setting that `text` names, None when it names none.

    The longest setting phrase found decides (of equals the first); without one, the first keyword in the
    text ("kitchen", "beach").
    """
    phrases, keywords = _patterns()
    lowered = text.lower()
    if found := list(phrases[0].finditer(lowered)):
        return phrases[1][max(found, key=lambda match: len(match[0]))[0]]
    match = keywords[0].search(lowered)
    return keywords[1][match[0]] if match else None


def names_product(text: str, title: str) -> bool:
    """Whether `text` takes a word from the product's title that no scene's own words hold ("bottle", a brand).

    Such a text is no description of a background: a painter would paint the product once more.
    """
    return bool(_words(text) & _words(title) - _scene_words())


def _words(text: str) -> frozenset[str]:
    """Words of three signs and more in lower case; shorter ones ("of", "ml") are in every text."""
    return frozenset(re.findall(r"\w{3,}", text.lower()))


@cache
def _scene_words() -> frozenset[str]:
    words = vocabulary()
    tables = (words.floors, words.backdrops, words.props, words.lights, words.blur)
    phrases = [*words.raised, *(phrase for table in tables for row in table.values() for phrase in row)]
    settings = [name for row in words.settings.values() for name in (*row.phrases, *row.keywords)]
    return frozenset(word for phrase in (*phrases, *settings) for word in _words(phrase))


def _keep(phrases: tuple[str, ...], probability: float, rng: Random) -> list[str]:
    """One of `phrases` with the given probability, else nothing."""
    return [rng.choice(phrases)] if phrases and rng.random() < probability else []


Pattern = tuple[re.Pattern[str], Mapping[str, str]]


@cache
def _patterns() -> tuple[Pattern, Pattern]:
    settings = vocabulary().settings
    phrases = {phrase: name for name, row in settings.items() for phrase in row.phrases}
    keywords = {word: name for name, row in settings.items() for word in row.keywords}
    return _pattern(phrases), _pattern(keywords)


def _pattern(names: Mapping[str, str]) -> Pattern:
    """A search for whole words, longest first, and what each stands for."""
    words = "|".join(re.escape(word) for word in sorted(names, key=len, reverse=True))
    return re.compile(rf"\b(?:{words})\b"), names
