"""What the reward recipe learns from: products with their words, pictures, counts and soft labels; batches of them."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from caig.artifacts import write_json_lines
from caig.data.clicks import EXAMPLES, ClickLog, CreativeClicks, Rejection, read_clicks
from caig.data.comparisons import Pairs, compare, effective_counts, split
from caig.data.images import find_image
from caig.data.scenes import read_products
from caig.data.templates import ABOUT_ONE, instruct
from caig.errors import CatalogError, ImageError
from caig.models.reward_model import letterbox
from caig.recipes.reward import Config
from caig.types import Pixels, Product

MODEL_VARIANCE = 0.04  # of log CTR, beside the sampling variance 1 / clicks: no picture may outweigh all others
NO_PICTURE = "image: expected a picture that can be read. Correct the files."
NO_PRODUCT = "product_id: expected a product of the catalogue, got another. Add it there."


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductClicks:
    """One product with K pictures of it that were shown."""

    product: Product
    creatives: tuple[CreativeClicks, ...]
    pictures: tuple[Pixels, ...]  # u8[S, S, 3] each
    better: NDArray[np.float64]  # f64[K, K]: P(row truly better than column | counts)

    @property
    def comparable(self) -> bool:
        return len(self.creatives) > 1

    @property
    def log_ctr(self) -> NDArray[np.float64]:
        """f64[K]: log((clicks + 1/2) / (impressions + 1))."""
        clicks, impressions = effective_counts(self.creatives)
        return np.log((clicks + 0.5) / (impressions + 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """The log by split, and the rows that could not be used."""

    train: list[ProductClicks]
    validation: list[ProductClicks]
    test: list[ProductClicks]
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """N pictures with their texts, and P pairs of pictures of one product."""

    texts: list[str]
    pictures: list[Pixels]
    first: Tensor  # i64[P] index of the pair's first picture
    second: Tensor  # i64[P]
    label: Tensor  # f32[P] P(first truly better | counts)
    product: Tensor  # i64[N]
    log_ctr: Tensor  # f32[N]
    weight: Tensor  # f32[N] precision of log_ctr

    def to(self, device: torch.device) -> Batch:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return dataclasses.replace(self, **moved)


def read_samples(config: Config, side: int) -> Samples:
    """Read log, products and pictures; what cannot be used is listed in `out`/rejected.jsonl, and counted.

    Raises:
        CatalogError: the log or the catalogue is broken, or no training product has two usable pictures.
    """
    log = read_clicks(config.clicks, images=[config.data])
    products = read_titles(config)
    beside = config.clicks if config.clicks.is_dir() else config.clicks.parent
    pictures, unreadable = read_pictures(log, [config.data, beside], side)
    unknown = [f"creative '{c.creative_id}' of '{c.product_id}'" for c in log.creatives if c.product_id not in products]
    rejected = (*log.rejected, *_reject(NO_PICTURE, unreadable), *_reject(NO_PRODUCT, unknown))
    write_json_lines(config.out / "rejected.jsonl", rejected)
    kept = [c for c in log.creatives if c.creative_id in pictures and c.product_id in products]
    read = product_clicks(compare(kept), products, pictures) if kept else []
    parts = {part: [p for p in read if split(p.product.id) == part] for part in ("train", "validation", "test")}
    if not any(product.comparable for product in parts["train"]):
        raise CatalogError(
            str(config.clicks),
            expected="a training product with two usable pictures",
            got=f"none among {len(log.creatives)} creatives",
            next_step=f"See {config.out / 'rejected.jsonl'}.",
        )
    return Samples(**parts, rejected=rejected)


def read_titles(config: Config) -> Mapping[str, Product]:
    """Products by id, from the catalogue or from `data`/products.tar."""
    if config.catalog is not None:
        from caig.data.catalog import read_catalog

        return {product.id: product for product in read_catalog(config.catalog).products}
    named = ("brand", "color", "tags", "price")
    records = (product.record for product in read_products(config.data))
    return {
        record["id"]: Product(
            id=record["id"],
            title=record["title"],
            category=record["category"],
            attributes={name: record[name] for name in named if name in record},
        )
        for record in records
    }


def read_pictures(log: ClickLog, folders: Sequence[Path], side: int) -> tuple[dict[str, Pixels], list[str]]:
    """Letterboxed pictures u8[S, S, 3] by creative id; creatives whose picture cannot be read, with the fault."""
    pictures, rejected, archives = {}, [], {}
    for creative in log.creatives:
        try:
            pictures[creative.creative_id] = letterbox(_read_picture(creative.image, folders, archives), side)
        except ImageError as error:
            rejected.append(f"creative '{creative.creative_id}', {error}")
    for archive in archives.values():
        archive.close()
    return pictures, rejected


def tokenizer_texts(config: Config) -> list[str]:
    """Texts from which a fresh backbone's vocabulary is made: every training product in some of the questions."""
    products = [product for name, product in sorted(read_titles(config).items()) if split(name) == "train"]
    return [instruct(product, number % len(ABOUT_ONE)) for number, product in enumerate(products)]


