"""Everyday products: nouns in many categories, the settings that suit them, and titles written from them.

`everyday.json` was written for the project; it includes the rendered categories with the same settings as
`suitability.json`. To measure on nouns never trained on, every seventh noun of a category is held out, and so are all
nouns, names and aliases of the categories that are kept back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from caig.data.vocabulary import read_json

HELD_OUT_EVERY = 7
SYLLABLES = tuple(
    "ba bel cor da del en fi fro gal hu in jo ka lor ma mi nel no or pa qui ra sol ta tin u vel wi zo".split()
)


@dataclass(frozen=True, kw_only=True)
class Category:
    """A category of products: other names for it, settings that suit, and the words its titles are made of."""

    name: str
    settings: tuple[str, ...]
    aliases: tuple[str, ...]
    nouns: tuple[str, ...]
    forms: tuple[str, ...]
    adjectives: tuple[str, ...]
    kept_back: bool = False
    """Whether training sees nothing of the category."""

    @property
    def held_out(self) -> tuple[str, ...]:
        """Nouns kept for evaluation."""
        return self.nouns if self.kept_back else self.nouns[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]

    @property
    def training(self) -> tuple[str, ...]:
        """Nouns to train on; none of a category that is kept back."""
        return tuple(noun for noun in self.nouns if noun not in self.held_out)


@cache
def categories() -> Mapping[str, Category]:
    """All categories by name."""
    rows = read_json("everyday.json")["categories"]
    return {name: _category(name, row) for name, row in rows.items()}


@cache
def training_categories() -> tuple[Category, ...]:
    """The categories that a prompt model may learn from."""
    return tuple(row for row in categories().values() if not row.kept_back)


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


def made_up_noun(rng: Random) -> str:
    """A word or two that mean nothing, such as "velmora tin": a title from which nobody can tell the product."""
    return " ".join(
        "".join(rng.choice(SYLLABLES) for _ in range(rng.randrange(1, 4))) for _ in range(rng.randrange(1, 3))
    )


def _category(name: str, row: Mapping[str, Any]) -> Category:
    return Category(name=name, **{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})


@cache
def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    raw = read_json("everyday.json")
    return tuple(raw["brands"]), tuple(raw["colors"])


@cache
def _settings_by_name() -> Mapping[str, tuple[str, ...]]:
    rows = categories().values()
    aliases = {alias: row.settings for row in rows for alias in row.aliases}
    return aliases | {row.name: row.settings for row in rows}
