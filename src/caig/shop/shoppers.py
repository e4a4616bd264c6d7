"""Simulated shoppers: the true click-through rate (CTR) of any picture of any product. They are nobody real.

    appeal(look, category, group) = w . look - c / 2 |look - ideal|^2, less its mean over ordinary looks
    CTR = base(category) * factor(product) * exp(0.6 tanh(appeal / 0.6))

`look` holds the standardised statistics of `caig.shop.statistics`: shoppers see pixels and the product's mask, never a
description. The attraction w is shared by all categories and stronger than the differences of their ideal points, so
that whoever only climbs it gives every product the same look. Ideals belong to a category, and each group of shoppers
puts its own a little off. The base rates' range makes CTRs vary more between categories than within. All of it is
drawn from (seed, name), so any category has a taste, and other seeds are other worlds of equal difficulty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from caig.seeding import seed_for
from caig.shop.statistics import NAMES, look
from caig.types import Alpha, Pixels, Product

GROUPS: Final = {"browsers": 0.5, "regulars": 0.3, "gift seekers": 0.2}  # their shares of the impressions
SHARED: Final = 0.35  # |w|
TASTE: Final = 0.18  # c |ideal| of a category
GROUP_TASTE: Final = 0.10  # c |shift| of a group within a category
CURVATURE: Final = 0.04  # c
RANGE: Final = 0.6  # |log CTR| that a picture can add
PRODUCT_SPREAD: Final = 0.1  # deviation of the log of a product's factor, which stays within twice that
LOW, HIGH = 0.005, 0.10  # every CTR lies within

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ad:
    """A picture of a product as shoppers see it; its `look` f64[K] is measured once and judged in any world."""

    id: str
    product: Product
    look: Floats

    @classmethod
    def of(cls, id: str, image: Pixels, mask: Alpha, product: Product) -> Ad:
        """Measure `image` u8[H, W, 3] with the product's `mask` f32[H, W]; InputError when they can't be judged."""
        return cls(id=id, product=product, look=look(image, mask))


@dataclass(frozen=True)
class World:
    """One world of shoppers: the same seed, the same tastes."""

    seed: int
    shared: float = SHARED
    """|w|: log CTR per deviation of the look along the shared attraction; 0 or more."""

    def true_ctr(self, image: Pixels, mask: Alpha, product: Product) -> float:
        """CTR of u8[H, W, 3] with the product's mask f32[H, W], 0.005 to 0.10, over all shoppers."""
        return float(self.ctr([Ad.of("", image, mask, product)])[0])

    def ctr(self, ads: Sequence[Ad]) -> Floats:
        """f64[N]: CTR of each ad over all shoppers, 0.005 to 0.10."""
        return self.group_ctr(ads) @ list(GROUPS.values())

    def group_ctr(self, ads: Sequence[Ad]) -> Floats:
        """f64[N, G]: CTR of each ad among the shoppers of each of GROUPS."""
        looks = np.array([ad.look for ad in ads]).reshape(-1, len(NAMES))
        tastes = {category: self.taste(category) for category in {ad.product.category for ad in ads}}
        pulls = np.array([tastes[ad.product.category] for ad in ads]).reshape(-1, len(GROUPS), len(NAMES))
        appeal = np.einsum("nk,ngk->ng", looks, self.attraction + pulls)
        appeal -= CURVATURE / 2 * (looks**2 - 1).sum(1, keepdims=True)
        rates = {ad.product.id: self.base_rate(ad.product) for ad in {ad.product.id: ad for ad in ads}.values()}
        base = np.array([rates[ad.product.id] for ad in ads])
        return base.reshape(-1, 1) * np.exp(RANGE * np.tanh(appeal / RANGE))

    @cached_property
    def attraction(self) -> Floats:
        """f64[K]: w, what every category's shoppers like."""
        return self.shared * _direction(self.seed, "attraction")

    def taste(self, category: str) -> Floats:
        """f64[G, K]: c times the ideal look of `category` for each group, beside the shared attraction."""
        name = _key(category)
        own = TASTE * _direction(self.seed, "taste", name)
        return own + GROUP_TASTE * np.array([_direction(self.seed, "taste", name, group) for group in GROUPS])

    def base_rate(self, product: Product) -> float:
        """CTR of an ordinary picture of `product`: its category's rate times the product's own factor."""
        lowest, highest = np.log([LOW, HIGH]) + np.array([1, -1]) * (RANGE + 2 * PRODUCT_SPREAD)
        # Most categories lie near one end or the other: that sets them apart more than pictures do.
        level = self._draw("base", _key(product.category)).beta(0.5, 0.5)
        factor = np.clip(self._draw("product", product.id).standard_normal(), -2, 2)
        return float(np.exp(lowest + (highest - lowest) * level + PRODUCT_SPREAD * factor))

    def _draw(self, *names: str) -> np.random.Generator:
        return np.random.default_rng(seed_for(self.seed, *names))


def _direction(seed: int, *names: str) -> Floats:
    """f64[K] of length 1, drawn from (seed, names)."""
    draw = np.random.default_rng(seed_for(seed, *names)).standard_normal(len(NAMES))
    return draw / np.linalg.norm(draw)


def _key(category: str) -> str:
    return " ".join(category.lower().split())
