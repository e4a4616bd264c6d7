"""Instructions to a multimodal language model, by task, and how a product is told to it in words.

The published families: image understanding (describe the product, the background), multimodal comprehension (a title
from photo and attributes, the background from picture and words) and prompt generation (a background from the photo
alone or with words, a poor description made good). Add a task by adding a key to `INSTRUCTIONS` and to a family; every
template has the field `{product}`, those of `rewrite` have `{draft}` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "product": (
        "Say what {product} is.",
        "Name {product} and how it looks.",
        "What is {product}? Describe it.",
        "Describe the looks of {product}.",
        "Tell a shopper what {product} is.",
        "What do you see? Describe {product}.",
        "Which kind of article is {product}?",
        "Put {product} into words.",
        "Identify {product} and its color.",
        "In a few words, what is {product}?",
        "Describe {product} itself, not what is around it.",
    ),
    "background": (
        "Describe what is behind and around {product}.",
        "Where was {product} photographed? Describe the place.",
        "Describe the background that you see behind {product}.",
        "What surrounds {product} in this picture?",
        "Describe the scene, leaving {product} out.",
        "Tell which light and surface {product} was photographed in.",
        "Describe this picture without {product}.",
        "What does {product} stand on, and what is behind it?",
        "Read the scenery around {product} from the picture.",
        "Describe place, surface and light around {product} as you see them.",
        "Which scene was built around {product}? Describe it.",
    ),
    "title": (
        "Write a shop title for {product}.",
        "Which title would a shop give {product}?",
        "Give {product} a title for the catalogue.",
        "Title {product} as an online shop would.",
        "Compose the product title of {product}.",
        "Name {product} for its page in the shop.",
        "Write the headline of the offer of {product}.",
        "What is the listing title of {product}?",
        "Turn photo and facts into a title for {product}.",
        "How would {product} be listed? Write the title.",
        "Write a short, exact title of {product}.",
    ),
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
    "rewrite": (
        "Improve this background for {product}: {draft}",
        "Make a better background for {product} out of: {draft}",
        "Rewrite the draft so that it suits {product}: {draft}",
        "This background does not suit {product} yet, mend it: {draft}",
        "Turn the draft into a good background for {product}: {draft}",
        "Correct the ad background of {product}: {draft}",
        "Polish this description for an ad of {product}: {draft}",
        "A poor background for {product} reads: {draft}. Write a good one.",
        "Draft for {product}: {draft}. Improve it.",
        "Someone wrote for {product}: {draft}. Do it better.",
        "Edit this scene until it fits {product}: {draft}",
    ),
}
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "understanding": ("product", "background"),  # from the picture alone
    "comprehension": ("title", "background"),  # from picture and words
    "generation": ("prompt generation", "rewrite"),  # from the picture alone, from words, from both
}
LONGEST = 200  # characters of a title, of all attributes together, and of a draft
UNKNOWN = "the product in the picture"


def write_instruction(task: str, product: str, rng: Random, *, draft: str = "") -> str:
    """One of the task's paraphrases, filled with `product` as written by `product_facts`, and for `rewrite` with the
    description to improve."""
    return rng.choice(INSTRUCTIONS[task]).format(product=product, draft=_clean(draft))


def product_facts(title: str = "", category: str = "", attributes: Mapping[str, Any] | None = None) -> str:
    """A product in words: `Oatly Oat Milk (category: oat milk; color: grey)`; what is empty is left out.

    Titles and attributes are cut at `LONGEST` characters, and marks of special tokens are taken out, so that a
    catalogue's text can neither flood nor command the model. A `caption` tells what is to be written, and is left out.
    """
    pairs = {"category": category, **(attributes or {})} | {"caption": ""}
    details = "; ".join(f"{key}: {_plain(value)}" for key, value in pairs.items() if value not in ("", None, [], ()))
    detail = f" ({_clean(details)})" if details else ""
    return (_clean(title) or UNKNOWN) + detail


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _clean(text: str) -> str:
    return " ".join(text.replace("<", " ").replace(">", " ").split())[:LONGEST].rstrip()
