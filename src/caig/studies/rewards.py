"""How near to the noise ceiling do reward models come, and what is each part of ours worth?

In each world the rendered scenes, and the pictures that `caig shop paint` added, are shown to its shoppers, and every
system learns from the clicks on the training products' pictures (split by product). It then ranks the pictures of
held-out products:

    chance        ties
    statistics    conditional logit on mask-free statistics of the picture, shared and by category
    oracle        the same on the shop's own features, as `learnability` fits them: an upper bound
    cnn           a small convolutional ranker with a category embedding, from pixels (after VAM, Visual-aware Model)
    published     the paper's recipe on our backbone: preset caig-published
    ours          heads alone over what other shops taught, as the embedded model was made; and its ablations, with what
                  each is held against (`reward_systems`)

`out`/cells keeps each (world, system) once, so that a cut study goes on where it stopped and another system costs
itself alone; `out`/tower is the backbone that all trained systems but the cnn start from. It saw no click of these
worlds, but those of other shops on the same shelf (`shops`), as a model would that serves many. Or `backbone` names
another.
Systems that train layers take the learning rate with the best validation accuracy, the cnn of its own, the others of
`lrs`; heads alone have one. Each takes `steps` steps. A step of published, the cnn and whatever else trains layers, the
joint forms too, draws up to 32 pictures; one of heads alone up to 128, each read once however often it is drawn.
`ours, 32 pictures a step` is ours at published's number.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from caig.artifacts import to_json, write_atomic
from caig.data.comparisons import split
from caig.data.images import read_in_threads
from caig.data.scenes import SceneRecord, read_scenes
from caig.errors import InputError
from caig.evaluation.metrics import agreement
from caig.recipes.store import settle
from caig.shop.shoppers import Ad, World
from caig.studies import reward_baselines as baselines
from caig.studies.learnability import pairs_within
from caig.studies.reward_systems import ABLATIONS
from caig.studies.shelf import ad_of, product_on_shelf, write_counts
from caig.types import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FIRST_SHOP, SHOP_IMPRESSIONS = 10_000, 4000  # world seed of the first of the other shops; there, of each picture
CANDIDATES, RUNS = 16, 3
FREE = {"scenes", "out", "systems", "worlds", "seed", "threads", "lrs"}  # what one folder may hold several of
SYSTEMS = ("chance", "statistics", "oracle", "cnn", *ABLATIONS)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study rewards`."""

    scenes: Path
    """Folder of scene tars with products.tar."""
    out: Path
    """Where cells, logs and runs are kept; the same folder goes on."""
    worlds: int = 3
    seed: int = 160  # docs/LOG.md says which seeds are spent: models were chosen by them
    """Of the first world; the others follow."""
    impressions: int = 4000
    """Of each picture."""
    systems: tuple[str, ...] = SYSTEMS
    lrs: tuple[float, ...] = (1e-4, 5e-4, 2e-3)
    """Learning rates that systems which train the backbone choose from by validation."""
    backbone: str = "fresh"
    """fresh: a tower that is trained here first, as the next three fields say; or a reward model whose tower and tastes
    all trained systems start from, embedded or a folder."""
    tower_steps: int = 400
    shops: int = 32
    """Other worlds whose clicks teach the tower what shoppers look at; 0: none."""
    shop_steps: int = 3000
    steps: int = 500
    threads: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """One world's shop: its ads, sorted by product, and what was clicked."""

    config: Config
    seed: int
    ads: Sequence[Ad]
    scenes: Sequence[SceneRecord]

    @cached_property
    def world(self) -> World:
        return World(self.seed)

    @cached_property
    def owner(self) -> NDArray[np.str_]:
        return np.array([ad.product.id for ad in self.ads])

    @cached_property
    def part(self) -> NDArray[np.str_]:
        """train, validation or test, of each ad."""
        return np.array([split(ad.product.id) for ad in self.ads])

    @cached_property
    def held_out_nouns(self) -> Mapping[str, Sequence[str]]:
        """Every third noun of each category."""
        nouns: dict[str, set[str]] = {}
        for ad in self.ads:
            nouns.setdefault(ad.product.category, set()).add(noun_of(ad))
        return {category: sorted(own)[::3] for category, own in nouns.items()}

    def clicks(self, impressions: int) -> tuple[Floats, Floats]:
        """(clicks, impressions), f64[N] each, as in the log."""
        table = pl.read_csv(self.log(impressions))
        return table["clicks"].to_numpy().astype(np.float64), table["impressions"].to_numpy().astype(np.float64)

    def log(self, impressions: int) -> Path:
        """The log as `caig train reward` reads it, written once: one row per ad, in their order."""
        out = self.config.out / "logs" / f"w{self.seed}-{impressions}.csv"
        if not out.is_file():
            write_counts(self.world, self.ads, self.scenes, impressions, out)
        return out


