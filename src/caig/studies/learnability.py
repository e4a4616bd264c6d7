"""Can the shop's tastes be learned from clicks, and what are they made of?

An oracle sees the shop's own features (each picture's look, its squared length, look x category), knows how strong
tastes are, and learns from the log alone which way they go: a logistic regression of which of a product's pictures a
click fell on (conditional logit, McFadden 1974), P(click on k) ~ impressions_k exp(features_k . b). It judges products
that it was not fitted to (folds by product). A perfect ranker's accuracy on the same observed orders is the ceiling.

    way = (oracle's accuracy - 1/2) / (ceiling - 1/2)

The variance of the log of the true CTR is then taken apart: between categories, between products, and between
pictures; of the last, what the shared attraction alone explains on unseen products, and what category tastes add.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caig.evaluation.metrics import agreement, bootstrap, mean, way
from caig.seeding import seed_for
from caig.shop.shoppers import SHARED, TASTE, Ad, World
from caig.shop.simulate import simulate, uniform
from caig.shop.statistics import NAMES
from caig.studies.shelf import counts, read_ads
from caig.types import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop study learnability`."""

    scenes: Path
    """Folder of scene tars."""
    worlds: int = 5
    impressions: int = 4000
    """Per picture, on average."""
    folds: int = 7
    seed: int = 0
    """Of the first world; the others follow."""


def run(config: Config) -> list[Estimate]:
    """For each world the oracle's accuracy, the ceiling, the way, and the shares of variance; intervals by product."""
    ads = sorted(read_ads(config.scenes), key=lambda ad: ad.product.id)
    return [
        estimate for seed in range(config.seed, config.seed + config.worlds) for estimate in study(config, ads, seed)
    ]


def study(config: Config, ads: Sequence[Ad], seed: int) -> Iterator[Estimate]:
    """One world's estimates; `ads` sorted by product."""
    world, name = World(seed), f"world {seed}"
    log = simulate(world, ads, uniform, config.impressions * len(ads), seed=seed)
    shown, clicks = counts(log, ads).select("impressions", "clicks").to_numpy().T.astype(np.float64)
    owner = np.array([ad.product.id for ad in ads])
    fold = np.array([seed_for("fold", id) % config.folds for id in owner])
    seen, utility = features(ads), np.empty(len(ads))
    for k in range(config.folds):
        known = fold != k
        weights = fit_oracle(seen[known], owner[known], clicks[known], shown[known])
        utility[~known] = seen[~known] @ weights
    ctr = world.ctr(ads)
    first, second = pairs_within(owner)
    observed = 0.5 + 0.5 * np.sign(clicks[first] * shown[second] - clicks[second] * shown[first])
    right, most = (agreement(u[first] - u[second], observed) for u in (utility, ctr))
    yield mean(f"{name}: pair accuracy of the oracle", right, owner[first])
    yield mean(f"{name}: ceiling", most, owner[first])
    yield bootstrap(f"{name}: way from chance to the ceiling", way, owner[first], right, most)
    for estimate in variance_table(world, ads, fold):
        yield Estimate(**{**vars(estimate), "name": f"{name}: {estimate.name}"})


def features(ads: Sequence[Ad]) -> Floats:
    """f64[N, K + 1 + categories * K]: look, half its squared length, look x category; as in the world's own appeal."""
    looks = np.array([ad.look for ad in ads])
    _, category = np.unique([ad.product.category for ad in ads], return_inverse=True)
    own = (np.eye(category.max() + 1)[category][:, :, None] * looks[:, None, :]).reshape(len(ads), -1)
    return np.hstack([looks, (looks**2).sum(1, keepdims=True) / 2, own])


def penalties(width: int) -> Floats:
    """f64[width]: what the oracle knows of the strength of each weight, as the inverse of its prior variance."""
    shared, own = len(NAMES) / SHARED**2, len(NAMES) / TASTE**2
    return np.concatenate([np.full(len(NAMES), shared), [1.0], np.full(width - len(NAMES) - 1, own)])


