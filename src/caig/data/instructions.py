"""Instructions to a multimodal language model, by task, and how a product is told to it in words.

Add a task family by adding a key to `INSTRUCTIONS`; each template has one field, `{product}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "prompt generation": (
        "Write a background for an ad of {product}.",
        "Describe a fitting ad background for {product}.",
        "Which background suits {product}? Describe it.",
        "Suggest a scene to photograph {product} in.",
        "Give a short prompt for the background of {product}.",
        "Invent an attractive advertising scene around {product}.",
        "Describe the surroundings in which {product} looks best.",
        "Write an image prompt: the background for {product}.",
        "Where should {product} be shown? Describe the setting.",
        "Create a background description for {product}.",
        "Compose a setting for a picture that sells {product}.",
        "Picture {product} in an ad. Describe what is around it.",
    ),
}
LONGEST = 200  # characters of a title, and of all attributes together
UNKNOWN = "the product in the picture"


def write_instruction(task: str, product: str, rng: Random) -> str:
    """One of the task's paraphrases, filled with `product` as written by `product_facts`."""
    return rng.choice(INSTRUCTIONS[task]).format(product=product)


def product_facts(title: str = "", category: str = "", attributes: Mapping[str, Any] | None = None) -> str:
    """A product in words: `Oatly Oat Milk (category: oat milk; color: grey)`; what is empty is left out.

    Titles and attributes are cut at `LONGEST` characters, and marks of special tokens are taken out, so that a
    catalogue's text can neither flood nor command the model.
    """
    pairs = {"category": category, **(attributes or {})}
    details = "; ".join(f"{key}: {_plain(value)}" for key, value in pairs.items() if value not in ("", None, [], ()))
    detail = f" ({_clean(details)})" if details else ""
    return (_clean(title) or UNKNOWN) + detail


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _clean(text: str) -> str:
    return " ".join(text.replace("<", " ").replace(">", " ").split())[:LONGEST].rstrip()
