"""`caig evaluate`: a model measured on what its training never saw, or ads against their promises; one line per
estimate."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from caig.cli import options
from caig.cli.options import ANYWHERE
from caig.errors import InputError
from caig.types import Estimate

Data = Annotated[Path | None, Parameter(help="Folder of rendered products and scenes.")]
Catalog = Annotated[Path | None, Parameter(help="Catalogue of real products; their backgrounds need a --judge.")]
JudgeName = Annotated[str, Parameter(help="Image-text checkpoint that says whether a background suits a product.")]
Cases = Annotated[int, Parameter(help="Products or nouns per condition, at most.")]


def prompt(
    *,
    data: Data = None,
    catalog: Catalog = None,
    judge: JudgeName = "",
    prompt_model: options.PromptName = "embedded",
    cases: Cases = 100,
    seed: options.Seed = 0,
    place: options.Place = ANYWHERE,
) -> None:
    """Print valid-description rate, match rate, variety and held-out losses, each with its 95 % interval.

    A description matches when the setting that it names suits the product's category, on products and nouns that
    training never saw; for a catalogue's products when the judge says so.
    """
    if data is None and catalog is None:
        hint = "Name a folder of scenes, or a catalogue and a judge."
        raise InputError("evaluate prompt", expected="--data or --catalog", got="neither", next_step=hint)
    if catalog is not None and not judge:
        hint = "Name an instruct checkpoint, e.g. llava-hf/llava-1.5-7b-hf."
        raise InputError("--judge", expected="a checkpoint to judge a catalogue", got="none", next_step=hint)
    from caig.models.judge import Judge
    from caig.recipes.pretrain_report import evaluate, evaluate_catalog

    model = options.load_model(prompt_model, "prompt", place)
    if data is not None:
        _show(evaluate(model, data, cases=cases, seed=seed))
    if catalog is not None:
        suits = Judge.from_pretrained(judge).suits
        _show(evaluate_catalog(model, catalog, suits, cases=cases, seed=seed))


def __getattr__(name: str) -> Any:
    """Make `background` when the command line asks for it: its options are the fields of its recipe's Config."""
    if name != "background":
        raise AttributeError(name)
    return options.command_of("caig.recipes.background.report", _show)


def _show(estimates: Iterable[Estimate]) -> None:
    for estimate in estimates:
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
    controlnet: Annotated[
        bool, Parameter(help="Paint all twice more, from noise, with and without the ControlNet.")
    ] = True,
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
    _show(run(config, pipeline, source.products, rejected=source.rejected))
    print(*sorted(out.glob("worst-*.png")), sep="\n")


def reward(
    *,
    data: Annotated[Path, Parameter(help="Folder with the log's pictures and products.tar.")],
    clicks: Annotated[Path, Parameter(help="Click log, in any shape that caig comparisons reads.")],
    catalog: Annotated[Path | None, Parameter(help="Catalogue, in place of products.tar.")] = None,
    truth: Annotated[Path | None, Parameter(help="True CTRs of a simulation: product_id, creative_id, ctr.")] = None,
    reward_model: options.RewardName = "embedded",
    place: options.Place = ANYWHERE,
) -> None:
    """Print how well a reward model ranks the log's held-out products, beside the noise ceiling of these very labels.

    Held out are the products that `caig train reward` keeps from training, by a hash of their ids. 95 % intervals are
    over products. With true CTRs, also calibration, rankings and the coverage of the CTR intervals.
    """
    model = options.load_model(reward_model, "reward", place)
    from caig.recipes.reward.report import evaluate  # after load_model has silenced the libraries that it imports

    _show(evaluate(model, data, clicks, catalog=catalog, truth=truth))
