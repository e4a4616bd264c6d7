"""What `caig shop study rewards` trains by the reward recipe, and the row that each ablation is held against.

An ablation differs in one thing from its row in REFERENCES, which is `ours` unless it is named here:

    point loss off          no CTR regression; pairs and the prior of other shops' tastes stay
    attributes off          neither attributes nor category in the words
    all words blanked       the title neither (against attributes off)
    image blanked           grey pictures
    32 pictures a step      8 products of 4, in place of 16 of 8: as many pictures as published draws
    hard labels             the observed order, and no pair that is tied
    joint, one order        each pair in an order drawn at random (against joint, both orders)
    whole network           the vision tower learns too (against language model tuned)
    nouns new to the heads, not to the tower
                            the log lacks the training products of every third noun. The legs that made the backbone had
                            their pictures and other shops' clicks on them: this is what heads do without, and says
                            nothing of products that the model never saw the like of

Three rows differ in more, and `1,000 impressions` has labels of its own, so that pairs can't be set side by side:

    language model tuned    the language model learns beside the heads. So it has other rates, and a step has 8 products
                            of 4 pictures, mirrored and in other words, in place of 16 of 8 that are read once
    joint, both orders      two pictures a sequence (against language model tuned). So a step has 16 products of 2
                            pictures, there is no ensemble, and the point loss is another one with its own weight
    published               the paper's recipe: joint, one order, with hard labels and a filter on pairs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# Heads alone over tastes that other shops taught, at the defaults of the recipe.
OURS: Final[Mapping[str, Any]] = {"tune": "heads"}
JOINT: Final[Mapping[str, Any]] = {"form": "joint", "products": 16, "pictures": 2, "point_weight": 0.5}
THIRTY_TWO = "ours, 32 pictures a step"
NEW_NOUNS = "ours, nouns new to the heads, not to the tower"
ABLATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "published": {"preset": "caig-published"},
    "ours": OURS,
    THIRTY_TWO: {**OURS, "products": 8, "pictures": 4},
    "ours, point loss off": {**OURS, "point_weight": 0.0},
    "ours, attributes off": {**OURS, "attribute_dropout": 1.0},
    "ours, all words blanked": {**OURS, "without": ("title",), "attribute_dropout": 1.0},
    "ours, image blanked": {**OURS, "without": ("image",)},
    "ours, hard labels": {**OURS, "labels": "hard"},
    "ours, joint, both orders": JOINT,
    "ours, joint, one order": {**JOINT, "both_orders": False},
    "ours, language model tuned": {},
    "ours, whole network": {"tune": "full"},
    "ours, 1,000 impressions": {**OURS, "impressions": 1000},
    NEW_NOUNS: {**OURS, "nouns": True},
}
REFERENCES: Final[Mapping[str, str]] = {
    THIRTY_TWO: "ours",
    "ours, point loss off": "ours",
    "ours, attributes off": "ours",
    "ours, all words blanked": "ours, attributes off",
    "ours, image blanked": "ours",
    "ours, hard labels": "ours",
    "ours, joint, both orders": "ours, language model tuned",
    "ours, joint, one order": "ours, joint, both orders",
    "ours, language model tuned": "ours",
    "ours, whole network": "ours, language model tuned",
    NEW_NOUNS: "ours",
}
