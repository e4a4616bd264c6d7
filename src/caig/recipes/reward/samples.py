"""What the reward recipe learns from: products with their words, pictures, counts and soft labels; batches of them."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from caig.artifacts import write_json_lines
from caig.data.clicks import EXAMPLES, ClickLog, CreativeClicks, Rejection, read_clicks
from caig.data.comparisons import Pairs, compare, effective_counts, split
from caig.data.images import find_image, read_in_threads
from caig.data.scanning import table_files
from caig.data.scenes import read_products
from caig.data.templates import QUESTIONS, instruct
from caig.errors import CatalogError, ImageError
from caig.models.mllm import BackboneSize
from caig.models.reward_model import letterbox
from caig.recipes.reward import Config
from caig.recipes.reward.showing import perhaps_mirrored, withheld, words
from caig.seeding import seed_for
from caig.types import Pixels, Product

# A fresh backbone: 2.8 M parameters. 128 pixels are enough for whatever shoppers were found to look at, and 64 tokens
# place the product better than the 16 of a LeViT do at the same cost (docs/LOG.md).
SIZE = BackboneSize(vision_width=192, vision_layers=4, width=192, layers=2, vocabulary=1500, initializer=0.06)
MODEL_VARIANCE = 0.04  # of log CTR, beside the sampling variance 1 / clicks: no picture may outweigh all others
WITHIN = "\x1f"  # between a window and a product's id, when pictures are compared
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

    @cached_property
    def counts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Effective (clicks, impressions), f64[K] each."""
        return effective_counts(self.creatives)

    @property
    def log_ctr(self) -> NDArray[np.float64]:
        """f64[K]: log((clicks + 1/2) / (impressions + 1))."""
        clicks, impressions = self.counts
        return np.log((clicks + 0.5) / (impressions + 1))

    @property
    def observed(self) -> NDArray[np.float64]:
        """f64[K, K]: 1 where the row's observed CTR is higher than the column's, 0 where lower, 0.5 for ties."""
        clicks, impressions = self.counts
        crossed = np.outer(clicks, impressions)
        return 0.5 + 0.5 * np.sign(crossed - crossed.T)

    def pairs(self, config: Config) -> list[tuple[int, int]]:
        """The pairs that `config` lets training see; with hard labels, ties say nothing and are left out."""
        clicks, impressions = self.counts
        crossed, (least, most) = np.outer(clicks, impressions), config.ratio
        pairs = []
        for a, b in combinations(range(len(self.creatives)), 2):
            low, high = sorted((crossed[a, b], crossed[b, a]))  # exact, where quotients of rates may miss a bound
            inside = least <= (high / low if low else np.inf if high else 1.0) <= most
            shown = min(self.creatives[k].counts.impressions for k in (a, b)) > config.more_than
            if inside and shown and not (config.labels == "hard" and low == high):
                pairs.append((a, b))
        return pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """The log by split, the rows that could not be used, and remarks on the whole."""

    train: list[ProductClicks]
    validation: list[ProductClicks]
    test: list[ProductClicks]
    rejected: tuple[Rejection, ...]
    remarks: tuple[str, ...] = ()

    @property
    def compared(self) -> list[ProductClicks]:
        """Test products with a pair to judge."""
        return [product for product in self.test if product.comparable]

    @cached_property
    def clicks(self) -> float:
        """Effective clicks on training products, at least 1."""
        return max(1.0, float(sum(product.counts[0].sum() for product in self.train)))

    @property
    def held_out(self) -> list[ProductClicks]:
        """Products that training never sees."""
        return [*self.validation, *self.test]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """N pictures with their texts, and P pairs of pictures of one product, of J products."""

    texts: list[str]
    pictures: list[Pixels]
    first: Tensor  # i64[P] index of the pair's first picture
    second: Tensor  # i64[P]
    label: Tensor  # f32[P] P(first truly better | counts), or the observed order
    product: Tensor  # i64[N]
    clicks: Tensor  # f32[N], effective
    impressions: Tensor  # f32[N]
    log_ctr: Tensor  # f32[N]
    weight: Tensor  # f32[N] precision of log_ctr
    votes: Tensor  # f32[J, members] weight of each product for each member of the ensemble
    seed: int  # that drew it, and draws what is left out of it

    def to(self, device: torch.device) -> Batch:
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def read_samples(config: Config, side: int) -> Samples:
    """Read log, products and pictures, less what `config` withholds; what cannot be used is listed in
    `out`/rejected.jsonl, and counted.

    Raises:
        CatalogError: the log or the catalogue is broken, or no training product has two usable pictures.
    """
    parts = windows_of(config.clicks) if config.windows else [config.clicks]
    samples = read_log(config.data, parts, config.catalog, side)
    write_json_lines(config.out / "rejected.jsonl", samples.rejected)
    if not any(product.comparable for product in samples.train):
        raise CatalogError(
            str(config.clicks),
            expected="a training product with two usable pictures",
            got="none",
            next_step=f"See {config.out / 'rejected.jsonl'}.",
        )
    parts = {part: [seen_of(p, config) for p in getattr(samples, part)] for part in ("train", "validation", "test")}
    return replace(samples, **parts)


