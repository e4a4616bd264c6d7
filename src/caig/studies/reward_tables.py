"""What the cells of `caig shop study rewards` show: accuracies beside the ceiling, differences, rankings, buckets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caig.evaluation.metrics import agreement, bootstrap, calibration_gaps, kendall_tau, mean, way
from caig.evaluation.ranking import ndcg
from caig.studies.reward_systems import ABLATIONS, NEW_NOUNS, REFERENCES, THIRTY_TWO
from caig.studies.rewards import (
    Config,
    Shelf,
    has_held_out_noun,
    observed_pairs,
    read_cell,
)
from caig.types import Estimate

Floats = NDArray[np.float64]
GAPS = ((1.0, 1.1), (1.1, 1.3), (1.3, 1.6), (1.6, np.inf))  # ratio of true CTRs


@dataclass(frozen=True, kw_only=True, eq=False)
class Judged:
    """One system's judgement of the test pairs of every world that has its cell; pairs pooled, clusters are
    products."""

    owner: list[str]
    right: Floats  # f64[P] against the observed order
    most: Floats  # f64[P] the same of the true order: its mean is the ceiling
    chance: Floats  # f64[P] predicted probability that the first is better, 0 to 1
    order: Floats  # f64[P] whether it is: 1, 0, or 0.5 in a tie
    ratio: Floats  # f64[P] true CTRs, higher over lower
    new_noun: NDArray[np.bool_]  # bool[P]
    painted: NDArray[np.int_]  # i64[P] how many of the two a background model painted
    tau: list[float]  # per product and world
    ndcg: list[float]
    product: list[str]  # of tau and ndcg


def tables(config: Config, shelves: Sequence[Shelf]) -> list[Estimate | str]:
    """Every estimate that the finished cells allow, then a line for each system that is missing in some world."""
    judged = {system: judge(config, shelves, system) for system in config.systems}
    found = {system: own for system, own in judged.items() if own is not None}
    lines: list[Estimate | str] = []
    for system, own in found.items():
        lines += [*ladder(system, own), *rates_taken(config, shelves, system)]
    lines += [
        difference(f"{name} less published", found[name], found["published"])
        for name in ("ours", THIRTY_TWO)
        if {name, "published"} <= found.keys()
    ]
    lines += [
        difference(f"{name} less {reference}", found[name], found[reference])
        for name, reference in REFERENCES.items()
        if name in found and reference in found
    ]
    if {"ours", NEW_NOUNS} <= found.keys():
        lines += on_new_nouns(found[NEW_NOUNS], found["ours"])
    if "ours" in found:
        ours = found["ours"]
        lines += buckets(ours)
        lines += calibration_gaps("ours, calibration against the true order", ours.chance, ours.order, ours.owner)
    missing = [f"not run: {system}" for system, own in judged.items() if own is None]
    return lines + missing


def judge(config: Config, shelves: Sequence[Shelf], system: str) -> Judged | None:
    """None unless the system's cell is there for every world."""
    cells = [read_cell(config, shelf.seed, system) for shelf in shelves]
    if any(cell is None for cell in cells):
        return None
    impressions = ABLATIONS.get(system, {}).get("impressions")
    parts = [_judge(shelf, np.array(cell["utility"]), impressions) for shelf, cell in zip(shelves, cells, strict=True)]
    columns = {name: [getattr(part, name) for part in parts] for name in vars(parts[0])}
    return Judged(
        **{
            name: np.concatenate(values) if isinstance(values[0], np.ndarray) else sum(values, [])
            for name, values in columns.items()
        }
    )


