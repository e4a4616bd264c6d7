"""`caig evaluate prompt`: a model measured on what its training never saw, one line per estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options
from caig.cli.options import ANYWHERE

Data = Annotated[Path, Parameter(help="Folder of rendered products and scenes.")]
Cases = Annotated[int, Parameter(help="Products or nouns per condition, at most.")]


def prompt(
    *,
    data: Data,
    prompt_model: options.PromptName = "embedded",
    cases: Cases = 100,
    seed: options.Seed = 0,
    place: options.Place = ANYWHERE,
) -> None:
    """Print valid-description rate, match rate and variety, each with its 95 % interval over products.

    A description matches when the setting that it names suits the product's category.
    """
    from caig.recipes.pretrain_report import evaluate

    model = options.load_model(prompt_model, "prompt", place)
    for estimate in evaluate(model, data, cases=cases, seed=seed):
        print(estimate, flush=True)
