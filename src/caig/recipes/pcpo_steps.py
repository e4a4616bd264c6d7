"""The steps of a round of preference optimisation: descriptions, pictures, utilities, and what is watched."""

from __future__ import annotations

import io
from collections import defaultdict
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
from caig.models.protocols import RewardModel
from caig.pipeline import as_seen, lay_out, read_cutout
from caig.preference.worth import LATEST, worth_of_words
from caig.recipes.processes import is_sharded
from caig.seeding import seed_for
from caig.types import Alpha, Description, Pixels, Placement, Product

if TYPE_CHECKING:
    from caig.recipes.pcpo import Config, Models
    from caig.recipes.pcpo_update import Policy
    from caig.recipes.store import Store

WATCHED_ADS = 8  # descriptions of each watched product, drawn one by one, every round from the same seeds
SPARE = 1 / 3  # of the entropy that a run may lose, which settings by themselves are not to take
LEAST_SHARE = -0.25
FEW = 3  # texts of a setting in a category that say as much of it as all other categories do
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
        """Utility of each picture by the reward model, as it is in this round."""
        return {product.id: self.utilities(self.reward, product, pictures[product.id]) for product in products}

    def utilities(self, model: RewardModel, product: Product, ids: Sequence[str]) -> list[float]:
        """Utility of stored pictures by `model`."""
        images = [self.read(id) for id in ids]
        return [float(score.utility) for score in model.score(product, images, ids=ids)]

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
    """`count` descriptions of each product by the model as it is now, different ones or what it prefers."""
    seed = seed_for(policy.config.seed, "describe", r)
    return {
        product.id: [one.text for one in policy.writer.describe(as_seen(product), count, seed=seed, differ=differ)]
        for product in products
    }


def write(
    store: Store, name: str, products: Sequence[Product], policy: Policy, count: int, r: int | str, differ: bool = True
) -> ByProduct:
    """`describe`, stored: each process its share of the products, or, as a sharded model needs, all of them at once."""
    make = store.by_all if is_sharded() else store.shared
    return make(name, describe, products, policy, count, r, differ)


def setting_share(config: Config, before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """How much of what a setting is worth by itself counts in the next round, -0.25 to 1.

    1 while the entropy of settings is what it was `before` all rounds, 0 where `SPARE` of the way from its guard is
    left, straight in between. Below, half as steep, it counts against a setting that it is liked: even without, some
    variety is lost in every round, and the guard would stop the run.
    """
    floor = config.min_entropy * before["entropy"]
    if not floor:
        return 1.0
    level = floor + SPARE * (before["entropy"] - floor)
    left = (now["entropy"] - level) / max(before["entropy"] - level, 1e-9)
    return float(np.clip(left if left > 0 else left / 2, LEAST_SHARE, 1.0))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A round's candidates: product id -> texts, and utilities of their pictures."""

    products: Sequence[Product]
    drafts: ByProduct
    utilities: ByProduct

    def rows(self, product: Product) -> list[tuple[str, str | None, str, str, float]]:
        """Text, its setting, category, product and utility of each candidate."""
        pairs = zip(self.drafts[product.id], self.utilities[product.id], strict=True)
        return [(text, setting_of(text), product.category, product.id, utility) for text, utility in pairs]


def credited(config: Config, rounds: Sequence[Judged]) -> dict[str, Any]:
    """The utilities that the last of `rounds` trains on, product id -> N of them, and how much of those of their
    pictures they explain (`worth_of_words` over all rounds so far).

    Where words explain nothing, or `config.credit` says so, pictures keep their own.
    """
    last = rounds[-1]
    as_judged = {"utilities": dict(last.utilities), "explained": 1.0}
    if config.credit == "picture":
        return as_judged
    earlier = [row for one in rounds[:-1] for product in one.products for row in one.rows(product)]
    told: dict[str, list[float]] = {}
    shares, size = [], max(1, LATEST // config.candidates)
    for start in range(0, len(last.products), size):
        products = last.products[start : start + size]
        own = [row for product in products for row in last.rows(product)]
        worth, share = worth_of_words(*zip(*[*earlier, *own][-LATEST:], strict=True))
        told |= zip((p.id for p in products), worth[-len(own) :].reshape(len(products), -1).tolist(), strict=True)
        shares.append(share)
    explained = float(np.mean(shares))
    return {"utilities": told, "explained": explained} if explained > 0 else {**as_judged, "explained": 0.0}


def levelled(
    products: Sequence[Product], drafts: ByProduct, utilities: ByProduct, share: float
) -> dict[str, list[float]]:
    """Utilities with a `share`, 1 or less, of what settings are worth by themselves left in, product id -> N of them.

    u' = u - (1 - share) w, where w is the mean of u - mean_product(u) over all of the round's texts that name the same
    setting, and over those of the same category as far as they differ from it (shrunk by `FEW` texts).

    What a setting is worth pays best to be named every time, and costs the variety of settings. Where the share is
    less, light, palette and what suits this very product count for more. It is a dearer KL on the setting than on the
    rest: optimum pi ~ ref exp(u' / beta) (arXiv 2305.18290, eq. 4). Not in the paper.
    """
    kinds = {product.id: [(setting_of(text), product.category) for text in drafts[product.id]] for product in products}
    gaps = {id: np.asarray(own) - np.mean(own) for id, own in utilities.items()}
    anywhere, here = defaultdict[Any, list[float]](list), defaultdict[Any, list[float]](list)
    for id, own in gaps.items():
        for (setting, category), gap in zip(kinds[id], own.tolist(), strict=True):
            anywhere[setting].append(gap)
            here[setting, category].append(gap)
    worth = {setting: float(np.mean(found)) for setting, found in anywhere.items()}
    extra = {kind: sum(gap - worth[kind[0]] for gap in found) / (len(found) + FEW) for kind, found in here.items()}
    return {
        id: [u - (1 - share) * (worth[kind[0]] + extra[kind]) for kind, u in zip(kinds[id], own, strict=True)]
        for id, own in utilities.items()
    }


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


def within_guards(
    store: Store,
    r: int,
    policy: Policy,
    studio: Studio,
    products: Sequence[Product],
    first: Watched,
    before: Mapping[str, Tensor],
) -> tuple[Watched, float]:
    """Watch the model after an update; while a guard objects, go half of the way back to the adapter `before` it, and
    watch again, `halvings` times at most. Returns what was seen last, and the part of the step that was taken.

    A backtracking line search on the guards, as that of TRPO on its KL (Schulman et al. 2015, appendix C); the last
    round, which goes too far, is not lost whole. Not in the paper.
    """
    seen, part = watch(store, r, policy, studio, products), 1.0
    for _ in range(policy.config.halvings):
        if not alarms(policy.config, first.metrics, seen.metrics):
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
        "kl": policy.distance([as_seen(product) for product in products], [drafts[p.id][:1] for p in products]),
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


def best_round(config: Config, watched: Sequence[Watched]) -> int:
    """The round, 0 for the pre-trained model, with the highest mean utility (by the guard model, where there is one)
    among those without alarm."""
    calm = [r for r, one in enumerate(watched) if not alarms(config, watched[0].metrics, one.metrics)]
    return max(calm, key=lambda r: watched[r].metrics.get("guard", watched[r].metrics["utility"]), default=0)


def _lossless(image: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "WEBP", lossless=True, method=0)
    return buffer.getvalue()
