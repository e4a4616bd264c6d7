"""`caig shop`: the simulated shop, where every true CTR is known. It predicts nothing about real shoppers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caig.cli import options

STUDIES = ("ceiling", "confounding", "learnability", "preference", "rewards")


def simulate(
    *,
    scenes: Annotated[Path, Parameter(help="Folder of scene tars.")],
    out: Annotated[Path, Parameter(help="Log to write, .parquet; two tables per creative are named after it.")],
    world_seed: Annotated[int, Parameter(help="Which world: its shoppers' tastes.")] = 0,
    impressions: Annotated[int, Parameter(help="Per picture, on average.")] = 2500,
    policy: Annotated[
        Literal["uniform", "adaptive"], Parameter(help="adaptive: traffic shifts to what was clicked.")
    ] = "uniform",
    days: Annotated[int, Parameter(help="How long the shop is open.")] = 7,
    positions: Annotated[int, Parameter(help="Slots of a page.")] = 4,
    position_bias: Annotated[bool, Parameter(negative=(), help="Lower positions are seen less.")] = False,
    drift: Annotated[bool, Parameter(negative=(), help="CTRs and the mix of groups change by day.")] = False,
    conversions: Annotated[bool, Parameter(negative=(), help="Also log orders and their value.")] = False,
    seed: Annotated[int, Parameter(help="Of the traffic and the clicks; the same seed gives the same log.")] = 0,
) -> None:
    """Show rendered scenes to simulated shoppers and log every impression.

    Writes OUT (impression_id, product_id, creative_id, at, clicked, position, propensity, group, image), OUT's name
    with -creatives.csv (counts per creative, for `caig train reward --clicks`) and with -truth.csv (true CTRs).
    """
    from caig.data.scenes import read_scenes
    from caig.shop.shoppers import World
    from caig.shop.simulate import Adaptive, simulate, uniform
    from caig.studies.shelf import ads_of, write_log

    shelf, world = read_scenes(scenes, painted=True), World(world_seed)
    ads = ads_of(shelf)
    log = simulate(
        world,
        ads,
        uniform if policy == "uniform" else Adaptive(),
        impressions * len(ads),
        seed=seed,
        days=days,
        positions=positions,
        position_bias=position_bias,
        drift=drift,
        conversions=conversions,
    )
    print(*write_log(log, world, ads, shelf, out), sep="\n")


def _print(found: Any) -> None:
    """One estimate or path a line."""
    print(*(found if isinstance(found, list) else [found]), sep="\n")


def __getattr__(name: str) -> Any:
    """Make a study's command, `paint`, `sheets` or `loop` when the command line asks for it, importing it only."""
    if name not in (*STUDIES, "paint", "sheets", "loop"):
        raise AttributeError(name)
    return options.command_of(f"caig.studies.{name}", _print)
