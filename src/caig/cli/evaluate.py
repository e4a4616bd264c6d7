"""`caig evaluate prompt|background`: a model measured on what its training never saw, one line per estimate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from caig.cli import options
from caig.types import Estimate

Data = Annotated[Path, Parameter(help="Folder of rendered products and scenes.")]
Cases = Annotated[int, Parameter(help="Products or nouns per condition, at most.")]


def prompt(
    *,
    data: Data,
    prompt_model: options.PromptName = "embedded",
    cases: Cases = 100,
    seed: options.Seed = 0,
    device: options.Device = None,
    dtype: options.Dtype = None,
    accept_licence: options.AcceptLicence = (),
) -> None:
    """Print valid-description rate, match rate and variety, each with its 95 % interval over products.

    A description matches when the setting that it names suits the product's category.
    """
    from caig.recipes.pretrain_report import evaluate

    model = options.load_model(prompt_model, "prompt", accept_licence, device=device, dtype=dtype)
    for estimate in evaluate(model, data, cases=cases, seed=seed):
        print(estimate, flush=True)


def __getattr__(name: str) -> Any:
    """Make `background` when the command line asks for it: its options are the fields of its recipe's Config."""
    if name != "background":
        raise AttributeError(name)
    return options.command_of("caig.recipes.background.report", _show)


def _show(estimates: Iterable[Estimate]) -> None:
    for estimate in estimates:
        print(estimate, flush=True)
