"""Why one picture is judged above another, from the judge's own behaviour: counterfactual edits of measured qualities.

Each picture is edited so that one quality becomes the mean of the product's other pictures, and judged beside its edits
alone, since to a judge that compares, utility depends on all that are judged with it. By how much the picture beats an
edit is what the quality did for it: above 0 the quality lifts it, below 0 it lowers it. Only pixels and the judge are
asked, whatever the judge is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.types import Pixels

Floats = NDArray[np.float32]
HALVINGS = 12  # of the search for the edit that meets its target
LEAST_EFFECT = 0.01  # logits; below, a quality is not spoken of


@dataclass(frozen=True, kw_only=True)
class Quality:
    """A number that is measured in a picture f32[H, W, 3] in L*a*b*, and an edit that raises it with its amount."""

    more: str
    less: str
    unit: str
    measure: Callable[[Floats], float]
    edit: Callable[[Floats, float], Floats]
    """`amount` from -1 to 1; 0 changes nothing."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One quality of one picture: its value, the others' mean, and by how many logits it lifts or lowers the
    picture."""

    words: str
    value: float
    others: float
    unit: str
    effect: float

    def __str__(self) -> str:
        verb = "lifts" if self.effect > 0 else "lowers"
        return (
            f"{self.words} ({self.value:.0f} against {self.others:.0f} {self.unit}) {verb} it by {abs(self.effect):.2f}"
        )


def explain(
    pictures: Sequence[Pixels], judge: Callable[[Sequence[Pixels]], Sequence[float]], first: int | None = None
) -> list[list[Reason]]:
    """For each picture u8[H, W, 3] of one product its reasons, strongest first; none when there is but one picture.

    With `first`, only for so many of them; the rest are there to be compared with. `judge` gives the utilities of
    pictures, in logits. Qualities that cannot be brought to the others' mean (grey has no colour to strengthen) are
    brought as near as the edit goes.
    """
    if len(pictures) < 2:
        return [[] for _ in pictures[:first]]
    labs = [_to_lab(picture) for picture in pictures]
    values = np.array([[quality.measure(lab) for quality in QUALITIES] for lab in labs])
    others = (values.sum(0) - values) / (len(values) - 1)
    lost = [
        _lost(picture, [_to_rgb(_bring_to(lab, *aim)) for aim in zip(QUALITIES, targets, strict=True)], judge)
        for picture, lab, targets in zip(pictures[:first], labs[:first], others[:first], strict=True)
    ]
    return [_reasons(*rows) for rows in zip(values[:first], others[:first], lost, strict=True)]


def _lost(
    picture: Pixels, edited: Sequence[Pixels], judge: Callable[[Sequence[Pixels]], Sequence[float]]
) -> NDArray[np.float64]:
    """f64[Q]: by how many logits `picture` beats each of its edits."""
    utility = np.asarray(judge([picture, *edited]), np.float64)
    return utility[0] - utility[1:]


def _reasons(values: NDArray[np.float64], others: NDArray[np.float64], effects: NDArray[np.float64]) -> list[Reason]:
    found = [
        Reason(
            words=quality.more if value > other else quality.less,
            value=float(value),
            others=float(other),
            unit=quality.unit,
            effect=float(effect),
        )
        for quality, value, other, effect in zip(QUALITIES, values, others, effects, strict=True)
        if abs(effect) >= LEAST_EFFECT
    ]
    return sorted(found, key=lambda reason: -abs(reason.effect))


def _bring_to(lab: Floats, quality: Quality, target: float) -> Floats:
    """The edit, found by halving, after which `quality` measures `target`, or the end of its range."""
    low, high = -1.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if quality.measure(quality.edit(lab, middle)) < target else (low, middle)
    return quality.edit(lab, (low + high) / 2)


def _to_lab(picture: Pixels) -> Floats:
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _to_rgb(lab: Floats) -> Pixels:
    return np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1) * 255).astype(np.uint8)


def _shift(channel: int, most: float, lowest: float, highest: float) -> Callable[[Floats, float], Floats]:
    def edit(lab: Floats, amount: float) -> Floats:
        edited = lab.copy()
        edited[..., channel] = (lab[..., channel] + most * amount).clip(lowest, highest)
        return edited

    return edit


def _colour(lab: Floats, amount: float) -> Floats:
    edited = lab.copy()
    edited[..., 1:] = (lab[..., 1:] * 4**amount).clip(-110, 110)
    return edited


def _contrast(lab: Floats, amount: float) -> Floats:
    edited, centre = lab.copy(), lab[..., 0].mean()
    edited[..., 0] = (centre + (lab[..., 0] - centre) * 4**amount).clip(0, 100)
    return edited


def _sharpen(lab: Floats, amount: float) -> Floats:
    """Unsharp masking above 0, blur below."""
    edited = lab.copy()
    blurred = cv2.GaussianBlur(lab[..., 0], (0, 0), max(0.3, 4 * -amount) if amount < 0 else 1.5)
    edited[..., 0] = blurred if amount < 0 else (lab[..., 0] + 4 * amount * (lab[..., 0] - blurred)).clip(0, 100)
    return edited


QUALITIES = (
    Quality(
        more="brighter than the others",
        less="darker than the others",
        unit="L*",
        measure=lambda lab: float(lab[..., 0].mean()),
        edit=_shift(0, 100, 0, 100),
    ),
    Quality(
        more="higher in contrast than the others",
        less="lower in contrast than the others",
        unit="L* deviation",
        measure=lambda lab: float(lab[..., 0].std()),
        edit=_contrast,
    ),
    Quality(
        more="more colourful than the others",
        less="less colourful than the others",
        unit="chroma",
        measure=lambda lab: float(np.hypot(lab[..., 1], lab[..., 2]).mean()),
        edit=_colour,
    ),
    Quality(
        more="warmer than the others",
        less="cooler than the others",
        unit="b*",
        measure=lambda lab: float(lab[..., 2].mean()),
        edit=_shift(2, 80, -110, 110),
    ),
    Quality(
        more="sharper than the others",
        less="softer than the others",
        unit="Laplacian deviation",
        measure=lambda lab: float(cv2.Laplacian(lab[..., 0], cv2.CV_32F).std()),
        edit=_sharpen,
    ),
)
