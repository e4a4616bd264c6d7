"""`caig evaluate prompt|reward`: a model measured on what its training never saw, one line per estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options

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


def reward(
    *,
    data: Annotated[Path, Parameter(help="Folder with the log's pictures and products.tar.")],
    clicks: Annotated[Path, Parameter(help="Click log, in any shape that caig comparisons reads.")],
    catalog: Annotated[Path | None, Parameter(help="Catalogue, in place of products.tar.")] = None,
    truth: Annotated[Path | None, Parameter(help="True CTRs of a simulation: product_id, creative_id, ctr.")] = None,
    reward_model: options.RewardName = "embedded",
    device: options.Device = None,
    dtype: options.Dtype = None,
    accept_licence: options.AcceptLicence = (),
) -> None:
    """Print how well a reward model ranks the log's held-out products, beside the noise ceiling of these very labels.

    Held out are the products that `caig train reward` keeps from training, by a hash of their ids. 95 % intervals are
    over products. With true CTRs, also calibration, rankings and the coverage of the CTR intervals.
    """
    model = options.load_model(reward_model, "reward", accept_licence, device=device, dtype=dtype)
    from caig.recipes.reward.report import evaluate  # after load_model has silenced the libraries that it imports

    for estimate in evaluate(model, data, clicks, catalog=catalog, truth=truth):
        print(estimate, flush=True)