def seen_of(known: ProductClicks, config: Config) -> ProductClicks:
    """`known` as the model sees it; see `withheld`."""
    product, pictures = withheld(known.product, known.pictures, config)
    return replace(known, product=product, pictures=pictures)


def read_log(data: Path, parts: Sequence[Path], catalog: Path | None, side: int) -> Samples:
    """The log's products by split, with their pictures letterboxed to `side`; see `Config` for the paths.

    Each of `parts` is a log or one time window of it: a product comes once for each window in which it was shown, its
    pictures compared within it. How much true CTRs vary is fitted to all windows together: one alone may hold too few
    clicks to tell.
    """
    products, pictures = read_titles(data, catalog), dict[str, Pixels]()
    logs = [read_part(part, data, products, side, pictures) for part in parts]
    shown = [
        replace(c, product_id=f"{number:06d}{WITHIN}{c.product_id}")
        for number, log in enumerate(logs)
        for c in log.creatives
    ]
    read = product_clicks(compare(shown), products, pictures) if shown else []
    split_up = {part: [p for p in read if split(p.product.id) == part] for part in ("train", "validation", "test")}
    remarks = dict.fromkeys(remark for log in logs for remark in log.remarks)
    return Samples(**split_up, rejected=tuple(r for log in logs for r in log.rejected), remarks=tuple(remarks))


def tell(samples: Samples) -> None:
    """Say on stderr what of the log is left out, and what is doubtful in it."""
    for line in (*samples.rejected, *samples.remarks):
        print(line, file=sys.stderr, flush=True)


def read_part(part: Path, data: Path, products: Mapping[str, Product], side: int, into: dict[str, Pixels]) -> ClickLog:
    """One log, left with the creatives whose product is known and whose picture, put letterboxed `into` by its path,
    can be read."""
    log, folders = read_clicks(part, images=[data]), [data, part if part.is_dir() else part.parent]
    log = replace(log, creatives=tuple(replace(c, image=_path_of(c.image, folders)) for c in log.creatives))
    unreadable = read_pictures(log.creatives, folders, side, into)
    unknown = [f"creative '{c.creative_id}' of '{c.product_id}'" for c in log.creatives if c.product_id not in products]
    kept = tuple(c for c in log.creatives if c.image in into and c.product_id in products)
    rejected = (*log.rejected, *_reject(NO_PICTURE, unreadable), *_reject(NO_PRODUCT, unknown))
    return replace(log, creatives=kept, rejected=rejected)


def windows_of(clicks: Path) -> list[Path]:
    """The folders below `clicks` that hold tables, in order of their names."""
    return sorted({file.parent for file in table_files(clicks)})


