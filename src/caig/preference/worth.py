"""What the words of a description are worth: utilities of painted pictures, told by the pictures of other products.

Most of what one picture is liked for is its own: this plate, this product's shape. A prompt model cannot write that
into a description of a product that it has not seen, but it can learn it by heart, and then texts drift for nothing
(docs/LOG.md). So a candidate gets the utility that its words are expected to have: kernel ridge regression (a Gaussian
process' mean; Rasmussen and Williams 2006, eq. 2.25) of utilities within a product on words, phrases, the setting and
the product's category, where the pictures of the product itself are left out. Not in the paper.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SETTING = 0.5  # of a setting that two texts share, beside their words' cosine of at most 1
NOISES = (0.1, 0.3, 1.0, 3.0)  # of a picture's own part, in shares of the kernel's mean variance
LATEST = 3072  # pictures; the price grows with their cube


def worth_of_words(
    texts: Sequence[str],
    settings: Sequence[str | None],
    categories: Sequence[str],
    owners: Sequence[str],
    utilities: Sequence[float],
) -> tuple[Floats, float]:
    """What the words of each text are worth, by the pictures of all products but its own.

    Args:
        texts, settings: N descriptions, and the settings that they name, where they name a known one
        categories: of the products that they were written for
        owners: the product of each; those of one product stand for one comparison
        utilities: of the pictures, any scale; only differences within an owner count

    Returns:
        f64[N], around 0 within an owner; and the share of the utilities' variance within owners that it explains, at
        most 1, and 0 or less where words tell nothing.
    """
    groups = [np.flatnonzero(np.asarray(owners) == owner) for owner in dict.fromkeys(owners)]
    wanted = _within(np.asarray(utilities, np.float64), groups)
    kernel = _within(_within(_kernel(texts, settings, categories), groups).T, groups)
    scale, spread = np.trace(kernel) / len(kernel), np.square(wanted).mean()
    if not (scale > 0 and spread > 0):
        return np.zeros(len(wanted)), 0.0
    found = [_left_out(kernel + noise * scale * np.eye(len(kernel)), wanted, groups) for noise in NOISES]
    best = min(found, key=lambda told: np.square(wanted - told).mean())
    return best, float(1 - np.square(wanted - best).mean() / spread)


def _left_out(covariance: Floats, wanted: Floats, groups: Sequence[NDArray[np.intp]]) -> Floats:
    """The regression's prediction of each group by all others, in closed form: y - [C^-1]_gg^-1 [C^-1 y]_g (Rasmussen
    and Williams 2006, eq. 5.12, of blocks)."""
    inverse = np.linalg.inv(covariance)
    pull, told = inverse @ wanted, wanted.copy()
    for rows in groups:
        told[rows] -= np.linalg.solve(inverse[np.ix_(rows, rows)], pull[rows])
    return _within(told, groups)


def _kernel(texts: Sequence[str], settings: Sequence[str | None], categories: Sequence[str]) -> Floats:
    """f64[N, N]: likeness of texts, squared so that pairs of words count, and twice as much within a category."""
    named, kinds = np.asarray([setting or "" for setting in settings]), np.asarray(categories)
    same = (named[:, None] == named) & (named != "")
    return (_cosines(texts) + SETTING * same) ** 2 * (1.0 + (kinds[:, None] == kinds))


def _cosines(texts: Sequence[str]) -> Floats:
    """Of words and phrases that two texts hold or more, the rarer the heavier."""
    held = [
        {*re.findall(r"\w+", text.lower()), *(f", {part.strip()}" for part in text.lower().split(","))}
        for text in texts
    ]
    counts = Counter(term for terms in held for term in terms)
    column = {term: k for k, term in enumerate(sorted(term for term, count in counts.items() if count > 1))}
    found = np.zeros((len(texts), len(column)))
    for row, terms in enumerate(held):
        found[row, [column[term] for term in terms if term in column]] = 1
    found *= np.log((1 + len(texts)) / (1 + found.sum(0))) + 0.1
    found /= np.linalg.norm(found, axis=1, keepdims=True).clip(1e-9)
    return found @ found.T


def _within(values: Floats, groups: Sequence[NDArray[np.intp]]) -> Floats:
    """`values` f64[N, …] less their means over each group of rows."""
    found = values.copy()
    for rows in groups:
        found[rows] -= found[rows].mean(0)
    return found
