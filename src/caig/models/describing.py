"""What every model that writes descriptions shares: the words of the request, distinct candidates, tidy texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import numpy as np

from caig.data.captions import names_product, setting_of
from caig.data.instructions import product_facts, write_instruction
from caig.errors import CheckpointError, ImageError, InputError
from caig.seeding import seed_for
from caig.types import Description, Product

TASK = "prompt generation"
TOP_P = 0.9
MAX_TOKENS = 64  # longer descriptions end at their last whole phrase; a CLIP text encoder reads 77
TRIES = 4  # draws per candidate until it names no product and differs from the ones before it

Attempt = tuple[int, int, int]  # product, its candidate k, how many times that was drawn before


def describe_distinct(
    draw: Callable[[Sequence[int], Sequence[int]], list[str]],
    products: Sequence[Product],
    n: int,
    *,
    seed: int,
    author: str,
    differ: bool = True,
) -> list[list[Description]]:
    """`n` descriptions of each product by `author`, where `draw(indices, seeds)` writes a text for each seed, about the
    product of that index.

    Candidate k depends on (seed, product id, k) and, where they are to `differ`, on the candidates before it, never on
    `n`. CheckpointError when all that is drawn for a candidate is empty.
    """

    def attempt(wanted: Sequence[Attempt]) -> list[str]:
        seeds = [seed_for(seed, products[p].id, k, before) for p, k, before in wanted]
        return draw([p for p, _, _ in wanted], seeds)

    chosen = choose_distinct(attempt, n, [product.title for product in products], differ)
    for product, texts in zip(products, chosen, strict=True):
        if not all(texts):
            raise CheckpointError(
                f"prompt model {author!r}",
                expected="a description",
                got=f"an empty text {TRIES} times for product {product.id!r}",
                next_step="Use a checkpoint trained to write descriptions.",
            )
    return [
        [Description(product_id=product.id, text=text, author=author, seed=seed) for text in texts]
        for product, texts in zip(products, chosen, strict=True)
    ]


def write_request(product: Product, n: int, *, seed: int) -> str:
    """One of the task's instructions with the product's words; InputError for n < 1, ImageError for an unread photo."""
    if n < 1:
        raise InputError("n", expected="at least 1 description", got=str(n), next_step="Ask for 1 or more.")
    if not (product.image is None or isinstance(product.image, np.ndarray)):
        raise ImageError(
            f"product {product.id}",
            expected="its photo as u8[H, W, 3]",
            got=type(product.image).__name__,
            next_step="Read and cut out the photo first (caig.imaging).",
        )
    facts = product_facts(product.title, product.category, product.attributes)
    return write_instruction(TASK, facts, Random(seed_for(seed, product.id, "instruction")))


def tidy(text: str, *, complete: bool) -> str:
    """`text` in one line, each phrase once; one that was cut, not `complete`, loses its unfinished last phrase."""
    line = " ".join(text.split())
    whole = line if complete or ", " not in line else line.rpartition(", ")[0]
    return ", ".join(dict.fromkeys(whole.split(", ")))


def choose_distinct(
    draw: Callable[[Sequence[Attempt]], list[str]], n: int, titles: Sequence[str], differ: bool = True
) -> list[list[str]]:
    """Choose a text for each of `n` candidates of each product, known by its title: the first of its draws that neither
    names the product nor, where they are to `differ`, repeats an earlier candidate's text or setting.

    `draw([(product, k, attempt), …])` returns their texts. After `TRIES` draws a name or a repeated setting is allowed,
    then a repeated text. Draws wanted at the same time are made in one batch.
    """
    drawn: list[list[list[str]]] = [[[] for _ in range(n)] for _ in titles]
    while True:
        chosen: list[list[str]] = [[] for _ in titles]
        wanted: list[Attempt] = []
        for p, candidates in enumerate(drawn):
            for k, texts in enumerate(candidates):
                earlier = chosen[p] if differ else []
                text = _first_distinct(texts, earlier, titles[p])
                if text is None and len(texts) < TRIES:
                    wanted.append((p, k, len(texts)))
                else:
                    chosen[p].append(text if text is not None else _least_repeated(texts, earlier))
        if not wanted:
            return chosen
        for (p, k, _), text in zip(wanted, draw(wanted), strict=True):
            drawn[p][k].append(text)


def _first_distinct(texts: Sequence[str], earlier: Sequence[str], title: str) -> str | None:
    settings = {setting_of(text) for text in earlier} - {None}
    fresh = (text for text in texts if text and text not in earlier and setting_of(text) not in settings)
    return next((text for text in fresh if not names_product(text, title)), None)


def _least_repeated(texts: Sequence[str], earlier: Sequence[str]) -> str:
    fresh = (text for text in texts if text and text not in earlier)
    return next(fresh, next(filter(None, texts), ""))