def fit_oracle(
    seen: Floats, owner: NDArray[np.str_], clicks: Floats, shown: Floats, penalty: Floats | None = None
) -> Floats:
    """Weights f64[F] with the greatest penalised likelihood of which of a product's pictures each click fell on.

    Args:
        seen: features f64[N, F]
        owner: product of each picture, sorted
        penalty: inverse prior variances f64[F]; None: what the oracle knows of them
    """
    from scipy.optimize import minimize

    starts, sizes = runs_of(owner)
    penalty = penalties(seen.shape[1]) if penalty is None else penalty
    total = np.repeat(np.add.reduceat(clicks, starts), sizes)

    def loss(weights: Floats) -> tuple[float, Floats]:
        utility = seen @ weights + np.log(np.maximum(shown, 0.5))
        utility -= np.repeat(np.maximum.reduceat(utility, starts), sizes)
        log_chance = utility - np.repeat(np.log(np.add.reduceat(np.exp(utility), starts)), sizes)
        slope = seen.T @ (total * np.exp(log_chance) - clicks)
        return -float(clicks @ log_chance) + float(penalty @ weights**2) / 2, slope + penalty * weights

    return minimize(loss, np.zeros(seen.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x


def pairs_within(owner: NDArray[np.str_]) -> tuple[Ints, Ints]:
    """(first, second), i64[P] each: every pair of rows of one product; `owner` is sorted."""
    runs = zip(*runs_of(owner), strict=True)
    first, second = np.concatenate([start + np.array(np.triu_indices(size, 1)) for start, size in runs], axis=1)
    return first, second


def runs_of(owner: NDArray[np.str_]) -> tuple[Ints, Ints]:
    """(first row, number of rows), i64[products] each, of every product; `owner` is sorted."""
    starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    return starts, np.diff(np.append(starts, len(owner)))


def variance_table(world: World, ads: Sequence[Ad], fold: Ints) -> list[Estimate]:
    """Shares of the variance of log true CTR, with intervals by product.

    Base rates are known in the shop, so a picture's part is its CTR over its product's base rate.
    """
    owner, category = [ad.product.id for ad in ads], np.array([ad.product.category for ad in ads])
    base = np.log([world.base_rate(ad.product) for ad in ads])
    picture = np.log(world.ctr(ads)) - base
    level = np.array([base[category == name].mean() for name in category])
    parts = {"categories": level, "products of a category": base - level, "pictures of a product": picture}
    total = list(parts.values())
    table = [bootstrap(f"variance between {name}", share, owner, part, *total) for name, part in parts.items()]
    seen = features(ads)
    alone, full = (out_of_fold(seen[:, :width], picture, fold) for width in (len(NAMES) + 1, seen.shape[1]))
    return table + [
        bootstrap("of the pictures' part: shared attraction", explained, owner, picture, alone),
        bootstrap("of the pictures' part: added by category tastes", added, owner, picture, alone, full),
        bootstrap("of the pictures' part: groups, saturation and error", rest, owner, picture, full),
    ]


def share(part: Floats, *all_parts: Floats) -> float:
    """Variance of `part` over the sum of all parts' variances."""
    return float(part.var() / sum(other.var() for other in all_parts))


def out_of_fold(seen: Floats, target: Floats, fold: Ints) -> Floats:
    """f64[N]: least squares of `target` on `seen`, each fold predicted from the others (ridge 1)."""
    found, design = np.empty(len(target)), np.hstack([np.ones((len(target), 1)), seen])
    for k in np.unique(fold):
        x, y = design[fold != k], target[fold != k]
        found[fold == k] = design[fold == k] @ np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    return found


def explained(target: Floats, predicted: Floats) -> float:
    """R^2: 1 - squared error over variance."""
    return float(1 - ((target - predicted) ** 2).mean() / target.var())


def added(target: Floats, before: Floats, after: Floats) -> float:
    """What `after` explains more than `before`."""
    return explained(target, after) - explained(target, before)


def rest(target: Floats, predicted: Floats) -> float:
    """What is left unexplained."""
    return 1 - explained(target, predicted)
