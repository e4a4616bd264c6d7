"""What preference optimisation is worth where the true CTR is known (`caig shop study preference`).

Rows: the pre-trained model; the best of its four ads by the reward model, without training; DPO alone; PCPO as
published (2 candidates, hard labels, beta 0.5, one pass); ours; ours with a stranger as negative; ours with the best of
four. Every trained row paints equally many pictures and takes equally many steps, at a learning rate of its own,
chosen on a validation world. Measured on products that no training saw, in worlds that none of this was developed on
(which of them were looked at stands in docs/LOG.md):

    lift       exp(mean of log CTR(row) - log CTR(pre-trained)) - 1, over four single samples of each product (each
               written by itself), or over the best of four different ads by the judge
    headroom   mean log lift of the row / mean log lift of the best of `headroom` pre-trained descriptions, chosen by
               true CTR on one painting seed and scored on another, so that luck does not count
    and match rate, entropy of settings within a category, distinct-2 of the single samples, KL per description

Worlds have twice the shop's attraction (`attraction`): how far DPO alone drifts from what suits a product depends on
how much more all shoppers of a world like some settings than others, and on how many products these suit (docs/LOG.md).

A run of 144 products x 8 candidates x 6 rounds takes 23 minutes on a core, measuring it 2, headroom 8 in the first
world. The default grid of 1 validation world and 3 others, 3 learning rates and 4 trained rows is 24 runs of 6,912
pictures and at most 2,688 watched ones: 10 core hours. The reward model is no network: a conditional logit on the
shop's own picture statistics and categories, learned from the clicks of one log of rendered scenes per world; the guard
is another, from the other half of the training products. So the rows say what the optimiser makes of a good judge; the
embedded reward model is a worse one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from caig.data.comparisons import split
from caig.errors import InputError
from caig.evaluation.match import distinct_2, setting_entropy
from caig.evaluation.metrics import mean
from caig.recipes.store import settle
from caig.seeding import seed_for
from caig.shop.shoppers import SHARED
from caig.types import Estimate, Product

if TYPE_CHECKING:
    from caig.recipes.pcpo import Config as Training
    from caig.studies.preference_parts import Gallery

ADS = 4
UNGUARDED = {"max_kl": 1e9, "min_entropy": 0.0, "min_distinct": 0.0, "max_match_drop": 1.0, "max_guard_drop": 1e9}
PLAIN = {**UNGUARDED, "credit": "picture", "anchor": 0.0, "misfit_margin": 0.0}
ROWS: Mapping[str, Mapping[str, Any]] = {
    "DPO only": {**PLAIN, "product_weight": 0.0},
    "PCPO as published": {
        **PLAIN,
        "candidates": 2,
        "labels": "hard",
        "beta": 0.5,
        "product_weight": 1.0,
        "epochs": 1,
    },
    "ours": {},
    "ours with strangers": {"negative": "stranger"},
}
"""Row -> what its training changes."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study preference`."""

    scenes: Path
    """Folder of scene tars and products.tar."""
    out: Path
    """Run folder; the same command goes on where it was cut."""
    prompt_model: str = "embedded-pretrained"
    background_model: str = "embedded"
    rows: tuple[str, ...] = tuple(ROWS)
    """Which trained rows; all of them, or fewer in less time."""
    worlds: int = 3
    first_world: int = 570
    """Seed of the validation world; the others follow."""
    rates: tuple[float, ...] = (5e-4, 1e-3, 3e-3)
    """Learning rates to choose from, for each row, on the validation world; a single one is taken as it is."""
    rounds: int = 6
    products: int = 144
    """Per round, with 8 candidates each; rows with 2 candidates see four times as many products."""
    tested: int = 150
    """Held-out products, at most."""
    headroom: int = 16
    """Descriptions per product of which the best counts as all there is to gain."""
    coarse: bool = False
    """Paint at half the side without refining; plates are left as they are. A tenth of the price."""
    attraction: float = 2 * SHARED
    """Of every world, by default twice the shop's own: how strongly all its shoppers are drawn to the same looks, in
    log CTR per deviation."""
    impressions: int = 4000
    """Per rendered scene, in the log that each world's reward model learns from."""
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if unknown := set(self.rows) - ROWS.keys():
            expected, hint = f"some of {', '.join(ROWS)}", "Leave --rows out for all of them."
            raise InputError("rows", expected=expected, got=", ".join(sorted(unknown)), next_step=hint)


