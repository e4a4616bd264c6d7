"""What an ad promises about its picture, in numbers: every limit stands here and nowhere else.

How each limit was chosen is written in docs/LOG.md: on rendered scenes, whose product mask is known, against the same
scenes with the fault made on purpose.
"""

from __future__ import annotations

from collections.abc import Mapping

from caig.imaging.standing import LEAST_CONTACT
from caig.types import Fidelity

MOST: Mapping[str, float] = {"halo": 0.03, "extension": 0.03, "box": 0.4, "overhang": 0.1, "unrest": 0.08}
LEAST: Mapping[str, float] = {"core_coverage": 0.85, "contact": LEAST_CONTACT}
LIMITS = {"at_most": MOST, "at_least": LEAST}
NAMES = {
    "core_exact": "product altered",
    "core_coverage": "product altered",
    "halo": "halo",
    "extension": "product extended",
    "box": "box around it",
    "contact": "floating",
    "overhang": "floating",
    "unrest": "clear space not calm",
}
PAINTED = ("halo", "extension", "box", "contact", "overhang", "unrest")  # what another painting can mend


def excess(fidelity: Fidelity) -> dict[str, float]:
    """Broken measure -> how far beyond its limit, as a share of the limit; empty when every promise is kept."""
    over = {name: beyond(name, getattr(fidelity, name)) for name in (*MOST, *LEAST)}
    over["core_exact"] = 0.0 if fidelity.core_exact else 1.0
    return {name: share for name, share in over.items() if share > 0}


def beyond(name: str, value: float | None) -> float:
    """How far `value` of the measure called `name` lies beyond its limit, as a share of the limit; 0 within it.

    A measure that could not be taken (no surface's end seen, no space kept clear) breaks nothing.
    """
    if value is None:
        return 0.0
    return max(0.0, float(value) / MOST[name] - 1 if name in MOST else 1 - float(value) / LEAST[name])


def broken(fidelity: Fidelity) -> tuple[str, ...]:
    """The promises that the ad breaks, each in two or three words, in the order of NAMES."""
    found = excess(fidelity)
    return tuple(dict.fromkeys(words for name, words in NAMES.items() if name in found))


def worth_repainting(fidelity: Fidelity) -> bool:
    """Whether a promise is broken that another painting may keep."""
    return any(name in PAINTED for name in excess(fidelity))


def badness(fidelity: Fidelity) -> tuple[int, float]:
    """Sorts the ads of one product: fewer broken promises first, then less excess."""
    found = excess(fidelity)
    return len(broken(fidelity)), sum(found.values())
