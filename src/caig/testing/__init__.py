"""Contract suites: call them on your own model to see that it keeps what caig relies on.

    from caig.testing import check_background_model
    check_background_model(MyModel())

Each raises AssertionError that names the broken promise. They run over every model that ships.
"""

from __future__ import annotations

import numpy as np

from caig.models.protocols import BackgroundModel, PromptModel, RewardModel
from caig.types import Canvas, Description, Product

__all__ = ["check_background_model", "check_prompt_model", "check_reward_model", "sample_canvas", "sample_product"]


def sample_product(category: str = "mug") -> Product:
    """A made product: a blue cylinder on white, u8[128, 128, 3]."""
    image = np.full((128, 128, 3), 255, np.uint8)
    image[30:110, 40:88] = (40, 80, 160)
    return Product(id="sample", title="Fjord ceramic coffee mug 350 ml, navy", category=category, image=image)


def sample_canvas(width: int = 256, height: int = 256) -> Canvas:
    """A blue block standing on an empty canvas."""
    image, alpha = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.float32)
    block = np.s_[height // 2 : height * 4 // 5, width * 2 // 5 : width * 3 // 5]
    image[block], alpha[block] = (40, 80, 160), 1.0
    edges = np.uint8(255) * (np.abs(np.gradient(alpha)[0]) + np.abs(np.gradient(alpha)[1]) > 0)
    return Canvas(image=image, product=alpha, edges=edges)


def check_prompt_model(model: PromptModel, product: Product | None = None) -> None:
    """Count, authorship, one-line texts, and equal texts for equal seeds."""
    product = product or sample_product()
    assert isinstance(model, PromptModel), "a prompt model has a name and describe(product, n, *, seed)"
    first = model.describe(product, 3, seed=7)
    assert len(first) == 3, f"describe(n=3) gave {len(first)} descriptions"
    for description in first:
        assert description.text.strip() and "\n" not in description.text, f"not one line of text: {description.text!r}"
        assert description.product_id == product.id, "a description names its product"
        assert description.author == model.name, "a description names its author"
    assert [d.text for d in model.describe(product, 3, seed=7)] == [d.text for d in first], "same seed, same texts"
    others = [d.text for seed in range(8, 12) for d in model.describe(product, 3, seed=seed)]
    assert set(others) - {d.text for d in first}, "other seeds give other texts"


def check_background_model(model: BackgroundModel) -> None:
    """Size, type, and equal pixels for equal seeds and batches, square and wide."""
    assert isinstance(model, BackgroundModel), "a background model has a name and paint(canvas, descriptions, *, seeds)"
    description = Description(
        product_id="sample", text="rustic kitchen table, soft morning light", author="user", seed=0
    )
    for width, height in ((256, 256), (300, 100)):
        canvas = sample_canvas(width, height)
        first = model.paint(canvas, [description, description], seeds=[1, 2])
        assert len(first) == 2, f"2 descriptions gave {len(first)} pictures"
        for picture in first:
            assert picture.dtype == np.uint8, f"pictures are uint8, not {picture.dtype}"
            assert picture.shape == (height, width, 3), f"a picture has the canvas's size, not {picture.shape}"
        again = model.paint(canvas, [description, description], seeds=[1, 2])
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True)), "same seeds, same pixels"
        assert not np.array_equal(first[0], first[1]), "two seeds give two pictures"


def check_reward_model(model: RewardModel, product: Product | None = None) -> None:
    """Order, ranges, and independence of order and companions."""
    product = product or sample_product()
    assert isinstance(model, RewardModel), "a reward model has a name and score(product, images, *, ids)"
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (96, 128, 3), np.uint8), np.full((128, 128, 3), 90, np.uint8)]
    scores = model.score(product, images, ids=["a", "b"])
    assert [score.creative_id for score in scores] == ["a", "b"], "scores come in the order of the images"
    for score in scores:
        assert 0 <= score.low <= score.ctr <= score.high <= 1, f"0 <= low <= ctr <= high <= 1 is broken: {score}"
        assert score.basis, "a score says what its CTR was calibrated on"
    swapped = model.score(product, images[::-1], ids=["b", "a"])
    alone = model.score(product, images[:1], ids=["a"])
    np.testing.assert_allclose(swapped[1].utility, scores[0].utility, rtol=1e-3, atol=1e-4, err_msg="order counts")
    np.testing.assert_allclose(alone[0].utility, scores[0].utility, rtol=1e-3, atol=1e-4, err_msg="companions count")
    by_utility = sorted(scores, key=lambda score: score.utility)
    assert by_utility[0].ctr <= by_utility[1].ctr, "within a product CTR rises with utility"
