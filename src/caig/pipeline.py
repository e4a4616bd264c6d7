"""One product photo and title in, n ranked ad images out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caig.artifacts import content_hash
from caig.errors import InputError
from caig.models.protocols import BackgroundModel, PromptModel, RewardModel
from caig.seeding import seed_for
from caig.types import (
    Box,
    Canvas,
    Creative,
    Cutout,
    Description,
    Direction,
    Palette,
    Pixels,
    Placement,
    Product,
    RankedAd,
    Score,
    Size,
    Try,
)

if TYPE_CHECKING:
    from caig.models.hub import Dtype

AS_IT_COMES = Direction()
ROLLS = 3  # times that a creative is painted at most until it keeps its promises
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
        placement: Placement | None = None,
        rolls: int = ROLLS,
        direction: Direction = AS_IT_COMES,
    ) -> list[RankedAd]:
        """Write n descriptions, paint each around the product and rank the ads by predicted CTR, best first.

        `size` is (width, height), 64 to 2048 each; `placement` None is the format's usual one. A creative that breaks a
        promise is painted again, `rolls` times in all at most, and the best is kept. Same arguments, same pixels.
        Raises InputError (ImageError, CutoutError) for unusable input, before any model runs.
        """
        check_product(product)
        check_count(n)
        check_rolls(rolls)
        check_direction(direction, n)
        clock = Clock()
        with clock.measure("cut out"):
            cutout = read_cutout(product, self.cutout)
            canvas = lay_out(cutout, size, placement, direction.clear)
        with clock.measure("describe"):
            descriptions = self.describe(product, cutout, n=n, seed=seed, direction=direction)
        with clock.measure("paint"):
            creatives = self.paint(product, canvas, descriptions, seed=seed, rolls=rolls, direction=direction)
        with clock.measure("score"):
            scores = self.reward_model.score(
                product, [creative.image for creative in creatives], ids=[creative.id for creative in creatives]
            )
        return rank(creatives, scores, clock.seconds)

    def describe(
        self, product: Product, cutout: Cutout, *, n: int, seed: int, direction: Direction = AS_IT_COMES
    ) -> list[Description]:
        """Have the prompt model write n background descriptions, looking at the cut-out product on white.

        A theme then decides place and light; a creative to be like gives its own description instead.
        """
        from caig.data.themes import steer

        if direction.like:
            return [replace(direction.like.description, product_id=product.id)]
        written = self.prompt_model.describe(as_seen(product, cutout), n, seed=seed_for(seed, product.id, "describe"))
        if direction.theme:
            seeds = [seed_for(seed, product.id, "theme", k) for k in range(n)]
            texts = [steer(d.text, direction.theme, seed=one) for d, one in zip(written, seeds, strict=True)]
            written = [replace(d, text=text) for d, text in zip(written, texts, strict=True)]
        return [replace(d, negative=direction.negative) for d in written]

    def paint(
        self,
        product: Product,
        canvas: Canvas,
        descriptions: Sequence[Description],
        *,
        seed: int,
        rolls: int = ROLLS,
        direction: Direction = AS_IT_COMES,
    ) -> list[Creative]:
        """Paint every description around the laid-out product and lay the photo's pixels in: see `paint_all`."""

        def seed_of(k: int, roll: int) -> int:
            if direction.like and roll == 0:
                return direction.like.seed
            return paint_seed(seed, product.id, k, roll)

        palette = direction.palette or (direction.like.palette if direction.like else None)
        return paint_all(self.background_model, canvas, descriptions, seed_of=seed_of, rolls=rolls, palette=palette)

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Name and weights fingerprint (None where the model keeps none) of each model, for manifests."""
        roles: dict[str, Any] = {
            "prompt": self.prompt_model,
            "background": self.background_model,
            "reward": self.reward_model,
        }
        return named(roles)


def named(models: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name and weights fingerprint (None where a model keeps none) of the model of each role, for manifests."""
    return {
        role: {"name": model.name, "fingerprint": getattr(model, "fingerprint", None)} for role, model in models.items()
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


def as_seen(product: Product, cutout: Cutout | None = None) -> Product:
    """The product with the picture that prompt models are shown, u8[256, 256, 3]: cut out (as `cutout`, where that is
    done already), on white."""
    from caig.imaging.canvas import on_white

    return replace(product, image=on_white(cutout or read_cutout(product), PRODUCT_SIDE))


def check_rolls(rolls: int) -> None:
    """InputError unless 1 <= rolls <= 20."""
    if not 1 <= rolls <= 20:
        raise InputError("rolls", expected="1 to 20", got=str(rolls), next_step="1 paints every ad just once.")


def check_direction(direction: Direction, n: int) -> None:
    """InputError for an unknown theme, or when a creative to be like meets more than one ad, a theme or a negative."""
    from caig.data.themes import check_theme

    if direction.theme:
        check_theme(direction.theme)
    if direction.like:
        against = {"n": "" if n == 1 else str(n), "theme": direction.theme, "negative": direction.negative}
        name, value = next(((name, value) for name, value in against.items() if value), ("", ""))
        if name:
            hint = "A like creative comes once, with its own description."
            raise InputError(name, expected="none with like, or 1 ad", got=repr(value), next_step=hint)


def lay_out(cutout: Cutout, size: Size, placement: Placement | None = None, clear: Box | None = None) -> Canvas:
    """Place the cut-out on an empty canvas of `size` (W, H), out of the space `clear`."""
    from caig.imaging.canvas import lay_out as place

    return place(cutout, size, placement, clear)


def paint_seed(seed: int, product_id: str, k: int, roll: int = 0) -> int:
    """The seed of the product's k-th creative when it is painted for the time `roll`, the first being 0."""
    return seed_for(seed, product_id, "paint", k, *([roll] if roll else []))


def paint_all(
    model: BackgroundModel,
    canvas: Canvas,
    descriptions: Sequence[Description],
    *,
    seed_of: Callable[[int, int], int],
    rolls: int,
    palette: Palette | None = None,
) -> list[Creative]:
    """Paint all descriptions in one batch, then those that break a promise again in one batch, `rolls` times at most.

    `seed_of(k, roll)` seeds description k. Of its paintings the one that breaks the fewest promises, by least, is kept;
    `Creative.tries` holds what was measured on each.
    """
    from caig.imaging.promises import badness, worth_repainting

    kept: dict[int, Creative] = {}
    todo = list(range(len(descriptions)))
    for roll in range(rolls):
        seeds = [seed_of(k, roll) for k in todo]
        pictures = model.paint(canvas, [descriptions[k] for k in todo], seeds=seeds)
        for k, picture, seed in zip(todo, pictures, seeds, strict=True):
            new = finish(canvas, descriptions[k], picture, model=model.name, seed=seed, palette=palette)
            old = kept.get(k)
            best = new if old is None or badness(new.fidelity) < badness(old.fidelity) else old
            kept[k] = replace(best, tries=(*(old.tries if old else ()), Try(seed=seed, fidelity=new.fidelity)))
        todo = [k for k in todo if worth_repainting(kept[k].fidelity)]
        if not todo:
            break
    return [kept[k] for k in range(len(descriptions))]


def finish(
    canvas: Canvas,
    description: Description,
    background: Pixels,
    *,
    model: str,
    seed: int,
    palette: Palette | None = None,
) -> Creative:
    """Lay the product into its painted background, in `palette` where one is wanted, and measure the ad."""
    from caig.imaging.compositing import flatten, separate
    from caig.imaging.fidelity import measure
    from caig.imaging.palette import palette_of, recolour

    around = canvas.product < 0.01
    wanted = recolour(background, palette, around) if palette else background
    layers = separate(canvas, wanted)
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
        palette=palette_of(layers.background, around),
        layers=layers,
    )


def utilities(model: RewardModel, product: Product, pictures: Sequence[Pixels]) -> list[float]:
    """What `model` thinks of each picture u8[H, W, 3] of the product, in logits."""
    return [score.utility for score in model.score(product, pictures, ids=[str(k) for k in range(len(pictures))])]


def rank(creatives: Sequence[Creative], scores: Sequence[Score], seconds: Mapping[str, float]) -> list[RankedAd]:
    """Pair creatives with their scores, highest utility first; equal utilities keep their order."""
    pairs = sorted(zip(creatives, scores, strict=True), key=lambda pair: -pair[1].utility)
    return [
        RankedAd(rank=position, creative=creative, score=score, seconds=seconds)
        for position, (creative, score) in enumerate(pairs, 1)
    ]
