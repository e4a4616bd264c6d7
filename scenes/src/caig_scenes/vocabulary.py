"""The words and choices of scenes: caig's own `vocabulary.json`, never a second copy.

An installed wheel holds that file (put there when the wheel is built); from the repository it is read where it lies.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).with_name("vocabulary.json")
ADJACENT = Path(__file__).parents[3] / "src/caig/data/vocabulary.json"


def vocabulary_file() -> Path:
    """Where the vocabulary is; SystemExit tells what to do when it is nowhere."""
    for file in (PACKAGED, ADJACENT):
        if file.is_file():
            return file
    raise SystemExit(
        f"no vocabulary at {PACKAGED} or {ADJACENT}. Install caig-scenes from caig's repository: pip install ./scenes"
    )


@cache
def vocabulary() -> dict[str, Any]:
    """The tables `settings`, `floors`, `backdrops`, `props`, `lights`, `blur`, `raised` and `categories`."""
    return json.loads(vocabulary_file().read_text(encoding="utf-8"))
