"""`caig train background|prompt|reward|pcpo` and `caig learn`: options generated from the recipe's frozen Config."""

from __future__ import annotations

from typing import Any

from caig.cli import options

RECIPES = {"background": "background", "prompt": "pretrain", "reward": "reward", "pcpo": "pcpo", "learn": "learn"}


def __getattr__(name: str) -> Any:
    """Make a recipe's command when the command line asks for one, importing that recipe only."""
    if name not in RECIPES:
        raise AttributeError(name)
    return options.command_of(f"caig.recipes.{RECIPES[name]}")