def read_titles(data: Path, catalog: Path | None) -> Mapping[str, Product]:
    """Products by id, from the catalogue or from `data`/products.tar."""
    if catalog is not None:
        from caig.data.catalog import read_catalog

        return {product.id: product for product in read_catalog(catalog).products}
    return {product.id: product for product in map(product_of, (item.record for item in read_products(data)))}


def product_of(record: Mapping[str, Any]) -> Product:
    """A rendered product in the words that a catalogue has of it."""
    told = {name: record[name] for name in ("brand", "color", "tags", "price") if name in record}
    return Product(id=record["id"], title=record["title"], category=record["category"], attributes=told)


def read_pictures(
    creatives: Sequence[CreativeClicks], folders: Sequence[Path], side: int, into: dict[str, Pixels]
) -> list[str]:
    """Put letterboxed pictures u8[S, S, 3] by their names `into`, but for those that are there; creatives whose picture
    cannot be read, with the fault."""

    def read(name: str) -> Pixels | ImageError:
        try:
            return letterbox(_read_picture(name, folders, archives), side)
        except ImageError as error:
            return error

    names = [name for name in dict.fromkeys(c.image for c in creatives) if name not in into]
    with closing(Archives()) as archives:
        found = dict(zip(names, read_in_threads(read, names), strict=True))
    into |= {name: picture for name, picture in found.items() if not isinstance(picture, ImageError)}
    return [f"creative '{c.creative_id}', {found[c.image]}" for c in creatives if c.image not in into]


class Archives:
    """Tars, opened once and read by one thread at a time."""

    def __init__(self) -> None:
        self.opened: dict[str, tarfile.TarFile] = {}
        self.lock = Lock()

    def read(self, path: str, member: str) -> bytes:
        """A member's bytes; KeyError, OSError or TarError when there is none."""
        with self.lock:
            if path not in self.opened:
                self.opened[path] = tarfile.open(path)  # noqa: SIM115 - `close` closes it
            file = self.opened[path].extractfile(member)
            if file is None:
                raise KeyError(member)
            return file.read()

    def close(self) -> None:
        for archive in self.opened.values():
            archive.close()


def tokenizer_texts(config: Config) -> list[str]:
    """Texts from which a fresh backbone's vocabulary is made: every training product in some of the questions."""
    products = [
        product for name, product in sorted(read_titles(config.data, config.catalog).items()) if split(name) == "train"
    ]
    asked = QUESTIONS[config.form]
    return [instruct(product, number % len(asked), of=config.form) for number, product in enumerate(products)]


def draw_batch(products: Sequence[ProductClicks], config: Config, seed: int) -> Batch:
    """Draw products in proportion to their number of pictures, then pictures, their order, mirroring and words; where
    the heads alone learn, pictures and words as they are.

    Mirroring keeps the label; changes of colour would not, and are never made. CatalogError without a usable pair.
    """
    rng, (count, of_each) = Random(seed), config.drawn
    usable = [(product, pairs) for product in products if (pairs := product.pairs(config))]
    if not usable:
        got = f"none among {len(products)} products"
        raise CatalogError(
            "pairs", expected="one within the filter", got=got, next_step="Loosen --ratio or --more-than."
        )
    drawn = rng.choices(usable, weights=[len(product.creatives) for product, _ in usable], k=count)
    texts, pictures, columns, pairs = [], [], [], []
    for number, (product, allowed) in enumerate(drawn):
        chosen, start = _choose(product, allowed, of_each, rng), len(pictures)
        label = product.better if config.labels == "soft" else product.observed
        known = set(allowed)
        for (i, a), (j, b) in combinations(enumerate(chosen), 2):
            if (min(a, b), max(a, b)) in known:
                pairs.append((start + i, start + j, label[a, b]))
        texts += [words(product.product, config, rng)] * len(chosen)
        own = [product.pictures[index] for index in chosen]
        pictures += own if config.tune == "heads" else [perhaps_mirrored(picture, rng) for picture in own]
        clicks, impressions = (column[chosen] for column in product.counts)
        weight = 1 / (1 / (clicks + 0.5) + MODEL_VARIANCE)
        columns.append((np.full(len(chosen), number), clicks, impressions, product.log_ctr[chosen], weight))
    first, second, label = zip(*pairs, strict=True)
    owner, *numbers = (torch.from_numpy(np.concatenate(column)) for column in zip(*columns, strict=True))
    clicks, impressions, log_ctr, weight = (column.float() for column in numbers)
    return Batch(
        texts=texts,
        pictures=pictures,
        first=torch.tensor(first),
        second=torch.tensor(second),
        label=torch.tensor(label, dtype=torch.float32),
        product=owner,
        clicks=clicks,
        impressions=impressions,
        log_ctr=log_ctr,
        weight=weight,
        votes=torch.tensor([votes_of(product.product.id, config) for product, _ in drawn]),
        seed=seed,
    )


