"""What caig asks of a prompt model, a background model and a reward model.

Anything with these methods can take part: `--prompt-model python:module:factory` calls `factory()` and uses what it
returns. The contract suites in `caig.testing` check an implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from caig.types import Canvas, Description, Pixels, Product, Score


@runtime_checkable
class PromptModel(Protocol):
    """Writes background descriptions."""

    name: str

    def describe(self, product: Product, n: int, *, seed: int) -> list[Description]:
        """Return `n` descriptions for `product` (`product.image` is u8[H, W, 3]); same seed, same texts."""
        ...


@runtime_checkable
class BackgroundModel(Protocol):
    """Paints a described background around a product."""

    name: str

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        """Return one u8[H, W, 3] picture of the canvas's size per description; same seed and batch, same pixels.

        Where `canvas.product` is 1 the content is the model's own and is replaced by the photo afterwards. A model
        that cannot leave `description.negative` out says so with an InputError; `canvas.clear` is a wish, and measured
        afterwards.
        """
        ...


@runtime_checkable
class RewardModel(Protocol):
    """Predicts which picture of a product is clicked more."""

    name: str

    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        """Return one Score per u8[H, W, 3] image, in order."""
        ...
