"""`caig train background|prompt|reward`: options generated from the recipe's frozen Config."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from caig.cli import options

RECIPES = {"background": "background", "prompt": "pretrain", "reward": "reward"}


def command(recipe: str) -> Callable[..., None]:
    """Return a command whose options are the fields of `caig.recipes.<recipe>.Config`, no more and no fewer."""
    module = importlib.import_module(f"caig.recipes.{recipe}")

    def train(*, config: Any) -> None:
        options.quiet()
        print(module.run(config))

    train.__annotations__ = {"config": Annotated[module.Config, Parameter(name="*", negative_iterable=())]}
    train.__doc__ = module.__doc__
    return train


def __getattr__(name: str) -> Any:
    """Make `background`, `prompt` and `reward` when the command line asks for one, importing that recipe only."""
    if name not in RECIPES:
        raise AttributeError(name)
    return command(RECIPES[name])
