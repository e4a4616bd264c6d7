"""What a product-centric negative shows: masked patches, another's words, the same every time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from caig.errors import InputError
from caig.preference.corruption import FILL, corruptions, mask_patches, strangers
from caig.types import Product

IMAGE = np.full((128, 128, 3), 10, np.uint8)


def product(number: int, title: str | None = None) -> Product:
    image = np.full((128, 128, 3), number, np.uint8)
    attributes = {"color": f"color {number}"}
    return Product(
        id=f"p{number}", title=title or f"title {number}", category=f"c{number}", image=image, attributes=attributes
    )


SHELF = [product(n) for n in range(5)]


def test_three_quarters_of_the_patches_are_masked_whole():
    masked = mask_patches(IMAGE, seed=0)
    patches = masked.reshape(4, 32, 4, 32, 3).swapaxes(1, 2).reshape(16, -1)
    assert sorted({int(value) for patch in patches for value in np.unique(patch)}) == [10, FILL]
    assert sum((patch == FILL).all() for patch in patches) == 12
    assert sum((patch == 10).all() for patch in patches) == 4
    assert (IMAGE == 10).all(), "the photo itself stays"


def test_patches_at_the_edges_may_be_cut():
    masked = mask_patches(np.full((70, 40, 3), 10, np.uint8), seed=1)  # 3 x 2 patches, 4.5 rounded to 4
    corners = masked[::32, ::32, 0]
    assert masked.shape == (70, 40, 3) and corners.shape == (3, 2)
    assert (corners == FILL).sum() == 4


def test_seeds_choose_the_patches():
    one, again, other = (mask_patches(IMAGE, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_words_are_anothers_and_the_photo_is_its_own():
    for own in SHELF:
        for k in corruptions(own, SHELF, 8, seed=0):
            assert k.id == own.id and k.title != own.title
            assert (k.category, k.attributes["color"]) == (f"c{k.title[-1]}", f"color {k.title[-1]}")
            assert sorted(np.unique(k.image)) == sorted({FILL, int(own.id[1:])})


def test_never_its_own_title_even_under_another_id():
    shelf = [product(0, "mug"), product(1, "mug"), product(2, "lamp")]
    assert {k.title for k in corruptions(shelf[0], shelf, 20, seed=0)} == {"lamp"}
    with pytest.raises(InputError, match="product 'p0': expected another product with another title"):
        corruptions(shelf[0], shelf[:2], 1, seed=0)


def test_corruptions_are_fixed_and_more_of_them_change_none():
    titles = [[k.title for k in corruptions(SHELF[0], SHELF, count, seed=3)] for count in (2, 2, 6)]
    assert titles[0] == titles[1] == titles[2][:2]
    assert len(set(titles[2])) > 1
    first, second = corruptions(SHELF[0], SHELF, 2, seed=3)
    assert not np.array_equal(first.image, second.image)
    assert [k.title for k in corruptions(SHELF[0], SHELF, 6, seed=4)] != titles[2]


def test_strangers_are_the_same_other_products_clean():
    for stranger, corrupted in zip(
        strangers(SHELF[0], SHELF, 6, seed=0), corruptions(SHELF[0], SHELF, 6, seed=0), strict=True
    ):
        assert (stranger.id, stranger.title) == ("p0", corrupted.title)
        assert (stranger.image == int(stranger.title[-1])).all()


def test_a_strangers_photo_keeps_its_own_mask():
    masked = [replace(one, mask=Path(f"{one.id}.png")) for one in SHELF[:4]]
    for stranger in strangers(SHELF[4], masked, 4, seed=0):
        assert stranger.mask == Path(f"p{stranger.title[-1]}.png")
    assert {stranger.mask for stranger in strangers(masked[0], SHELF[1:], 4, seed=0)} == {None}


def test_a_product_without_photo_stays_without():
    bare = Product(id="bare", title="mug")
    assert corruptions(bare, [bare, *SHELF], 1, seed=0)[0].image is None
