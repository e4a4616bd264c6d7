"""f_instruct of the paper: a product's attributes and a question become the prompt that guides the reward model.

Questions are of two kinds: about one picture (siamese), and, as in the public code, about two (joint).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from caig.data.instructions import product_facts
from caig.types import Product

ABOUT_ONE = (
    "How likely is a shopper to click this ad?",
    "Would shoppers click on this ad picture?",
    "Rate how attractive this ad is to buyers.",
    "How well does this picture sell the product?",
    "Predict the click-through rate of this ad.",
    "How many of the people who see this ad click it?",
    "Does this background make people want the product?",
    "Judge this ad as a customer of the shop would.",
    "How strongly does this picture invite a click?",
    "Is this a good ad for the product?",
    "How appealing is this product picture?",
    "What share of viewers would open this ad?",
    "Estimate the appeal of this ad for its shoppers.",
)
ABOUT_TWO = (
    "Which of the two ads do shoppers click more, the left or the right one?",
    "Left or right: which picture has the higher click-through rate?",
    "Which ad is more attractive to buyers, left or right?",
    "Which of these two pictures sells the product better?",
    "Compare the click-through rates of the left and the right ad.",
    "Which of both ads would more viewers open?",
    "Which background makes people want the product more?",
    "As a customer of the shop, which ad would you click?",
    "Which picture invites a click more strongly, the first or the second?",
    "Which is the better ad for the product?",
    "Which of the two pictures is more appealing?",
    "Which ad gets the larger share of clicks, left or right?",
    "Estimate which of the two ads appeals more to its shoppers.",
)
QUESTIONS = {"siamese": ABOUT_ONE, "joint": ABOUT_TWO}


def instruct(
    product: Product, question: int = 0, *, of: Literal["siamese", "joint"] = "siamese", without: Collection[str] = ()
) -> str:
    """Return the guiding prompt: title, category and attributes in words, then `QUESTIONS[of][question]`.

    Attributes are whatever the catalogue knows: category path, price, tags, past CTR, orders. `without` names those (or
    "category", or "title") to leave out: training drops some, so that the model can do without.
    """
    title, category = ("" if name in without else getattr(product, name) for name in ("title", "category"))
    attributes = {name: value for name, value in product.attributes.items() if name not in without}
    return f"{product_facts(title, category, attributes)}. {QUESTIONS[of][question]}"
