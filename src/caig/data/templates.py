"""f_instruct of the paper: a product's attributes and a question become the prompt that guides the reward model.

Differs from the public code, whose questions are about two pictures side by side: here each picture is judged alone,
so the questions are about one.
"""

from __future__ import annotations

from collections.abc import Collection

from caig.data.instructions import product_facts
from caig.types import Product

QUESTIONS = (
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


def instruct(product: Product, question: int = 0, *, without: Collection[str] = ()) -> str:
    """Return the guiding prompt: title, category and attributes in words, then `QUESTIONS[question]`.

    `without` names attributes (or "category") to leave out: training drops some, so that the model can do without.
    """
    category = "" if "category" in without else product.category
    attributes = {name: value for name, value in product.attributes.items() if name not in without}
    return f"{product_facts(product.title, category, attributes)}. {QUESTIONS[question]}"
