"""Everyday products: nouns in many categories, the settings that suit them, and titles written from them.

`everyday.json` was written for the project; it includes the rendered categories with the same settings as
`suitability.json`. Every seventh noun of a category is held out, to measure on nouns never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from caig.data.vocabulary import read_json

HELD_OUT_EVERY = 7


@dataclass(frozen=True, kw_only=True)
class Category:
    """A category of products: other names for it, settings that suit, and the words its titles are made of."""

    name: str
    settings: tuple[str, ...]
    aliases: tuple[str, ...]
    nouns: tuple[str, ...]
    forms: tuple[str, ...]
    adjectives: tuple[str, ...]

    @property
    def held_out(self) -> tuple[str, ...]:
        """Nouns kept for evaluation."""
        return self.nouns[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]

    @property
    def training(self) -> tuple[str, ...]:
        """Nouns to train on."""
        return tuple(noun for noun in self.nouns if noun not in self.held_out)


@cache
def categories() -> Mapping[str, Category]:
    """All categories by name."""
    rows = read_json("everyday.json")["categories"]
    return {name: Category(name=name, **{k: tuple(v) for k, v in row.items()}) for name, row in rows.items()}


def suitable_settings(category: str) -> tuple[str, ...] | None:
    """Settings that suit a category, known by its name or an alias, whatever the case; None for an unknown one."""
    return _settings_by_name().get(" ".join(category.lower().split()))


def write_title(category: Category, noun: str, rng: Random) -> str:
    """A shop title for `noun`: "Tindra Organic Oat Milk, carton 1 litre" or "leek, fresh, per kilogram"."""
    brands, colors = _names()
    head = [
        *([rng.choice(brands)] if rng.random() < 0.7 else []),
        *([rng.choice(category.adjectives)] if rng.random() < 0.4 else []),
        noun,
    ]
    tail = [
        *([rng.choice(colors)] if rng.random() < 0.15 else []),
        *([rng.choice(category.adjectives)] if rng.random() < 0.3 else []),
        *([rng.choice(category.forms)] if rng.random() < 0.6 else []),
    ]
    name = " ".join(head)
    return ", ".join([name.title() if rng.random() < 0.5 else name, *tail])


@cache
def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    raw = read_json("everyday.json")
    return tuple(raw["brands"]), tuple(raw["colors"])


@cache
def _settings_by_name() -> Mapping[str, tuple[str, ...]]:
    rows = categories().values()
    aliases = {alias: row.settings for row in rows for alias in row.aliases}
    return aliases | {row.name: row.settings for row in rows}