def _judge(shelf: Shelf, utility: Floats, impressions: int | None) -> Judged:
    first, second, observed = observed_pairs(shelf, "test", impressions)
    ctr = shelf.world.ctr(shelf.ads)
    new = np.array([has_held_out_noun(shelf, ad) for ad in shelf.ads])
    painted = np.array([int(scene.painted) for scene in shelf.scenes])
    products = sorted({shelf.owner[row] for row in first})
    rows = [np.flatnonzero(shelf.owner == product) for product in products]
    high, low = np.maximum(ctr[first], ctr[second]), np.minimum(ctr[first], ctr[second])
    return Judged(
        owner=shelf.owner[first].tolist(),
        right=agreement(utility[first] - utility[second], observed),
        most=agreement(ctr[first] - ctr[second], observed),
        chance=1 / (1 + np.exp(utility[second] - utility[first])),
        order=0.5 + 0.5 * np.sign(ctr[first] - ctr[second]),
        ratio=high / low,
        new_noun=new[first],
        painted=painted[first] + painted[second],
        tau=[kendall_tau(utility[own], ctr[own]) for own in rows],
        ndcg=[ndcg(utility[own], ctr[own] / ctr[own].max()) for own in rows],
        product=products,
    )


def ladder(system: str, own: Judged) -> list[Estimate]:
    """Accuracy, ceiling, way to it, and rankings per product of one system."""
    return [
        mean(f"{system}: pair accuracy", own.right, own.owner),
        mean(f"{system}: ceiling", own.most, own.owner),
        bootstrap(f"{system}: way from chance to the ceiling", way, own.owner, own.right, own.most),
        mean(f"{system}: Kendall tau per product, true CTR", own.tau, own.product),
        mean(f"{system}: NDCG per product, true CTR", own.ndcg, own.product),
    ]


def rates_taken(config: Config, shelves: Sequence[Shelf], system: str) -> list[str]:
    """One line on the learning rate that each world took and of which, where more than one was tried in all."""
    cells = [cell for shelf in shelves if (cell := read_cell(config, shelf.seed, system))]
    if len({rate for cell in cells for rate in cell.get("rates", [])}) < 2:
        return []
    taken = (f"{cell['chosen']:g} in w{cell['seed']} ({_tried(cell)})" for cell in cells)
    return [f"{system}: learning rate {', '.join(taken)}"]


def _tried(cell: Mapping[str, Any]) -> str:
    rates = cell.get("rates", [])
    at_edge = len(rates) > 1 and cell["chosen"] in (min(rates), max(rates))
    listed = ", ".join(f"{rate:g}" for rate in rates) or "rates that were not kept"
    return f"of {listed}{', at the edge of those tried' if at_edge else ''}"


def difference(name: str, one: Judged, other: Judged) -> Estimate:
    """Accuracy of `one` less that of `other` on the same pairs."""
    return mean(f"{name}: pair accuracy", one.right - other.right, one.owner)


def buckets(own: Judged) -> list[Estimate]:
    """Ours by true CTR gap, on nouns that some training leaves out, on rendered and on painted pictures."""
    kept: dict[str, Callable[[Judged], NDArray[np.bool_]]] = {
        f"true CTR ratio {low:g} to {high:g}": lambda j, low=low, high=high: (j.ratio >= low) & (j.ratio < high)
        for low, high in GAPS
    }
    kept["nouns of the held-out kind"] = lambda j: j.new_noun
    for count, what in enumerate(("both rendered", "one rendered, one painted", "both painted")):
        kept[what] = lambda j, count=count: j.painted == count
    lines = []
    for name, choose in kept.items():
        here = choose(own)
        lines += within(f"ours, {name}: pair accuracy", own, own.right, here)
        lines += within(f"ours, {name}: ceiling", own, own.most, here)
    return lines


def on_new_nouns(own: Judged, ours: Judged) -> list[Estimate]:
    """Heads that the log taught nothing of some nouns (`own`) beside ours, both on the pairs of those nouns."""
    here = ours.new_noun
    return [
        *within(f"{NEW_NOUNS}, on those nouns: pair accuracy", own, own.right, here),
        *within("ours, on the same pairs: pair accuracy", ours, ours.right, here),
        *within(f"{NEW_NOUNS} less ours, on those nouns: pair accuracy", own, own.right - ours.right, here),
    ]


def within(name: str, own: Judged, values: Floats, here: NDArray[np.bool_]) -> list[Estimate]:
    """The mean of `values` over the pairs that bool[P] marks, where there are any."""
    owner = [product for product, inside in zip(own.owner, here, strict=True) if inside]
    return [mean(name, values[here], owner)] if owner else []
