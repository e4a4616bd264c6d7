"""How well and how variedly a prompt model describes: validity, match rate, entropy, distinct-2, each an `Estimate`.

A description is valid when it names a known setting, and matches when that setting suits the product's category. For
products of no known category a judge says how likely a description suits (`matches` then holds its probabilities).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from caig.evaluation.metrics import mean
from caig.types import Estimate

BIGRAMS = 1000  # compared per condition, so that longer or more texts do not look more varied
DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Described:
    """A product's descriptions: `texts`, the `settings` they name (None: no known one), and which `matches`, 0 to 1."""

    product_id: str
    category: str
    texts: tuple[str, ...]
    settings: tuple[str | None, ...]
    matches: tuple[float, ...]


def describe_all(name: str, rows: Sequence[Described], *, seed: int = 0) -> list[Estimate]:
    """Every metric of one condition, called `<name>: …`; intervals over products, for entropy over categories."""
    ids = [row.product_id for row in rows]
    shares = {
        "valid": [float(np.mean([s is not None for s in row.settings])) for row in rows],
        "match, first ad": [row.matches[0] for row in rows],
        "match, all ads": [float(np.mean(row.matches)) for row in rows],
        "settings all differ": [float(len(set(row.settings)) == len(row.settings)) for row in rows],
    }
    found = [mean(f"{name}: {what}", values, ids, seed=seed) for what, values in shares.items()]
    return [*found, setting_entropy(name, rows, seed=seed), distinct_2(name, rows, seed=seed)]


def setting_entropy(name: str, rows: Sequence[Described], *, seed: int = 0) -> Estimate:
    """Mean over categories of the entropy in bits of the settings named for its products."""
    named: dict[str, list[str | None]] = {}
    for row in rows:
        named.setdefault(row.category, []).extend(row.settings)
    values = [entropy(settings) for settings in named.values()]
    return mean(f"{name}: setting entropy within a category, bits", values, list(named), seed=seed)


def distinct_2(name: str, rows: Sequence[Described], *, bigrams: int = BIGRAMS, seed: int = 0) -> Estimate:
    """Share of different pairs of neighbouring words (arXiv 1510.03055) among equally many pairs.

    Products are taken in random order until `bigrams` pairs are counted (or all, when there are fewer); value and
    interval are mean and 2.5 to 97.5 % range over such orders, since resampling with replacement would repeat texts.
    """
    pairs = [[pair for text in row.texts for pair in bigrams_of(text)] for row in rows]
    budget, rng, shares = min(bigrams, sum(map(len, pairs))), np.random.default_rng(seed), []
    for _ in range(DRAWS if budget else 0):
        pool = [pair for i in rng.permutation(len(pairs)) for pair in pairs[i]][:budget]
        shares.append(len(set(pool)) / budget)
    low, high = np.quantile(shares, [0.025, 0.975]) if shares else (0.0, 0.0)
    value = float(np.mean(shares)) if shares else 0.0
    return Estimate(name=f"{name}: distinct-2 of {budget}", value=value, low=float(low), high=float(high), n=len(rows))


def bigrams_of(text: str) -> list[tuple[str, str]]:
    """Pairs of neighbouring words, in lower case, commas not counted."""
    words = text.lower().replace(",", " ").split()
    return list(zip(words, words[1:], strict=False))


def entropy(names: Sequence[str | None]) -> float:
    """Shannon entropy in bits of how often each name occurs."""
    counts = Counter(names)
    return -sum(n / len(names) * math.log2(n / len(names)) for n in counts.values())
