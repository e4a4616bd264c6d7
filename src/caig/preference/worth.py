"""What the words of descriptions are worth: utilities of pictures, smoothed over texts that are alike.

Much of what one picture is liked for is its own: this plate, this product's shape. A prompt model learns that by heart,
and texts of products that it has not seen drift for nothing (docs/LOG.md). So a candidate is credited with what its
words are worth by the pictures of all candidates so far, its own among them: the posterior mean of a Gaussian process
(Rasmussen and Williams 2006, eq. 2.25) over words and settings, times how alike products are, since what suits one
product suits those of its kind and colours. Not in the paper.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Floats = NDArray[np.float64]
SETTING = 0.5  # of a setting that two texts share, beside their words' cosine of at most 1
WIDTH = 4.0  # standard deviations of products' features over which tastes change
NOISE = 0.5  # variance of a picture's own part, in shares of the kernel's mean variance; 0.3 to 3 do alike


def worth_of_words(
    texts: Sequence[str],
    settings: Sequence[str | None],
    owners: Sequence[int],
    utilities: Sequence[float],
    alike: Floats | None = None,
) -> Floats:
    """What each text is worth to its product by its words, around 0 within its owner, f64[N].

    Args:
        texts, settings: N descriptions, and the settings that they name, where they name a known one
        owners: index of the product (of a round) of each, from 0; only differences within an owner count
        utilities: of the pictures, any scale
        alike: how much the taste of one owner tells of another's, f64[J, J], positive semidefinite; None: everything

    Time grows with N^3: about 10 s for 7,000 texts.
    """
    owner = np.asarray(owners)
    groups = [np.flatnonzero(owner == k) for k in range(owner.max() + 1)]
    wanted = _within(np.asarray(utilities, np.float64), groups)
    kernel = _kernel(texts, settings)
    if alike is not None:
        kernel *= alike[np.ix_(owner, owner)]
    kernel = _within(_within(kernel, groups).T, groups)
    scale = float(np.trace(kernel)) / len(kernel)
    if not scale > 0:  # all texts of each owner are the same
        return np.zeros(len(wanted))
    seen = kernel + NOISE * scale * np.eye(len(kernel))
    return kernel @ cho_solve(cho_factor(seen, overwrite_a=True), wanted)


def likeness(categories: Sequence[str], features: Floats) -> Floats:
    """How alike products are, f64[J, J]: 1, and 1 more within a category, and up to 2 more the nearer their features
    f64[J, F] (a Gaussian of the distance in standard deviations, `WIDTH` wide)."""
    kinds = np.asarray(categories)
    scaled = (features - features.mean(0)) / features.std(0).clip(1e-9)
    apart = np.square(scaled[:, None] - scaled).sum(-1)
    return 1.0 + (kinds[:, None] == kinds) + 2.0 * np.exp(-apart / (2 * WIDTH**2))


def _kernel(texts: Sequence[str], settings: Sequence[str | None]) -> Floats:
    """f64[N, N]: likeness of texts, squared so that pairs of words count."""
    named = np.asarray([setting or "" for setting in settings])
    same = (named[:, None] == named) & (named != "")
    return (_cosines(texts) + SETTING * same) ** 2


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
