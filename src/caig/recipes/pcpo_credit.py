"""What a round's candidates are credited with: utilities of pictures, smoothed over words and products; of what
settings are worth by themselves, only as much is left as their variety allows; those that do not suit come off worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from caig.data.captions import setting_of
from caig.data.everyday import suitable_settings
from caig.imaging.palette import palette_of
from caig.pipeline import read_cutout
from caig.preference.worth import likeness, worth_of_words
from caig.types import Product

if TYPE_CHECKING:
    from caig.recipes.pcpo import Config

LATEST = 8192  # pictures by which words are judged
ELSEWHERE = 2.0  # texts that what a setting is worth in all categories counts for, in each
MARGIN = 0.05  # of the pre-trained entropy of settings, since that of the watched products errs by 0.03
BAND = 0.04  # match rate, lost or gained, at which the margin of misfits is twice itself or none
ByProduct = Mapping[str, Any]


def setting_share(config: Config, last: float, before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """How much of what a setting is worth by itself counts in the next round, -1 to 1: half of the way from the `last`
    share (0 before the first round) to what the entropy of settings allows: 1 where it is that `before` all rounds, 0
    at `MARGIN` above its guard, and less below that, so that what is named too often gives way.

    What it allows at once would swing: entropy comes back in a round in which settings count for nothing, and the first
    round costs the most of it.
    """
    if not config.min_entropy:
        return 1.0
    wanted = (config.min_entropy + MARGIN) * before["entropy"]
    allowed = float(np.clip((now["entropy"] - wanted) / max(before["entropy"] - wanted, 1e-9), -1, 1))
    return (last + allowed) / 2


def misfit_margin(config: Config, before: Mapping[str, float], now: Mapping[str, float]) -> float:
    """By how much, in log CTR, misfits are to come off worse in the next round (`fitted`): `config.misfit_margin` where
    the match rate of watched products is that `before` all rounds, up to twice as much where some was lost, less or 0
    where some was gained, since variety and clicks pay for it."""
    gained = now.get("match", 0.0) - before.get("match", 0.0)
    return config.misfit_margin * float(np.clip(1 - gained / BAND, 0, 2))


@dataclass(frozen=True)
class Judged:
    """A round's products, their candidates and the utilities of these: product id -> N texts, N numbers."""

    products: Sequence[Product]
    drafts: ByProduct
    utilities: ByProduct

    @cached_property
    def colours(self) -> NDArray[np.float64]:
        """Of its products, f64[J, 7]; photos are read once, not again in every round that follows."""
        return np.array([colours(product) for product in self.products])


@dataclass(frozen=True)
class Aims:
    """What a round trains on: product id -> N utilities; and what misfits cost in them, in log CTR."""

    utilities: ByProduct
    price: float


def aims(config: Config, rounds: Sequence[Judged], share: float, margin: float) -> Aims:
    """Of the last of `rounds`: `credited`, `levelled`, then `fitted`."""
    last = rounds[-1]
    levels = levelled(last.products, last.drafts, credited(config, rounds), share)
    if not config.misfit_margin:
        return Aims(levels, 0.0)
    return fitted(last.products, last.drafts, levels, margin)


def credited(config: Config, rounds: Sequence[Judged]) -> ByProduct:
    """The utilities that the last of `rounds` trains on, product id -> N of them: its pictures' own, or what its words
    are worth by the latest pictures of all rounds (`worth_of_words`)."""
    last = rounds[-1]
    if config.credit == "picture":
        return last.utilities
    shown = [(product, one) for one in rounds for product in one.products]
    size = max(1, LATEST // config.candidates)
    shown = shown[-max(size, len(last.products)) :]
    rows = [
        (text, setting_of(text), owner, utility)
        for owner, (product, one) in enumerate(shown)
        for text, utility in zip(one.drafts[product.id], one.utilities[product.id], strict=True)
    ]
    seen = np.concatenate([one.colours for one in rounds])[-len(shown) :]
    alike = likeness([product.category for product, _ in shown], seen)
    texts, settings, owners, utilities = zip(*rows, strict=True)
    worth, owner = worth_of_words(texts, settings, owners, utilities, alike), np.array(owners)
    first = len(shown) - len(last.products)
    return {product.id: worth[owner == first + k].tolist() for k, product in enumerate(last.products)}


def colours(product: Product) -> NDArray[np.float64]:
    """What a background may suit or not: means and deviations of the product's CIELAB colours, and how full its photo
    is, f64[7]."""
    cutout = read_cutout(product)
    inside = cutout.alpha > 0.5
    palette = palette_of(cutout.image, inside)
    return np.array([*palette.mean, *palette.spread, inside.mean()])


def levelled(
    products: Sequence[Product], drafts: ByProduct, utilities: ByProduct, share: float
) -> dict[str, list[float]]:
    """Utilities in which only a `share` of what a setting is worth by itself is left, product id -> N of them.

    u' = u - (1 - share) w, where w is the mean of u - mean_product(u) over the round's texts that name this setting for
    products of the same category, drawn towards the mean over all categories as if `ELSEWHERE` texts more had that.

    What a setting is worth to all products of a kind pays best to be named every time, and costs the variety of
    settings. Where the share is less, light, palette and what suits this very product count for more. It is a dearer KL
    on the setting than on the rest: optimum pi ~ ref exp(u' / beta) (arXiv 2305.18290, eq. 4). Not in the paper.
    """
    gaps: dict[str | None, dict[str, list[float]]] = {}
    for product in products:
        own = utilities[product.id]
        for text, u in zip(drafts[product.id], own, strict=True):
            found = gaps.setdefault(setting_of(text), {}).setdefault(product.category, [])
            found.append(u - float(np.mean(own)))
    worth = {}
    for setting, found in gaps.items():
        everywhere = float(np.mean([gap for own in found.values() for gap in own]))
        for category, own in found.items():
            worth[setting, category] = (sum(own) + ELSEWHERE * everywhere) / (len(own) + ELSEWHERE)
    return {
        product.id: [
            u - (1 - share) * worth[setting_of(text), product.category]
            for text, u in zip(drafts[product.id], utilities[product.id], strict=True)
        ]
        for product in products
    }


def fitted(products: Sequence[Product], drafts: ByProduct, utilities: ByProduct, margin: float) -> Aims:
    """Utilities less a price for misfits: texts that name no setting that suits their product's category, where what
    suits it is known (`suitable_settings`).

    The price is the least at which, over all pairs of a misfit and a text that suits of one product, misfits come off
    `margin` worse on average, and never below 0. What is liked by all shoppers draws a policy to settings that do not
    suit, in some shops and not in others, and each round's pictures tell how strongly. The product-centric term alone
    does not hold that back: it asks that texts depend on the product, not how. Not in the paper.
    """
    suits = {product.id: suitable_settings(product.category) for product in products}
    misfits = {
        id: np.array([found is not None and setting_of(text) not in found for text in drafts[id]], dtype=bool)
        for id, found in suits.items()
    }
    gaps = [
        np.subtract.outer(np.asarray(utilities[id])[bad], np.asarray(utilities[id])[~bad]).ravel()
        for id, bad in misfits.items()
    ]
    gap = float(np.mean(np.concatenate(gaps))) if any(len(found) for found in gaps) else 0.0
    price = max(0.0, gap + margin)
    return Aims({id: (np.asarray(utilities[id]) - price * bad).tolist() for id, bad in misfits.items()}, price)