def run(config: Config) -> list[Estimate]:
    """Train and measure every row in every world; a table goes to `out/table.json` too."""
    import torch

    from caig.studies.preference_parts import Gallery

    torch.set_num_threads(config.threads)
    free = {"out", "rows", "worlds", "first_world", "rates", "threads"}  # what one folder may hold several of
    settle(config.out / "study.json", {name: value for name, value in asdict(config).items() if name not in free})
    gallery = Gallery.open(config)
    check_size(config, gallery.shelf)
    rates = {row: chosen_rate(config, gallery, row) for row in config.rows}
    worlds = range(config.first_world + 1, config.first_world + 1 + config.worlds)
    tables = {world: measured(config, gallery, world, rates) for world in worlds}
    estimates = [*summary(tables), *described(config, gallery, tables)]
    record = {"rates": rates, "estimates": [asdict(estimate) for estimate in estimates], "seconds": gallery.seconds}
    (config.out / "table.json").write_text(json.dumps(record, indent=1))
    return estimates


def check_size(config: Config, shelf: Sequence[Product]) -> None:
    """InputError where a row asks for more products a round than there are to train on: it would paint less than the
    others."""
    there = sum(split(product.id) == "train" for product in shelf)
    most = max(training(config, row, config.first_world, 1.0).products for row in config.rows)
    if most > there:
        wanted = f"{most} training products, for rows of fewer candidates"
        hint = f"Ask for {config.products * there // most} --products or fewer, or render more."
        raise InputError(str(config.scenes), expected=wanted, got=str(there), next_step=hint)


def training(config: Config, row: str, world: int, lr: float) -> Training:
    """The row's settings: pictures and steps asked for are the same for all of them. Guards belong to ours, which they
    may end sooner; they never object to the others."""
    from caig.recipes.pcpo import Config as Training

    out = config.out / f"runs/{world}/{row.replace(' ', '-')}-{lr:g}"
    base = Training(
        catalog=config.scenes,
        out=out,
        prompt_model=config.prompt_model,
        rounds=config.rounds,
        products=config.products,
        lr=lr,
        seed=config.seed,
        threads=config.threads,
        watch=96,
    )
    changed = replace(base, **ROWS[row])
    more = base.candidates // changed.candidates
    batch = more * base.batch * changed.epochs // base.epochs
    return replace(changed, products=more * base.products, batch=batch)


def chosen_rate(config: Config, gallery: Gallery, row: str) -> float:
    """The learning rate with the highest mean true log CTR on the validation world's validation products."""
    if len(config.rates) == 1:
        return config.rates[0]
    values = {}
    for lr in config.rates:
        model = gallery.train(training(config, row, config.first_world, lr), config.first_world)
        values[lr] = float(gallery.log_ctr(config.first_world, model, gallery.validated).mean())
    return max(values, key=lambda lr: values[lr])


def measured(config: Config, gallery: Gallery, world: int, rates: Mapping[str, float]) -> dict[str, Any]:
    """Per row the models and log CTRs of one world: f64[P, 4] of the ads, f64[P] of the judge's choice and the best."""
    before = gallery.log_ctr(world, config.prompt_model, gallery.tested)
    found: dict[str, Any] = {
        "pre-trained": before.mean(1),
        "best of 4": gallery.chosen(world, config.prompt_model, gallery.tested),
        "headroom": gallery.best(world, config.prompt_model, gallery.tested),
        "models": {"pre-trained": config.prompt_model},
    }
    for row, lr in rates.items():
        model = gallery.train(training(config, row, world, lr), world)
        found["models"][row] = model
        found[row] = gallery.log_ctr(world, model, gallery.tested).mean(1)
        if row == "ours":
            found["ours + best of 4"] = gallery.chosen(world, model, gallery.tested)
    return found


