"""Measure a background model (`caig evaluate background`): obedience, closeness to renders and diversity.

Every scene of a test product is painted again, from two seeds: the same product at the same place, the scene's own
caption. A classifier that has only seen renders of training products says what it sees in both, products covered: these
are kept as they are, whatever is painted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caig.data.scenes import SceneRecord, read_scenes
from caig.evaluation.closeness import density_and_coverage, frechet_distance, kernel_distance
from caig.evaluation.metrics import bootstrap, mean
from caig.imaging.compositing import compose
from caig.imaging.edges import product_edges
from caig.models.protocols import BackgroundModel
from caig.recipes.background.classifier import SceneClassifier, ground_of, shrink, train_classifier
from caig.seeding import seed_for
from caig.types import Canvas, Description, Estimate, Pixels

HALVINGS = 50


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig evaluate background`."""

    data: Path
    """Folder of scene tars."""
    out: Path
    """Where the classifier is kept, and `nearest.png`: paintings beside the training renders nearest to them."""
    background_model: str = "embedded"
    cases: int = 240
    """Scenes of test products to paint, at most."""
    classifier_steps: int = 1500
    seed: int = 0


def run(config: Config) -> Iterator[Estimate]:
    """Yield one estimate after the other, with 95 % intervals over products."""
    from caig.models.hub import load_model

    scenes = read_scenes(config.data)
    training = [scene for scene in scenes if scene.split == "train"]
    classifier = train_classifier(
        training, config.out / "classifier.pt", steps=config.classifier_steps, seed=config.seed
    )
    model: BackgroundModel = load_model(config.background_model, "background")
    tested = [scene for scene in scenes if scene.split == "test"]
    order = np.random.default_rng(config.seed).permutation(len(tested))[: config.cases]
    tested = [tested[k] for k in order]
    renders = [ground_of(scene, scene.image()) for scene in tested]
    made, again = ([paint(model, scene, seed) for scene in tested] for seed in (config.seed, config.seed + 1))
    paintings, others = ([ground_of(*pair) for pair in zip(tested, whole, strict=True)] for whole in (made, again))
    yield from obedience(classifier, tested, renders, [paintings, others])
    yield from closeness(classifier, tested, renders, paintings, config.seed)
    yield from diversity(classifier, tested, renders, paintings, others)
    write_nearest(classifier, training, tested[:12], made[:12], config.out / "nearest.png")


def paint(model: BackgroundModel, scene: SceneRecord, seed: int) -> Pixels:
    """The scene's product in its place, the background painted from the scene's first caption."""
    cutout = scene.cutout()
    image, alpha = np.ascontiguousarray(cutout[..., :3]), cutout[..., 3].astype(np.float32) / 255
    canvas = Canvas(image=image, product=alpha, edges=product_edges(image, alpha))
    text = scene.record["captions"][0]
    description = Description(product_id=scene.product["id"], text=text, author="renders", seed=seed)
    picture = model.paint(canvas, [description], seeds=[seed_for(seed, scene.id)])[0]
    return compose(canvas, picture)


def obedience(
    classifier: SceneClassifier,
    scenes: Sequence[SceneRecord],
    renders: Sequence[Pixels],
    paintings: Sequence[Sequence[Pixels]],
) -> Iterator[Estimate]:
    """How often the asked setting and light are recognised, in `renders` and in `paintings`, one sequence per seed; and
    how often if descriptions were shuffled between scenes: the mean over all shuffles.

    Lights are shuffled within a setting: a light that follows from the setting shows no obedience.
    """
    products = [scene.product["id"] for scene in scenes]
    settings = np.array([scene.record["setting"] for scene in scenes])
    rendered = classifier.look(renders)[:2]
    painted = [classifier.look(pictures)[:2] for pictures in paintings]
    for number, (name, factor) in enumerate((("setting", "setting"), ("light", "lighting"))):
        asked = np.array([scene.record[factor] for scene in scenes])
        groups = np.zeros(len(scenes)) if name == "setting" else settings
        render, chance = _right(rendered[number], asked, groups)
        painting, shuffled = np.mean([_right(seen[number], asked, groups) for seen in painted], axis=0)
        yield mean(f"{name} recognised in renders", render, products)
        yield mean(f"{name} recognised in paintings", painting, products)
        yield mean(f"{name} recognised in renders, descriptions shuffled", chance, products)
        yield mean(f"{name} recognised in paintings, descriptions shuffled", shuffled, products)
        yield bootstrap(f"{name}: paintings over renders", _ratio, products, painting, render)
        above = painting - shuffled, render - chance
        yield bootstrap(f"{name}: paintings over renders, above chance", _ratio, products, *above)


