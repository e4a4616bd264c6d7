"""The words of rendered scenes: every scene factor with its phrases, read from `vocabulary.json`.

Written for the project. `vocabulary.json` is the only copy of the words: the renderer (the distribution in `scenes/`)
draws its products and scenes from the same file, of which it alone reads the categories' shapes, poses and tags.
The phrases are in the manner of Stable Diffusion prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from caig.errors import InputError

Phrases = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting: its phrases, the keywords that betray it in free text, and the factor values that go with it."""

    phrases: tuple[str, ...]
    keywords: tuple[str, ...]
    floors: tuple[str, ...]
    backdrops: tuple[str, ...]
    props: tuple[str, ...]
    lights: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """All settings and the phrases of every factor value; `suitability` maps a category to the settings that suit."""

    settings: Mapping[str, Setting]
    floors: Phrases
    backdrops: Phrases
    props: Phrases
    lights: Phrases
    blur: Phrases
    raised: tuple[str, ...]
    suitability: Phrases

    def setting(self, name: str) -> Setting:
        """Return the setting called `name`; InputError lists the known ones."""
        return look_up(self.settings, name, "setting")


def look_up(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """Return `table[name]`; InputError with the known names when there is none."""
    if name not in table:
        known = ", ".join(sorted(map(repr, table)))
        raise InputError(kind, expected=f"one of {known}", got=repr(name), next_step="Use a name from vocabulary.json.")
    return table[name]


def blur_of(aperture: float) -> str:
    """Name the depth of field of an f-stop as the renderer does: below 0.3 shallow, below 1 soft, else sharp."""
    return "shallow" if aperture < 0.3 else "soft" if aperture < 1 else "sharp"


@cache
def vocabulary() -> Vocabulary:
    """Read the packaged vocabulary once."""
    raw = read_json("vocabulary.json")
    settings = {name: Setting(**{k: tuple(v) for k, v in row.items()}) for name, row in raw["settings"].items()}
    tables = ("floors", "backdrops", "props", "lights", "blur")
    phrases = {table: {name: tuple(row) for name, row in raw[table].items()} for table in tables}
    suitability = {name: tuple(row["settings"]) for name, row in raw["categories"].items()}
    return Vocabulary(settings=settings, raised=tuple(raw["raised"]), suitability=suitability, **phrases)


def read_json(name: str) -> Any:
    """Parse a JSON file that lies beside this module in the package."""
    return json.loads(files("caig.data").joinpath(name).read_text(encoding="utf-8"))
