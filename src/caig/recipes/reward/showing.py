"""What a reward model is shown of a product: its words, told anew each time, and its pictures, but for what is withheld
from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np

from caig.data.templates import QUESTIONS, instruct
from caig.models.reward_model import GREY
from caig.recipes.reward import Config
from caig.types import Pixels, Product


def withheld(product: Product, pictures: Sequence[Pixels], config: Config) -> tuple[Product, tuple[Pixels, ...]]:
    """The product and its pictures u8[H, W, 3] without what `config` keeps from the model in training and judgement."""
    if config.attribute_dropout == 1.0:
        product = replace(product, category="", attributes={})
    if "title" in config.without:
        product = replace(product, title="")
    if "image" in config.without:
        pictures = [np.full_like(picture, GREY) for picture in pictures]
    return product, tuple(pictures)


def words(product: Product, config: Config, rng: Random) -> str:
    """The product in one of the questions, some of its attributes left out; where the heads alone learn, in the first
    and with all of them."""
    if config.tune == "heads":
        return instruct(product, of=config.form)
    dropped = {name for name in ("category", *product.attributes) if rng.random() < config.attribute_dropout}
    return instruct(product, rng.randrange(len(QUESTIONS[config.form])), of=config.form, without=dropped)


def perhaps_mirrored(picture: Pixels, rng: Random) -> Pixels:
    """`picture` or its mirror image."""
    return np.ascontiguousarray(picture[:, ::-1]) if rng.random() < 0.5 else picture