def closeness(
    classifier: SceneClassifier,
    scenes: Sequence[SceneRecord],
    renders: Sequence[Pixels],
    paintings: Sequence[Pixels],
    seed: int,
) -> Iterator[Estimate]:
    """How far paintings are from renders of other products, beside how far renders are: means over `HALVINGS` random
    halvings of the products, intervals over the halvings."""
    made, real = classifier.look(paintings)[2], classifier.look(renders)[2]
    products = np.array([scene.product["id"] for scene in scenes])
    rng, values = np.random.default_rng(seed), []
    for _ in range(HALVINGS):
        names = rng.permutation(np.unique(products))
        one = np.isin(products, names[: len(names) // 2])
        values.append([_distances(part[one], real[~one]) for part in (made, real)])
    for number, what in enumerate(("paintings", "renders")):
        for name in values[0][0]:
            drawn = np.array([pair[number][name] for pair in values])
            low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
            yield Estimate(
                name=f"{name}, {what} to renders", value=float(drawn.mean()), low=low, high=high, n=len(scenes)
            )


def _distances(made: NDArray[np.floating], real: NDArray[np.floating]) -> dict[str, float]:
    density, coverage = density_and_coverage(real, made)
    kernel, frechet = kernel_distance(made, real), frechet_distance(made, real)
    return {"KID": kernel, "Frechet distance": frechet, "density": density, "coverage": coverage}


def diversity(
    classifier: SceneClassifier,
    scenes: Sequence[SceneRecord],
    renders: Sequence[Pixels],
    paintings: Sequence[Pixels],
    again: Sequence[Pixels],
) -> Iterator[Estimate]:
    """How far two seeds of a description lie apart, and whether a setting always gives one picture."""
    products = [scene.product["id"] for scene in scenes]
    apart = [
        np.abs(shrink(one).astype(float) - shrink(other)).mean() for one, other in zip(paintings, again, strict=True)
    ]
    yield mean("levels between two seeds", apart, products)
    yield mean("two seeds differ by over 2 levels", np.array(apart) > 2, products)
    made, real = classifier.look(paintings)[2], classifier.look(renders)[2]
    settings = np.array([scene.record["setting"] for scene in scenes])
    spread = {
        name: _spread(made[settings == name]) / _spread(real[settings == name])
        for name in sorted(set(settings))
        if (settings == name).sum() >= 2
    }
    yield mean("spread of a setting's paintings over its renders'", list(spread.values()), list(spread))
    least = min(spread, key=lambda name: spread[name])
    value = spread[least]
    yield Estimate(
        name=f"least of them ({least})", value=value, low=value, high=value, n=int((settings == least).sum())
    )


def write_nearest(
    classifier: SceneClassifier,
    training: Sequence[SceneRecord],
    scenes: Sequence[SceneRecord],
    paintings: Sequence[Pixels],
    path: Path,
    side: int = 192,
) -> None:
    """Each painting on the left, the training render nearest to it in the classifier's features on the right."""
    made = classifier.look([ground_of(*pair) for pair in zip(scenes, paintings, strict=True)])[2]
    real = classifier.look([ground_of(scene, scene.image()) for scene in training])[2]
    rows = []
    for picture, feature in zip(paintings, made, strict=True):
        nearest = training[int(np.square(real - feature).sum(1).argmin())].image()
        rows.append(np.concatenate([shrink(picture, side), shrink(nearest, side)], 1))
    while len(rows) % 4:
        rows.append(np.full_like(rows[0], 255))
    grid = np.concatenate([np.concatenate(rows[k::4], 0) for k in range(4)], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid).save(path)


def _right(
    seen: Sequence[str], asked: NDArray[np.str_], groups: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """f64[N] each: whether what is seen was asked for, and the chance of it where labels are shuffled in a group."""
    hits = np.array(seen)[:, None] == asked
    within = groups[:, None] == groups
    return hits.diagonal().astype(float), (hits & within).sum(1) / within.sum(1)


def _ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(first.mean() / max(second.mean(), 1e-9))


def _spread(features: NDArray[np.floating]) -> float:
    """Mean distance from the centre."""
    return float(np.linalg.norm(features - features.mean(0), axis=1).mean())
