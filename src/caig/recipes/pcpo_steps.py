"""The steps of a round of preference optimisation: descriptions, pictures, utilities, and what is watched."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from caig.artifacts import content_hash, write_atomic
from caig.data.captions import setting_of
from caig.data.comparisons import split
from caig.data.everyday import suitable_settings
from caig.errors import InputError
from caig.evaluation.match import Described, distinct_2, setting_entropy
from caig.imaging.compositing import compose
from caig.models.adapters import reference
from caig.models.protocols import RewardModel
from caig.pipeline import as_seen, lay_out, read_cutout
from caig.recipes.pcpo_update import prompt_seed
from caig.recipes.processes import is_sharded
from caig.seeding import seed_for
from caig.types import Alpha, Description, Pixels, Placement, Product

if TYPE_CHECKING:
    from caig.recipes.pcpo import Config, Models
    from caig.recipes.pcpo_update import Policy
    from caig.recipes.store import Store

WATCHED_ADS = 4  # descriptions of each watched product, drawn one by one, every round from the same seeds
LEAST_CTR = 1e-6  # a model that predicts no click at all still has an order
WATCH = "watch"  # what stands for a round's number in seeds and names
ByProduct = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A painted picture as a source of clicks may show it: u8[H, W, 3] and the product's mask f32[H, W]."""

    id: str
    product: Product
    image: Pixels
    mask: Alpha


Refresh = Callable[[RewardModel, Sequence[Shown]], RewardModel]


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The products that train, and those that are only watched."""

    train: tuple[Product, ...]
    watched: tuple[Product, ...]
    per_round: int

    @classmethod
    def of(cls, config: Config, products: Sequence[Product]) -> Shelf:
        """Split by a hash of the ids: watched are the first `config.watch` validation products, in an order drawn by
        the seed; test products take no part. InputError when none is left on either side."""
        ordered = sorted(products, key=lambda product: seed_for(config.seed, "shelf", product.id))
        train = tuple(product for product in ordered if split(product.id) == "train")
        watched = tuple(product for product in ordered if split(product.id) == "validation")[: config.watch]
        if len(train) < 2 or not watched:
            raise InputError(
                "catalogue",
                expected="at least 2 products to train on and 1 to watch",
                got=f"{len(train)} and {len(watched)} of {len(products)}, split by a hash of their ids",
                next_step="Give a catalogue of some 20 products or more.",
            )
        return cls(train=train, watched=watched, per_round=min(config.products, len(train)))

    def window(self, r: int) -> list[Product]:
        """The products of round r; the next round takes the next ones, and starts over after the last."""
        return [self.train[i % len(self.train)] for i in range(r * self.per_round, (r + 1) * self.per_round)]


class Studio:
    """Paints and judges; the reward model may be refreshed between rounds."""

    def __init__(self, config: Config, models: Models) -> None:
        self.config, self.models, self.reward = config, models, models.reward
        self.folder = config.out / "pictures"

    def paint(self, products: Sequence[Product], drafts: ByProduct, r: int | str) -> dict[str, list[str]]:
        """Paint each product's texts from one seed of its own; product id -> ids of the pictures, which are stored."""
        return {product.id: self._paint(product, drafts[product.id], r) for product in products}

    def judge(self, products: Sequence[Product], pictures: ByProduct) -> dict[str, list[float]]:
        """Log CTR of each picture by the reward model, as it is in this round."""
        return {product.id: self.utilities(self.reward, product, pictures[product.id]) for product in products}

    def utilities(self, model: RewardModel, product: Product, ids: Sequence[str]) -> list[float]:
        """Log CTR of stored pictures as `model` predicts it: the unit of beta and of what a misfit costs, whatever a
        model's own utility is counted in."""
        images = [self.read(id) for id in ids]
        return [math.log(max(score.ctr, LEAST_CTR)) for score in model.score(product, images, ids=ids)]

    def refresh(self, products: Sequence[Product], pictures: ByProduct) -> None:
        """Go on with the reward model that the caller makes of the round's pictures, if it makes any."""
        if self.models.refresh:
            shown = [self._shown(product, id) for product in products for id in dict.fromkeys(pictures[product.id])]
            self.reward = self.models.refresh(self.reward, shown)

    def read(self, id: str) -> Pixels:
        """A stored picture, u8[H, W, 3]."""
        with Image.open(self.folder / f"{id}.webp") as picture:
            return np.asarray(picture.convert("RGB"))

    def _paint(self, product: Product, texts: Sequence[str], r: int | str) -> list[str]:
        canvas = lay_out(read_cutout(product), (self.config.side, self.config.side), Placement())
        seed = seed_for(self.config.seed, "paint", r, product.id)
        descriptions = [Description(product_id=product.id, text=text, author="", seed=seed) for text in texts]
        model = self.models.background
        painted = model.paint(canvas, descriptions, seeds=[seed] * len(texts))
        ads = [compose(canvas, one) for one in painted]
        ids = [content_hash(ad) for ad in ads]
        for id, ad in dict(zip(ids, ads, strict=True)).items():
            write_atomic(self.folder / f"{id}.webp", _lossless(ad))
        return ids

    def _shown(self, product: Product, id: str) -> Shown:
        canvas = lay_out(read_cutout(product), (self.config.side, self.config.side), Placement())
        return Shown(id=id, product=product, image=self.read(id), mask=canvas.product)