def summary(tables: Mapping[int, Mapping[str, Any]]) -> list[Estimate]:
    """Lift and share of headroom of every row; worlds are resampled as blocks, and products."""
    rows = [row for row in next(iter(tables.values())) if row not in ("pre-trained", "headroom", "models")]
    top = np.array([table["headroom"] - table["pre-trained"] for table in tables.values()])
    found = [in_blocks("headroom: lift of true CTR", top, top, lambda gain, _: float(np.expm1(gain.mean())))]
    for row in rows:
        gain = np.array([table[row] - table["pre-trained"] for table in tables.values()])
        found.append(in_blocks(f"{row}: lift of true CTR", gain, top, lambda g, _: float(np.expm1(g.mean()))))
        found.append(in_blocks(f"{row}: share of headroom", gain, top, lambda g, t: float(g.mean() / t.mean())))
    return found


def in_blocks(name: str, gain: Floats, top: Floats, statistic: Any, draws: int = 2000) -> Estimate:
    """`statistic(gain, top)` of f64[worlds, products] with a 95 % interval: worlds are resampled, and products, which
    are the same in all worlds."""
    rng, values = np.random.default_rng(seed_for("blocks", name)), []
    worlds, products = gain.shape
    for _ in range(draws):
        picked = rng.integers(worlds, size=worlds)[:, None], rng.integers(products, size=products)
        values.append(statistic(gain[picked], top[picked]))
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(name=name, value=statistic(gain, top), low=float(low), high=float(high), n=gain.size)


def described(config: Config, gallery: Gallery, tables: Mapping[int, Mapping[str, Any]]) -> list[Estimate]:
    """Match rate, entropy, distinct-2 and KL of each trained row over all worlds, and of the pre-trained model; and by
    how much the match rate of ours lies above that of the pre-trained model and of DPO only.

    Texts vary within a model: entropy is taken within a model's category, distinct-2 within a model, and averaged.
    """
    found, matches = [], dict[str, Floats]()
    for row in ("pre-trained", *config.rows):
        models = list(dict.fromkeys(table["models"][row] for table in tables.values()))
        by_model = [gallery.rows(model, gallery.tested) for model in models]
        matches[row] = np.array([[np.mean(one.matches) for one in own] for own in by_model])
        rows = [replace(one, category=f"{k} {one.category}") for k, own in enumerate(by_model) for one in own]
        found.append(mean(f"{row}: match rate", [np.mean(r.matches) for r in rows], [r.product_id for r in rows]))
        found += [setting_entropy(row, rows), average([distinct_2(row, own) for own in by_model])]
        if row in ROWS:
            gaps = [gallery.kl(model) for model in models]
            found.append(mean(f"{row}: KL, nats a description", gaps, [str(i) for i in range(len(gaps))]))
    if "ours" in matches:
        found += [above(matches, other) for other in ("pre-trained", "DPO only") if other in matches]
    return found


def above(matches: Mapping[str, Floats], other: str) -> Estimate:
    """The match rate of ours less that of `other`, of f64[worlds, products] each; the pre-trained model has one row."""
    more = matches["ours"] - matches[other]
    return in_blocks(f"ours less {other}: match rate", more, more, lambda gain, _: float(gain.mean()))


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Mean of values and bounds: no narrower than an interval of the mean."""
    value, low, high = np.mean([(one.value, one.low, one.high) for one in estimates], axis=0)
    return Estimate(name=estimates[0].name, value=float(value), low=float(low), high=float(high), n=estimates[0].n)


def held_out(products: Sequence[Product], share: str, count: int, seed: int) -> list[Product]:
    """The first `count` products of a share, in an order drawn by the seed."""
    own = [product for product in products if split(product.id) == share]
    return sorted(own, key=lambda product: seed_for(seed, "tested", product.id))[:count]