def draw_batch(products: Sequence[ProductClicks], config: Config, seed: int) -> Batch:
    """Draw products in proportion to their number of pictures, then pictures, mirroring and words of each.

    Mirroring keeps the label; changes of colour would not, and are never made.
    """
    rng = Random(seed)
    comparable = [product for product in products if product.comparable]
    drawn = rng.choices(comparable, weights=[len(p.creatives) for p in comparable], k=config.products)
    texts, pictures, owner, log_ctr, weight, pairs = [], [], [], [], [], []
    for number, product in enumerate(drawn):
        chosen = rng.sample(range(len(product.creatives)), min(config.pictures, len(product.creatives)))
        start, clicks = len(pictures), effective_counts(product.creatives)[0]
        pairs += [(start + i, start + j, product.better[a, b]) for (i, a), (j, b) in combinations(enumerate(chosen), 2)]
        texts += [_words(product.product, config.attribute_dropout, rng)] * len(chosen)
        pictures += [_perhaps_mirrored(product.pictures[index], rng) for index in chosen]
        owner += [number] * len(chosen)
        log_ctr += product.log_ctr[chosen].tolist()
        weight += (1 / (1 / (clicks[chosen] + 0.5) + MODEL_VARIANCE)).tolist()
    first, second, label = zip(*pairs, strict=True)
    return Batch(
        texts=texts,
        pictures=pictures,
        first=torch.tensor(first),
        second=torch.tensor(second),
        label=torch.tensor(label, dtype=torch.float32),
        product=torch.tensor(owner),
        log_ctr=torch.tensor(log_ctr),
        weight=torch.tensor(weight),
    )


def product_clicks(
    pairs: Pairs, products: Mapping[str, Product], pictures: Mapping[str, Pixels]
) -> list[ProductClicks]:
    """The creatives of `pairs` by product, with the labels of its pairs."""
    members = [np.flatnonzero(pairs.product == product) for product in range(pairs.product.max() + 1)]
    position = np.empty(len(pairs.creatives), np.int64)
    better = [np.full((len(own), len(own)), 0.5) for own in members]
    for own in members:
        position[own] = np.arange(len(own))
    for first, second, label in zip(pairs.first, pairs.second, pairs.label, strict=True):
        square, row, column = better[pairs.product[first]], position[first], position[second]
        square[row, column], square[column, row] = label, 1 - label
    return [
        ProductClicks(
            product=products[pairs.creatives[own[0]].product_id],
            creatives=tuple(pairs.creatives[i] for i in own),
            pictures=tuple(pictures[pairs.creatives[i].creative_id] for i in own),
            better=square,
        )
        for own, square in zip(members, better, strict=True)
    ]


def _read_picture(name: str, folders: Sequence[Path], archives: dict[Path, tarfile.TarFile]) -> Pixels:
    """u8[H, W, 3]: a file, or a member of a tar that is opened once."""
    from caig.imaging.reading import read_photo

    path, _, member = (str(find_image(name, folders)), *name.partition("#")[1:])
    if not member:
        return read_photo(path).image
    try:
        if Path(path) not in archives:
            archives[Path(path)] = tarfile.open(path)  # noqa: SIM115 - read_pictures closes it
        file = archives[Path(path)].extractfile(member)
        assert file is not None
        return np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
    except (OSError, KeyError, AssertionError, tarfile.TarError, Image.DecompressionBombError) as error:
        raise ImageError(
            name, expected="a picture in the archive", got=f"{type(error).__name__}", next_step="Check its name."
        ) from error


def _words(product: Product, dropout: float, rng: Random) -> str:
    dropped = {name for name in ("category", *product.attributes) if rng.random() < dropout}
    return instruct(product, rng.randrange(len(ABOUT_ONE)), without=dropped)


def _perhaps_mirrored(picture: Pixels, rng: Random) -> Pixels:
    return np.ascontiguousarray(picture[:, ::-1]) if rng.random() < 0.5 else picture


def _reject(reason: str, creatives: Sequence[str]) -> list[Rejection]:
    """One rejection of all `creatives`, none when there are none."""
    some = tuple(creatives[:EXAMPLES])
    return [Rejection(reason=reason, what="creatives", count=len(creatives), examples=some)] if creatives else []