def describe(
    products: Sequence[Product], policy: Policy, count: int, r: int | str, differ: bool = True
) -> dict[str, list[str]]:
    """`count` descriptions of each product by the model as it is now, different ones or what it prefers; as many
    products at a time as a training step has."""
    seed, size, found = prompt_seed(policy.config, r), policy.config.batch, {}
    for part in (products[i : i + size] for i in range(0, len(products), size)):
        written = policy.writer.describe_batch([as_seen(one) for one in part], count, seed=seed, differ=differ)
        found |= {product.id: [one.text for one in own] for product, own in zip(part, written, strict=True)}
    return found


def write(
    store: Store, name: str, products: Sequence[Product], policy: Policy, count: int, r: int | str, differ: bool = True
) -> ByProduct:
    """`describe`, stored: each process its share of the products, or, as a sharded model needs, all of them at once."""
    make = store.by_all if is_sharded() else store.shared
    return make(name, describe, products, policy, count, r, differ)


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What was seen of the watched products before a round (or after the last): their ads and the measurements."""

    products: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]


def watch(
    store: Store, r: int, policy: Policy, studio: Studio, products: Sequence[Product], name: str = WATCH
) -> Watched:
    """Write, paint and judge the watched products' ads; the seeds are those of every other round."""
    drafts = write(store, f"rounds/{r}/{name}-drafts", products, policy, WATCHED_ADS, WATCH, differ=False)
    pictures = store.shared(f"rounds/{r}/{name}-pictures", studio.paint, products, drafts, WATCH)
    measured = store.by_all if is_sharded() else store.by_one
    found = measured(f"rounds/{r}/{name}", _measure, policy, studio, products, drafts, pictures)
    return Watched(**found)


def watched_base(store: Store, policy: Policy, studio: Studio, products: Sequence[Product], first: Watched) -> Watched:
    """What guards count from: the watched products' ads by the prompt model under the adapter. Where a run begins with
    a fresh one that is `first`; else guards would let go of a little more in every run that goes on from the last."""
    if not policy.goes_on:
        return first
    with reference(policy.model):
        return watch(store, 0, policy, studio, products, name="reference")


def within_guards(
    store: Store,
    r: int,
    policy: Policy,
    studio: Studio,
    products: Sequence[Product],
    base: Watched,
    before: Mapping[str, Tensor],
) -> tuple[Watched, float]:
    """Watch the model after an update; while a guard objects, go half of the way back to the adapter `before` it, and
    watch again, `halvings` times at most. Returns what was seen last, and the part of the step that was taken.

    A backtracking line search on the guards, as that of TRPO on its KL (Schulman et al. 2015, appendix C); the last
    round, which goes too far, is not lost whole. Not in the paper.
    """
    seen, part = watch(store, r, policy, studio, products), 1.0
    for _ in range(policy.config.halvings):
        if not alarms(policy.config, base.metrics, seen.metrics):
            break
        policy.step_back(before)
        part /= 2
        seen = watch(store, r, policy, studio, products, name=f"{WATCH}-{part:g}")
    return seen, part


def _measure(
    policy: Policy, studio: Studio, products: Sequence[Product], drafts: ByProduct, pictures: ByProduct
) -> dict[str, Any]:
    rows = [_row(studio, product, drafts[product.id], pictures[product.id]) for product in products]
    described = [_described(product, drafts[product.id]) for product in products]
    known = [row for row, product in zip(described, products, strict=True) if suitable_settings(product.category)]
    metrics = {
        "kl": policy.distance([as_seen(product) for product in products], [drafts[p.id][:1] for p in products], WATCH),
        "entropy": setting_entropy(WATCH, described).value,
        "distinct_2": distinct_2(WATCH, described).value,
        "utility": float(np.mean([row["utilities"] for row in rows])),
    }
    if known:
        metrics["match"] = float(np.mean([row.matches for row in known]))
    if studio.models.guard:
        metrics["guard"] = float(np.mean([row["guards"] for row in rows]))
    return {"products": rows, "metrics": metrics}


def _row(studio: Studio, product: Product, texts: Sequence[str], pictures: Sequence[str]) -> dict[str, Any]:
    guard = studio.models.guard
    return {
        "id": product.id,
        "title": product.title,
        "texts": texts,
        "pictures": pictures,
        "utilities": studio.utilities(studio.models.reward, product, pictures),
        "guards": studio.utilities(guard, product, pictures) if guard else [],
    }


def _described(product: Product, texts: Sequence[str]) -> Described:
    suitable = suitable_settings(product.category) or ()
    named = tuple(setting_of(text) for text in texts)
    return Described(
        product_id=product.id,
        category=product.category,
        texts=tuple(texts),
        settings=named,
        matches=tuple(float(setting in suitable) for setting in named),
    )


def alarms(config: Config, before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """What the guards object to, in words; empty when all is well. Metrics that are not there are not watched."""
    least = {
        "entropy": config.min_entropy * before["entropy"],
        "distinct_2": config.min_distinct * before["distinct_2"],
        "match": before.get("match", 0.0) - config.max_match_drop,
        "guard": before.get("guard", 0.0) - config.max_guard_drop,
    }
    found = [f"kl {now['kl']:.3g} is above {config.max_kl:.3g}"] if now["kl"] > config.max_kl else []
    low = {name: floor for name, floor in least.items() if name in now and now[name] < floor}
    return found + [f"{name} {now[name]:.3g} is below {floor:.3g}" for name, floor in low.items()]


def best_round(config: Config, base: Watched, watched: Sequence[Watched]) -> int:
    """The round, 0 for the model as it came, with the highest mean utility (by the guard model, where there is one)
    among those without alarm."""
    calm = [r for r, one in enumerate(watched) if not alarms(config, base.metrics, one.metrics)]
    return max(calm, key=lambda r: watched[r].metrics.get("guard", watched[r].metrics["utility"]), default=0)


def _lossless(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()
