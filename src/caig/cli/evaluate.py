"""`caig evaluate`: a model measured on what its training never saw, or ads against their promises; one line per
estimate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from caig.cli import options

Data = Annotated[Path, Parameter(help="Folder of rendered products and scenes.")]
Cases = Annotated[int, Parameter(help="Products or nouns per condition, at most.")]


def prompt(
    *, data: Data, prompt_model: options.PromptName = "embedded", cases: Cases = 100, seed: options.Seed = 0
) -> None:
    """Print valid-description rate, match rate and variety, each with its 95 % interval over products.

    A description matches when the setting that it names suits the product's category.
    """
    from caig.models.hub import load_model
    from caig.recipes.pretrain_report import evaluate

    options.quiet()
    for estimate in evaluate(load_model(prompt_model, "prompt"), data, cases=cases, seed=seed):
        print(estimate, flush=True)


def promises(
    *,
    catalog: Annotated[Path, Parameter(help="Products to make ads of: csv, tsv, jsonl, json or parquet.")],
    out: Annotated[Path, Parameter(help="Folder for ads and sheets; what is done in it is kept.")] = Path(
        "out/promises"
    ),
    n: options.Count = 4,
    size: options.SizeText = "512x512",
    seed: options.Seed = 0,
    rolls: options.Rolls = options.DEFAULTS.rolls,
    controlnet: Annotated[bool, Parameter(help="Paint all once more with the ControlNet left out and compare.")] = True,
    prompt_model: options.PromptName = "embedded",
    background_model: options.BackgroundName = "embedded",
    reward_model: options.RewardName = "embedded",
) -> None:
    """Print how ads keep their promises: at the first try, after how many rolls, broken when delivered, and without the
    ControlNet, each with its 95 % interval over products; write the ten worst by each measure as a sheet.
    """
    from caig.data.catalog import read_catalog
    from caig.imaging.canvas import parse_size
    from caig.recipes.promises import Config, run

    options.quiet()
    config = Config(out=out, n=n, size=parse_size(size), seed=seed, rolls=rolls, controlnet=controlnet)
    source = read_catalog(catalog)
    from caig.pipeline import AdPipeline

    pipeline = AdPipeline.from_pretrained(
        prompt_model=prompt_model, background_model=background_model, reward_model=reward_model
    )
    for estimate in run(config, pipeline, source.products, rejected=source.rejected):
        print(estimate, flush=True)
    print(*sorted(out.glob("worst-*.png")), sep="\n")