def run(config: Config) -> list[Estimate | str]:
    """Fill the cells that are missing, then say what all of them show, and which were left out."""
    from caig.studies.reward_tables import tables

    _check(config)
    settle(config.out / "settings.json", {k: value for k, value in asdict(config).items() if k not in FREE})
    scenes = shelved(config)
    ads = measured(config, scenes)
    shelves = [Shelf(config=config, seed=config.seed + k, ads=ads, scenes=scenes) for k in range(config.worlds)]
    for system in config.systems:  # a cut study has each finished system in every world
        for shelf in shelves:
            path = cell_path(config, shelf.seed, system)
            if not path.is_file():
                write_atomic(path, to_json(fill(shelf, system), indent=1).encode())
    ratio = [scoring_ratio(config, scenes)] if "ours" in config.systems else []
    return [*tables(config, shelves), *ratio]


def scoring_ratio(config: Config, scenes: Sequence[SceneRecord]) -> Estimate:
    """How many times longer the joint form takes to score CANDIDATES pictures of one product, all pairs in both orders,
    than the siamese form; same backbone, untrained heads, same process. Median of RUNS, least and most as interval."""
    from caig.models.mllm import load_mllm
    from caig.models.reward_model import RewardModel, RewardNetwork, width_of
    from caig.recipes import reward
    from caig.recipes.reward.report import uncalibrated
    from caig.recipes.reward.samples import product_of

    backbone, processor = load_mllm(tower(config), "cpu")
    product, shown = product_of(scenes[0].product), [scenes[k % len(scenes)].image() for k in range(CANDIDATES)]
    seconds: dict[str, list[float]] = {"siamese": [], "joint": []}
    for form in list(seconds) * RUNS:
        settings = reward.Config(data=config.scenes, clicks=config.out, out=config.out, form=form)
        network = RewardNetwork(backbone, width_of(backbone), form=form)
        calibration = uncalibrated(settings, reward.side_of(backbone))
        model = RewardModel(network, processor, calibration, name=form)
        started = time.process_time()
        model.score(product, shown, ids=[str(k) for k in range(CANDIDATES)])
        seconds[form].append(time.process_time() - started)
    ratios = sorted(joint / siamese for siamese, joint in zip(seconds["siamese"], seconds["joint"], strict=True))
    name = f"scoring {CANDIDATES} candidates: joint over siamese, CPU time"
    return Estimate(name=name, value=ratios[RUNS // 2], low=ratios[0], high=ratios[-1], n=RUNS)


def shelved(config: Config) -> list[SceneRecord]:
    """Rendered scenes and painted pictures, sorted by product, then by id."""
    return sorted(read_scenes(config.scenes, painted=True), key=lambda scene: scene.product["id"])


def measured(config: Config, scenes: Sequence[SceneRecord]) -> list[Ad]:
    """The scenes as ads."""
    looks = once(config.out / "looks.json", scenes, lambda scene: ad_of(scene).look)
    return [Ad(id=s.id, product=product_on_shelf(s), look=look) for s, look in zip(scenes, looks, strict=True)]


def once(path: Path, scenes: Sequence[SceneRecord], measure: Callable[[SceneRecord], Floats]) -> Floats:
    """`measure` of every scene, f64[N, K], taken once and kept in `path` by id; InputError if those are others."""
    if not path.is_file():
        values = read_in_threads(measure, scenes)
        write_atomic(path, to_json({scene.id: value for scene, value in zip(scenes, values, strict=True)}).encode())
    values = json.loads(path.read_text())
    if set(values) != {scene.id for scene in scenes}:
        hint = "Name a fresh --out, or the scenes that the study was begun with."
        raise InputError(str(path), expected="measures of these scenes", got="those of others", next_step=hint)
    return np.array([values[scene.id] for scene in scenes])


def cell_path(config: Config, seed: int, system: str) -> Path:
    """Where a cell is kept."""
    return config.out / "cells" / f"w{seed}-{system.replace(', ', '-').replace(' ', '_').replace(',', '')}.json"


def read_cell(config: Config, seed: int, system: str) -> dict[str, Any] | None:
    """A cell's record: utility f64[N] (0 for training ads), chosen setting, the learning rates tried (not in older
    cells), seconds of CPU; None if it was not run."""
    path = cell_path(config, seed, system)
    return json.loads(path.read_text()) if path.is_file() else None


def fill(shelf: Shelf, system: str) -> dict[str, Any]:
    """Train `system` in one world and judge all ads of held-out products."""
    known: Mapping[str, Callable[[Shelf], tuple[Floats, float]]] = {
        "chance": lambda shelf: (np.zeros(len(shelf.ads)), 0.0),
        "statistics": baselines.statistics,
        "oracle": baselines.oracle,
        "cnn": baselines.cnn,
    }
    started = time.process_time()
    utility, value = known[system](shelf) if system in known else trained(shelf, system)
    held_out = np.where(shelf.part == "train", 0.0, utility)
    return {
        "system": system,
        "seed": shelf.seed,
        "chosen": value,
        "rates": rates_of(shelf.config, system),
        "seconds": time.process_time() - started,
        "utility": held_out,
    }


def rates_of(config: Config, system: str) -> tuple[float, ...]:
    """The learning rates that a system chooses from; none where there is nothing to choose."""
    if system == "cnn":
        return baselines.CNN_RATES
    return config.lrs if system in ABLATIONS and ABLATIONS[system].get("tune") != "heads" else ()


def trained(shelf: Shelf, system: str) -> tuple[Floats, float]:
    """(utilities f64[N], learning rate) of the reward recipe with `system`'s settings, best of `lrs` on validation; 0
    for heads alone, which have a rate of their own."""
    fields = dict(ABLATIONS[system])
    clicks = shelf.log(fields.pop("impressions", shelf.config.impressions))
    if fields.pop("nouns", False):
        clicks = without_held_out_nouns(shelf, clicks)
    found = {lr: _train(shelf, system, clicks, fields, lr) for lr in rates_of(shelf.config, system) or (0.0,)}
    best = max(found, key=lambda lr: accuracy(shelf, found[lr], "validation"))
    return found[best], best


def _train(shelf: Shelf, system: str, clicks: Path, fields: Mapping[str, Any], lr: float) -> Floats:
    from caig.models.reward_model import RewardModel
    from caig.recipes import reward
    from caig.recipes.reward.samples import product_of
    from caig.recipes.reward.showing import withheld

    study = shelf.config
    settings = reward.Config(
        data=study.scenes,
        clicks=clicks,
        out=study.out / "runs" / f"{cell_path(study, shelf.seed, system).stem}-{lr:g}",
        backbone=str(tower(study)),
        lr=lr,
        steps=study.steps,
        threads=study.threads,
        checkpoint_every=max(1, study.steps // 4),
        **fields,
    )
    model = RewardModel.from_pretrained(str(reward.run(settings)), device="cpu")
    utility = np.zeros(len(shelf.ads))
    for rows in held_out_rows(shelf):
        scenes = [shelf.scenes[row] for row in rows]
        product, pictures = withheld(product_of(scenes[0].product), [scene.image() for scene in scenes], settings)
        utility[rows] = [s.utility for s in model.score(product, pictures, ids=[shelf.ads[row].id for row in rows])]
    shutil.rmtree(settings.out)
    return utility


def tower(config: Config) -> Path:
    """The backbone that has learned to see, from other shops too, and nothing of these worlds; trained once."""
    from caig.models.hub import resolve
    from caig.models.reward_model import save_reward
    from caig.recipes import reward
    from caig.recipes.reward.report import uncalibrated

    if config.backbone != "fresh":
        return resolve(config.backbone, "reward")
    folder = config.out / "tower" / "model"
    if not (folder / "reward.json").is_file():
        settings = reward.Config(
            data=config.scenes,
            clicks=config.out,
            out=folder.parent,
            tower_steps=config.tower_steps,
            shops=other_shops(config) if config.shops else None,
            shop_steps=config.shop_steps,
            threads=config.threads,
        )
        network, processor, side = reward.build(settings)
        save_reward(network, processor, uncalibrated(settings, side), folder)
    return folder


def other_shops(config: Config) -> Path:
    """A folder with the counts of each of the other shops on the same shelf."""
    folder, scenes = config.out / "shops", shelved(config)
    ads = measured(config, scenes)
    for k in range(config.shops):
        write_counts(World(FIRST_SHOP + k), ads, scenes, SHOP_IMPRESSIONS, folder / f"w{FIRST_SHOP + k}.csv")
    return folder


def without_held_out_nouns(shelf: Shelf, clicks: Path) -> Path:
    """The log without training products whose noun is held out: every third noun of each category."""
    shown = zip(shelf.ads, shelf.part, strict=True)
    gone = {ad.product.id for ad, part in shown if part == "train" and has_held_out_noun(shelf, ad)}
    out = clicks.with_name(f"{clicks.stem}-nouns.csv")
    pl.read_csv(clicks).filter(~pl.col("product_id").is_in(gone)).write_csv(out)
    return out


def has_held_out_noun(shelf: Shelf, ad: Ad) -> bool:
    """Whether the ad's title, brand and colour aside, is one of the nouns that training leaves out."""
    return noun_of(ad) in shelf.held_out_nouns[ad.product.category]


def noun_of(ad: Ad) -> str:
    """What the product is, in its title's words: without the first (the brand), an amount, and what follows a comma."""
    return re.sub(r" \d+ \w+$", "", ad.product.title.partition(",")[0].partition(" ")[2])


def held_out_rows(shelf: Shelf) -> list[Ints]:
    """Rows of the ads of each product that training does not see."""
    ids = dict.fromkeys(shelf.owner[shelf.part != "train"])
    return [np.flatnonzero(shelf.owner == id) for id in ids]


def accuracy(shelf: Shelf, utility: Floats, part: str) -> float:
    """Pair accuracy on the observed orders of `part`."""
    first, second, observed = observed_pairs(shelf, part)
    return float(agreement(utility[first] - utility[second], observed).mean())


def observed_pairs(shelf: Shelf, part: str, impressions: int | None = None) -> tuple[Ints, Ints, Floats]:
    """(first, second, observed order) of every pair of ads of one product of `part`."""
    clicks, shown = shelf.clicks(impressions or shelf.config.impressions)
    first, second = pairs_within(shelf.owner)
    own = shelf.part[first] == part
    first, second = first[own], second[own]
    return first, second, 0.5 + 0.5 * np.sign(clicks[first] * shown[second] - clicks[second] * shown[first])


def _check(config: Config) -> None:
    if unknown := set(config.systems) - set(SYSTEMS):
        raise InputError("systems", expected=", ".join(SYSTEMS), got=", ".join(sorted(unknown)), next_step="Choose.")
    for name in ("worlds", "steps", "tower_steps", "impressions"):
        if getattr(config, name) < 1:
            raise InputError(name, expected="at least 1", got=str(getattr(config, name)), next_step="Raise it.")
    if config.shops == 1:
        hint = "One says nothing of how shops differ."
        raise InputError("shops", expected="none, or two or more", got="1", next_step=hint)
