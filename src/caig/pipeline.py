"""One product photo and title in, n ranked ad images out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caig.artifacts import content_hash
from caig.errors import InputError
from caig.models.protocols import BackgroundModel, PromptModel, RewardModel
from caig.seeding import seed_for
from caig.types import Canvas, Creative, Cutout, Description, Pixels, Placement, Product, RankedAd, Score, Size

if TYPE_CHECKING:
    from caig.models.hub import Dtype

DEFAULT_PLACEMENT = Placement()
PRODUCT_SIDE = 256  # side of the product picture that prompt models are shown


@dataclass(frozen=True, kw_only=True)
class AdPipeline:
    """A prompt, a background and a reward model at work together.

    >>> ads = AdPipeline.from_pretrained("embedded").generate(Product(...), n=4, size=(1024, 1024), seed=0)
    """

    prompt_model: PromptModel
    background_model: BackgroundModel
    reward_model: RewardModel
    cutout: str = "auto"
    """How photos without mask and alpha are cut out: auto or rembg."""

    @classmethod
    def from_pretrained(
        cls,
        name: str = "embedded",
        *,
        prompt_model: str | None = None,
        background_model: str | None = None,
        reward_model: str | None = None,
        cutout: str = "auto",
        device: str | None = None,
        dtype: Dtype | None = None,
        compile: bool = False,
    ) -> AdPipeline:
        """Load the three models by name (see `caig.models.hub`); `name` is a preset, or the name of each.

        `device` None takes a GPU when there is one, `dtype` None half precision there and fp32 on a CPU; `compile`
        compiles the background model. Raises CheckpointError for unknown or broken checkpoints.
        """
        from caig.models.hub import load_model
        from caig.models.registry import presets

        preset = presets().get(name)
        prompts, backgrounds, rewards = preset.models if preset else (name, name, name)
        place: Any = {"device": device, "dtype": dtype}
        return cls(
            prompt_model=load_model(prompt_model or prompts, "prompt", **place),
            background_model=load_model(
                background_model or backgrounds, "background", compile=compile or None, **place
            ),
            reward_model=load_model(reward_model or rewards, "reward", **place),
            cutout=cutout,
        )

    def generate(
        self,
        product: Product,
        *,
        n: int = 4,
        size: Size = (1024, 1024),
        seed: int = 0,
        placement: Placement = DEFAULT_PLACEMENT,
    ) -> list[RankedAd]:
        """Write n descriptions, paint each around the product and rank the ads by predicted CTR, best first.

        `size` is (width, height), 64 to 2048 each. Same arguments, same pixels. Raises InputError (ImageError,
        CutoutError) for unusable input, before any model runs.
        """
        check_product(product)
        check_count(n)
        clock = Clock()
        with clock.measure("cut out"):
            cutout = read_cutout(product, self.cutout)
            canvas = lay_out(cutout, size, placement)
        with clock.measure("describe"):
            descriptions = self.describe(product, cutout, n=n, seed=seed)
        with clock.measure("paint"):
            creatives = self.paint(product, canvas, descriptions, seed=seed)
        with clock.measure("score"):
            scores = self.reward_model.score(
                product, [creative.image for creative in creatives], ids=[creative.id for creative in creatives]
            )
        return rank(creatives, scores, clock.seconds)

    def describe(self, product: Product, cutout: Cutout, *, n: int, seed: int) -> list[Description]:
        """Have the prompt model write n background descriptions, looking at the cut-out product on white."""
        from caig.imaging.canvas import on_white

        shown = replace(product, image=on_white(cutout, PRODUCT_SIDE))
        return self.prompt_model.describe(shown, n, seed=seed_for(seed, product.id, "describe"))

    def paint(
        self, product: Product, canvas: Canvas, descriptions: Sequence[Description], *, seed: int
    ) -> list[Creative]:
        """Paint every description around the laid-out product, all in one batch, and lay the photo's pixels in."""
        seeds = [seed_for(seed, product.id, "paint", k) for k in range(len(descriptions))]
        pictures = self.background_model.paint(canvas, descriptions, seeds=seeds)
        return [
            finish(canvas, description, picture, model=self.background_model.name, seed=one_seed)
            for description, picture, one_seed in zip(descriptions, pictures, seeds, strict=True)
        ]

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Name and weights fingerprint (None where the model keeps none) of each model, for manifests."""
        roles: dict[str, Any] = {
            "prompt": self.prompt_model,
            "background": self.background_model,
            "reward": self.reward_model,
        }
        return {
            role: {"name": model.name, "fingerprint": getattr(model, "fingerprint", None)}
            for role, model in roles.items()
        }


@dataclass
class Clock:
    """Seconds spent by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)


def check_product(product: Product) -> None:
    """InputError unless the product has a title and a photo."""
    if not product.title.strip():
        raise InputError(
            f"title of product {product.id!r}", expected="some words", got="none", next_step="Say what the product is."
        )
    if product.image is None:
        raise InputError(
            f"image of product {product.id!r}", expected="a photo", got="none", next_step="Give the product's photo."
        )


def check_count(n: int) -> None:
    """InputError unless 1 <= n."""
    if n < 1:
        raise InputError("n", expected="at least 1 ad per product", got=str(n), next_step="Ask for 1 or more.")


def read_cutout(product: Product, method: str = "auto") -> Cutout:
    """Read the product's photo (and mask) and cut the product out; arrays u8[H, W, 3] are taken as photos."""
    from caig.imaging.matting import cut_out
    from caig.imaging.reading import Photo, read_mask, read_photo

    if isinstance(product.image, np.ndarray):
        photo, name = Photo(image=product.image, alpha=None), product.id
    else:
        assert product.image is not None
        photo, name = read_photo(Path(product.image)), str(product.image)
    height, width = photo.image.shape[:2]
    mask = read_mask(product.mask, (width, height)) if product.mask else None
    return cut_out(photo, mask, method, name)


def lay_out(cutout: Cutout, size: Size, placement: Placement) -> Canvas:
    """Place the cut-out on an empty canvas of `size` (W, H)."""
    from caig.imaging.canvas import lay_out as place

    return place(cutout, size, placement)


def finish(canvas: Canvas, description: Description, background: Pixels, *, model: str, seed: int) -> Creative:
    """Lay the product into its painted background and measure how true the ad is to the photo."""
    from caig.imaging.compositing import flatten, separate
    from caig.imaging.fidelity import measure

    layers = separate(canvas, background)
    image = flatten(layers)
    return Creative(
        id=content_hash(image),
        product_id=description.product_id,
        description=description,
        image=image,
        background_model=model,
        seed=seed,
        placement=canvas.placement,
        fidelity=measure(canvas, image),
        layers=layers,
    )


def rank(creatives: Sequence[Creative], scores: Sequence[Score], seconds: Mapping[str, float]) -> list[RankedAd]:
    """Pair creatives with their scores, highest utility first; equal utilities keep their order."""
    pairs = sorted(zip(creatives, scores, strict=True), key=lambda pair: -pair[1].utility)
    return [
        RankedAd(rank=position, creative=creative, score=score, seconds=seconds)
        for position, (creative, score) in enumerate(pairs, 1)
    ]
