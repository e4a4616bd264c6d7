"""What a round's candidates are credited with: utilities of pictures, smoothed over words and products; of what
settings are worth by themselves, only as much is left as their variety allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from caig.data.captions import setting_of
from caig.imaging.silhouette import to_lab
from caig.pipeline import read_cutout
from caig.preference.worth import likeness, worth_of_words
from caig.types import Product

if TYPE_CHECKING:
    from caig.recipes.pcpo import Config

LATEST = 8192  # pictures by which words are judged
FEW = 4.0  # texts of a setting in a category that count for as much as all categories
ByProduct = Mapping[str, Any]
Kind = tuple[str | None, str]  # setting and category


@dataclass(frozen=True)
class Judged:
    """A round's products, their candidates and the utilities of these: product id -> N texts, N numbers."""

    products: Sequence[Product]
    drafts: ByProduct
    utilities: ByProduct


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
    products = [product for product, _ in shown]
    alike = likeness([product.category for product in products], np.array([colours(product) for product in products]))
    texts, settings, owners, utilities = zip(*rows, strict=True)
    worth, owner = worth_of_words(texts, settings, owners, utilities, alike), np.array(owners)
    first = len(shown) - len(last.products)
    return {product.id: worth[owner == first + k].tolist() for k, product in enumerate(last.products)}


def colours(product: Product) -> NDArray[np.float64]:
    """What a background may suit or not: the product's mean CIELAB colour, its deviations, and how full its photo is,
    f64[6], each of a size of about 0 to 1."""
    cutout = read_cutout(product)
    inside = cutout.alpha > 0.5
    lab = to_lab(cutout.image)[inside] / (100.0, 128.0, 128.0)
    return np.array([*lab.mean(0), lab[:, 0].std(), lab[:, 1:].std(), inside.mean()])


def steadied(
    config: Config, last: Judged, utilities: ByProduct, watched: Sequence[Product], texts: Sequence[ByProduct]
) -> dict[str, list[float]]:
    """`utilities` of the candidates of `last` less what keeps the settings of each category varied, product id -> N:

        u' = u - variety log(q(s | c) / p(s | c))

    of setting s and category c, p how often the pre-trained model names s for products of c, q how often the model
    has, on average over the rounds so far. Utility minus KL(pi || ref), which DPO seeks, becomes utility less
    variety KL(q || p) too: leaving the settings that a category is shown in is dear, suiting a product is not. The
    settings that a world likes pay best to be named every time, and entropy is lost. Not in the paper.

    Args:
        watched: the products on which settings are counted
        texts: what was written for each of them before every round, drawn one by one; the first by the pre-trained
    """
    kinds = {product.id: product.category for product in watched}
    named = [Counter((setting_of(text), kinds[id]) for id, own in one.items() for text in own) for one in texts]
    before, now = named[0], {kind: count / len(named) for kind, count in sum(named, Counter()).items()}
    found = {}
    for product in last.products:
        drifts = [_drift(setting_of(text), product.category, before, now) for text in last.drafts[product.id]]
        found[product.id] = [u - config.variety * d for u, d in zip(utilities[product.id], drifts, strict=True)]
    return found


def _drift(setting: str | None, category: str, before: Mapping[Kind, float], now: Mapping[Kind, float]) -> float:
    """log(q / p) of a setting: of few texts of a category, near that of all categories."""
    everywhere = [sum(count for (s, _), count in counts.items() if s == setting) for counts in (before, now)]
    overall = (everywhere[1] + 1) / (everywhere[0] + 1)
    kind = (setting, category)
    return float(np.log((now.get(kind, 0.0) + FEW * overall) / (before.get(kind, 0.0) + FEW)))
