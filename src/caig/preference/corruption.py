"""Corrupted product information, the negatives of the product-centric loss.

The published ones: 75 % of the photo's 32-pixel patches masked, and another product's title. Each sample gets K fixed
corruptions, so that what a model says of them can be computed once. Two deviations: where a catalogue knows more than
titles, all words are the other product's (a category that stayed would give the product away); and the other product's
title always differs, while the public code may draw the product itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from caig.errors import InputError
from caig.seeding import seed_for
from caig.types import Pixels, Product

MASKED = 0.75  # share of the patches
PATCH = 32  # pixels
FILL = 127  # of a masked patch: mid-grey, about 0 after normalisation


def corruptions(product: Product, others: Sequence[Product], count: int, *, seed: int) -> list[Product]:
    """`count` products with `product`'s id, its photo masked, its words another's; the k-th from (seed, id, k)."""
    return [
        replace(
            _words_of(_other(product, others, k, seed), product),
            image=_masked(product, seed_for(seed, product.id, "mask", k)),
        )
        for k in range(count)
    ]


def strangers(product: Product, others: Sequence[Product], count: int, *, seed: int) -> list[Product]:
    """`count` products with `product`'s id and another's clean photo and words.

    A mask alone gives a corruption away; these can be told from the truth by their content only.
    """
    found = [_other(product, others, k, seed) for k in range(count)]
    return [replace(_words_of(other, product), image=other.image, mask=other.mask) for other in found]


def mask_patches(image: Pixels, *, seed: int, share: float = MASKED, side: int = PATCH) -> Pixels:
    """u8[H, W, 3] with `share` of its side x side patches, rounded to whole ones, set to `FILL`; edges may be cut."""
    rows, columns = -(-image.shape[0] // side), -(-image.shape[1] // side)
    hidden = np.zeros(rows * columns, bool)
    hidden[np.random.default_rng(seed).permutation(rows * columns)[: round(share * rows * columns)]] = True
    mask = np.kron(hidden.reshape(rows, columns), np.ones((side, side), bool))[: image.shape[0], : image.shape[1]]
    return np.where(mask[..., None], np.uint8(FILL), image)


def _masked(product: Product, seed: int) -> Pixels | None:
    return mask_patches(product.image, seed=seed) if isinstance(product.image, np.ndarray) else None


def _other(product: Product, others: Sequence[Product], k: int, seed: int) -> Product:
    different = [other for other in others if other.title != product.title]
    if not different:
        raise InputError(
            f"product {product.id!r}",
            expected="another product with another title, to corrupt with",
            got="none",
            next_step="Train on a catalogue of at least two different products.",
        )
    return different[seed_for(seed, product.id, "other", k) % len(different)]


def _words_of(other: Product, product: Product) -> Product:
    return replace(product, title=other.title, category=other.category, attributes=other.attributes)
