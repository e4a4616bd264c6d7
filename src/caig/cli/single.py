"""`caig describe`, `caig paint` and `caig score`: one model each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from caig import __version__
from caig.artifacts import content_hash, to_json
from caig.cli import options
from caig.cli.options import ANYWHERE, DEFAULTS
from caig.errors import InputError
from caig.evaluation.gallery import ctr_name, percent, percent_range
from caig.pipeline import as_seen, check_count, check_rolls, lay_out, paint_all, paint_seed, read_cutout, utilities
from caig.recipes.generate import say
from caig.seeding import seed_for
from caig.types import Description, Pixels, Product, Score

if TYPE_CHECKING:
    from caig.evaluation.qualities import Reason

Chances = NDArray[np.float64]  # [n, n]: probability that the row's picture is clicked more than the column's


def describe(
    *,
    image: options.Image,
    title: options.Title,
    n: options.Count = DEFAULTS.n,
    seed: options.Seed = DEFAULTS.seed,
    category: options.Category = "",
    mask: options.Mask = None,
    cutout: options.CutoutMethod = "auto",
    prompt_model: options.PromptName = "embedded",
    place: options.Place = ANYWHERE,
    json: options.Json = False,
) -> None:
    """Write background descriptions for a product, one a line.

    JSON: {"caig", "product": {"id", "title", "category"}, "model", "descriptions": [{"text", "author", "seed"}]}.
    """
    check_count(n)
    product = options.product_from(image, title, category, mask)
    shown = as_seen(product, read_cutout(product, cutout))
    model = options.load_model(prompt_model, "prompt", place)
    descriptions = model.describe(shown, n, seed=seed_for(seed, product.id, "describe"))
    if json:
        print(to_json(_described(product, model.name, descriptions), indent=2))
    else:
        print(*(description.text for description in descriptions), sep="\n")


def paint(
    *,
    image: options.Image,
    description: Annotated[str, Parameter(help="Of the background, written like a Stable Diffusion prompt.")],
    out: Annotated[Path, Parameter(help="Picture to write: .png, .webp or .jpg.")],
    size: options.SizeText = options.SIZE,
    seed: options.Seed = DEFAULTS.seed,
    mask: options.Mask = None,
    scale: options.Scale = None,
    position: options.Position = None,
    rolls: options.Rolls = DEFAULTS.rolls,
    negative: options.Negative = "",
    keep_clear: options.KeepClear = None,
    reference: options.Reference = None,
    digital_source_type: options.SourceType = DEFAULTS.digital_source_type,
    cutout: options.CutoutMethod = "auto",
    background_model: options.BackgroundName = "embedded",
    compile: options.Compile = False,
    place: options.Place = ANYWHERE,
) -> None:
    """Paint one ad with your own description of its background; the product itself stays as in the photo."""
    from caig.imaging.canvas import parse_size
    from caig.imaging.writing import encode, save

    if not description.strip():
        raise _empty("--description", "Say what the background shows.")
    check_rolls(rolls)
    product, pixels = options.product_from(image, image.stem, "", mask), parse_size(size)
    clear, palette = options.clear_from(keep_clear), options.palette_from(reference)
    placement = options.placement_from(pixels, scale, position)
    canvas = lay_out(read_cutout(product, cutout), pixels, placement, clear)
    encode(canvas.image[:1, :1], out.suffix.lstrip("."))  # an unknown format is reported before the painting
    wish = Description(product_id=product.id, text=description, author="user", seed=seed, negative=negative.strip())

    def seed_of(k: int, roll: int) -> int:
        return paint_seed(seed, product.id, k, roll)

    model = options.load_model(background_model, "background", place, compile=compile or None)
    (ad,) = paint_all(model, canvas, [wish], seed_of=seed_of, rolls=rolls, palette=palette)
    save(out, ad.image, source_type=digital_source_type)
    print(out)
    if ad.fidelity.broken:
        say(f"{out}: painted {len(ad.tries)} times, still: {', '.join(ad.fidelity.broken)}")


def score(
    *images: Annotated[Path, Parameter(help="Finished ads of one product.")],
    title: options.Title,
    category: options.Category = "",
    reward_model: options.RewardName = "embedded",
    explain: Annotated[bool, Parameter(negative=(), help="Say which qualities lift or lower each picture.")] = False,
    place: options.Place = ANYWHERE,
    json: options.Json = False,
) -> None:
    """Predict the CTR of finished ads and the probability that each is clicked more than each other.

    --explain edits each picture until one quality (light, contrast, colour, warmth, sharpness) is that of the others,
    and asks the model again: what the picture loses by it, in logits, the quality was worth.

    JSON: {"caig", "title", "category", "model", "basis", "images": [{"file", "rank", "utility", "ctr", "low",
    "high"}], "win_probability": [[row's probability to beat column]]}, with
    --explain "reasons": [[{"words", "value", "others", "unit", "effect"}]], images in the order given. Until the reward
    model was calibrated on a click log, "basis" is "simulated CTR".
    """
    from caig.imaging.reading import read_photo

    if not title.strip():
        raise _empty("--title", "Say what the product is, as its shop does.")
    if not images:
        raise InputError("score", expected="one picture or more", got="none", next_step="Name the ads to score.")
    pictures = [read_photo(path).image for path in images]
    model = options.load_model(reward_model, "reward", place)
    from caig.models.reward_model import (
        win_probabilities,
    )  # after load_model has silenced the libraries that it imports

    product = Product(id="product", title=title, category=category)
    scores = model.score(product, pictures, ids=[content_hash(picture) for picture in pictures])
    chances = win_probabilities(scores)
    reasons = _reasons(model, product, pictures) if explain else None
    if json:
        record = _scored(product, model.name, images, scores, chances)
        print(to_json(record if reasons is None else record | {"reasons": reasons}, indent=2))
    else:
        print(_score_table(images, scores, chances))
        if reasons is not None:
            print(_reason_table(images, scores, reasons))


def _described(product: Product, model: str, descriptions: Sequence[Description]) -> dict[str, Any]:
    return {
        "caig": __version__,
        "product": {"id": product.id, "title": product.title, "category": product.category},
        "model": model,
        "descriptions": [{"text": d.text, "author": d.author, "seed": d.seed} for d in descriptions],
    }


def _scored(
    product: Product, model: str, images: Sequence[Path], scores: Sequence[Score], chances: Chances
) -> dict[str, Any]:
    ranks = _ranks(scores)
    return {
        "caig": __version__,
        "title": product.title,
        "category": product.category,
        "model": model,
        "basis": ctr_name(scores[0].basis),
        "images": [
            {"file": path, "rank": rank, "utility": s.utility, "ctr": s.ctr, "low": s.low, "high": s.high}
            for path, rank, s in zip(images, ranks, scores, strict=True)
        ],
        "win_probability": chances.round(4),
    }


def _score_table(images: Sequence[Path], scores: Sequence[Score], chances: Chances) -> str:
    """Two small tables; pictures are numbered by rank so that the matrix stays narrow."""
    name, ranks = ctr_name(scores[0].basis), _ranks(scores)
    order = sorted(range(len(scores)), key=lambda index: ranks[index])
    rows = [f"rank  {name}  95 % interval    picture"]
    for index in order:
        s = scores[index]
        interval = percent_range(s.low, s.high)
        rows.append(f"{ranks[index]:>4}  {percent(s.ctr):>{len(name)}}  {interval:<15}  {images[index]}")
    rows += ["", "probability that the row's picture is clicked more than the column's"]
    rows.append("      " + "".join(f"{ranks[column]:>6}" for column in order))
    rows += [f"{ranks[row]:>6}" + "".join(_chance(chances, row, column) for column in order) for row in order]
    return "\n".join(rows)


def _reasons(model: Any, product: Product, pictures: Sequence[Pixels]) -> list[list[Reason]]:
    from caig.evaluation.qualities import explain

    return explain(pictures, partial(utilities, model, product))


def _reason_table(images: Sequence[Path], scores: Sequence[Score], reasons: Sequence[Sequence[Reason]]) -> str:
    """A line per picture and quality, best picture first."""
    ranks = _ranks(scores)
    rows = ["", "why, in logits: what each picture loses when one quality becomes that of the others"]
    none = "no quality makes a difference" if len(images) > 1 else "there is no other picture to compare it with"
    for index in sorted(range(len(images)), key=lambda index: ranks[index]):
        rows += [f"{ranks[index]:>4}  {reason}" for reason in reasons[index] or [none]]
    return "\n".join(rows)


def _chance(chances: Chances, row: int, column: int) -> str:
    return "     ·" if row == column else f"{chances[row, column]:>6.2f}"


def _ranks(scores: Sequence[Score]) -> list[int]:
    order = sorted(range(len(scores)), key=lambda index: -scores[index].utility)
    return [order.index(index) + 1 for index in range(len(scores))]


def _empty(name: str, next_step: str) -> InputError:
    return InputError(name, expected="a text", got="an empty one", next_step=next_step)