def votes_of(product_id: str, config: Config) -> list[float]:
    """How much `product_id` weighs for each member of the ensemble: exponential draws, the Bayesian bootstrap (Rubin
    1981). A single member weighs all alike."""
    if config.members == 1:
        return [1.0]
    return [Random(seed_for(config.seed, "vote", product_id, k)).expovariate(1.0) for k in range(config.members)]


def _choose(product: ProductClicks, pairs: Sequence[tuple[int, int]], count: int, rng: Random) -> list[int]:
    """`count` pictures (or all) in random order, the two of one of `pairs` among them."""
    pair = rng.choice(pairs)
    others = [k for k in range(len(product.creatives)) if k not in pair]
    chosen = [*pair, *rng.sample(others, min(max(0, count - 2), len(others)))]
    return rng.sample(chosen, len(chosen))


def product_clicks(
    pairs: Pairs, products: Mapping[str, Product], pictures: Mapping[str, Pixels]
) -> list[ProductClicks]:
    """The creatives of `pairs` by product and window, with their `pictures` (by name) and the labels of its pairs."""
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
            product=products[_bare(pairs.creatives[own[0]]).product_id],
            creatives=tuple(_bare(pairs.creatives[i]) for i in own),
            pictures=tuple(pictures[pairs.creatives[i].image] for i in own),
            better=square,
        )
        for own, square in zip(members, better, strict=True)
    ]


def _bare(creative: CreativeClicks) -> CreativeClicks:
    """The creative without its window."""
    return replace(creative, product_id=creative.product_id.rpartition(WITHIN)[2])


def _path_of(name: str, folders: Sequence[Path]) -> str:
    """Where the picture lies, since two logs may have one name for unlike pictures; `name`, if nowhere."""
    path = find_image(name, folders)
    return name if path is None else "#".join([str(path), *name.split("#", 1)[1:]])


def _read_picture(name: str, folders: Sequence[Path], archives: Archives) -> Pixels:
    """u8[H, W, 3]: a file, or a member of a tar that is opened once."""
    from caig.imaging.reading import read_photo

    path, _, member = (str(find_image(name, folders)), *name.partition("#")[1:])
    if not member:
        return read_photo(path).image
    try:
        return np.asarray(Image.open(io.BytesIO(archives.read(path, member))).convert("RGB"))
    except (OSError, KeyError, tarfile.TarError, Image.DecompressionBombError) as error:
        raise ImageError(
            name, expected="a picture in the archive", got=f"{type(error).__name__}", next_step="Check its name."
        ) from error


def _reject(reason: str, creatives: Sequence[str]) -> list[Rejection]:
    """One rejection of all `creatives`, none when there are none."""
    some = tuple(creatives[:EXAMPLES])
    return [Rejection(reason=reason, what="creatives", count=len(creatives), examples=some)] if creatives else []
