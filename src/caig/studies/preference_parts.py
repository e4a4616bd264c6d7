"""What the study of preference optimisation is made of: a judge from a world's clicks, a painter that never paints the
same twice, and the true CTR of what models write."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caig.artifacts import content_hash, read_json_lines, to_json, write_atomic
from caig.data.captions import setting_of
from caig.data.comparisons import split
from caig.data.everyday import suitable_settings
from caig.data.scenes import read_products
from caig.evaluation.match import Described
from caig.imaging.compositing import compose
from caig.models.hub import load_model
from caig.models.protocols import BackgroundModel
from caig.pipeline import as_seen, lay_out, read_cutout
from caig.recipes.pcpo import Config as Training
from caig.recipes.pcpo import Models, optimise
from caig.recipes.pcpo_update import MEASURED
from caig.seeding import seed_for
from caig.shop.shoppers import Ad, World
from caig.shop.simulate import simulate, uniform
from caig.shop.statistics import look
from caig.studies.learnability import features, fit_oracle
from caig.studies.paint import load_painter
from caig.studies.preference import ADS, Config, held_out
from caig.studies.shelf import counts, read_ads
from caig.types import Canvas, Description, Pixels, Placement, Product, Score

SIDE = 256  # of the study's pictures
Floats = NDArray[np.float64]


class Bank:
    """A background model whose pictures are kept: what was painted once, for any row or world, is read."""

    def __init__(self, model: BackgroundModel, folder: Path) -> None:
        self.model, self.folder, self.name = model, folder, model.name

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        """As the model paints them, each alone, so that a picture does not depend on its batch."""
        return [self._one(canvas, *job) for job in zip(descriptions, seeds, strict=True)]

    def _one(self, canvas: Canvas, description: Description, seed: int) -> Pixels:
        about = to_json([content_hash(canvas.image), content_hash(canvas.product), description.text, seed, self.name])
        path = self.folder / f"{content_hash(about.encode())}.webp"
        if not path.is_file():
            picture = self.model.paint(canvas, [description], seeds=[seed])[0]
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "WEBP", lossless=True, method=0)
            write_atomic(path, buffer.getvalue())
        with Image.open(path) as stored:
            return np.asarray(stored.convert("RGB"))


class LookJudge:
    """A reward model that learned from a world's clicks on half of the training products' rendered scenes.

    utility = features(look, category) . weights, the log CTR within a product up to a constant. It sees pixels only:
    where the product stands follows from its photo and the placement.
    """

    def __init__(self, name: str, ads: Sequence[Ad], world: World, config: Config) -> None:
        self.name = name
        log = simulate(world, ads, uniform, config.impressions * len(ads), seed=seed_for(config.seed, name))
        shown, clicks = counts(log, ads).select("impressions", "clicks").to_numpy().T.astype(np.float64)
        self.categories = sorted({ad.product.category for ad in ads})
        owner = np.array([ad.product.id for ad in ads])
        self.weights = fit_oracle(features(ads), owner, clicks, shown)

    def score(self, product: Product, images: Sequence[Pixels], *, ids: Sequence[str]) -> list[Score]:
        """Utilities of pictures at the study's placement; CTRs are exp(utility) times 3 %, for scale only."""
        mask = mask_of(product)
        values = [self._utility(look(image, mask), product.category) for image in images]
        ctrs = [min(1.0, 0.03 * float(np.exp(value))) for value in values]
        return [
            Score(creative_id=id, utility=value, ctr=ctr, low=0.0, high=1.0, basis="simulated")
            for id, value, ctr in zip(ids, values, ctrs, strict=True)
        ]

    def _utility(self, seen: Floats, category: str) -> float:
        one_hot = np.array([float(category == name) for name in self.categories])
        row = np.concatenate([seen, [(seen**2).sum() / 2], np.outer(one_hot, seen).ravel()])
        return float(row @ self.weights)


@dataclass
class Gallery:
    """Products, painter and worlds of a study, and every description and picture that was ever made in it."""

    config: Config
    shelf: Sequence[Product]
    validated: Sequence[Product]
    tested: Sequence[Product]
    ads: Sequence[Ad]
    bank: Bank
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    judges: dict[tuple[int, int], LookJudge] = field(default_factory=dict)
    looked: dict[tuple[str, tuple[str, ...], str], list[Ad]] = field(default_factory=dict)

    @classmethod
    def open(cls, config: Config) -> Gallery:
        """Lay the rendered products out as a catalogue of files and load the painter."""
        painter = load_painter(config.background_model, config.coarse)
        shelf = write_photos(config.scenes, config.out / "photos")
        return cls(
            config=config,
            shelf=shelf,
            validated=held_out(shelf, "validation", config.tested, config.seed),
            tested=held_out(shelf, "test", config.tested, config.seed),
            ads=sorted(read_ads(config.scenes), key=lambda ad: ad.product.id),
            bank=Bank(painter, config.out / "bank"),
        )

    def world(self, seed: int) -> World:
        """The study's world of that seed."""
        return World(seed, shared=self.config.attraction)

    def judge(self, world: int, half: int) -> LookJudge:
        """The reward model (half 0) or the guard (half 1) of a world, from clicks on training products only."""
        if (world, half) not in self.judges:
            train = [ad for ad in self.ads if split(ad.product.id) == "train"]
            own = [ad for ad in train if seed_for("half", ad.product.id) % 2 == half]
            name = f"clicks of half {half} in world {world}"
            self.judges[world, half] = LookJudge(name, own, self.world(world), self.config)
        return self.judges[world, half]

    def train(self, training: Training, world: int) -> str:
        """Optimise in `world`; returns the adapter of the round that the guard model likes best."""
        models = Models(background=self.bank, reward=self.judge(world, 0), guard=self.judge(world, 1))
        folder = optimise(training, self.shelf, models)
        self.seconds[f"{world}/{training.out.name}"] = seconds_of(training.out)
        return str(folder)

    def log_ctr(self, world: int, model: str, products: Sequence[Product]) -> Floats:
        """f64[P, 4]: true log CTR of each product's ads, single samples."""
        return self._true(world, products, [self.singles(model, product) for product in products], "score")

    def chosen(self, world: int, model: str, products: Sequence[Product]) -> Floats:
        """f64[P]: true log CTR of the one of four different ads that the world's reward model likes best."""
        texts = [self.texts(model, product, ADS) for product in products]
        true, judge = self._true(world, products, texts, "score"), self.judge(world, 0)
        picked = []
        for product, own in zip(products, texts, strict=True):
            scores = judge.score(product, self.paint(product, own, "score"), ids=own)
            picked.append(int(np.argmax([score.utility for score in scores])))
        return true[np.arange(len(products)), picked]

    def best(self, world: int, model: str, products: Sequence[Product]) -> Floats:
        """f64[P]: true log CTR of the best of many descriptions, chosen on one painting seed and scored on another."""
        texts = [self.texts(model, product, self.config.headroom) for product in products]
        chosen = self._true(world, products, texts, "choose").argmax(1)
        return self._true(world, products, texts, "score")[np.arange(len(products)), chosen]

    def rows(self, model: str, products: Sequence[Product]) -> list[Described]:
        """Four single samples of each product by `model`, with their settings and whether these suit."""
        rows = []
        for product in products:
            texts = self.singles(model, product)
            named, suitable = [setting_of(text) for text in texts], suitable_settings(product.category) or ()
            matches = tuple(float(setting in suitable) for setting in named)
            rows.append(
                Described(
                    product_id=product.id,
                    category=product.category,
                    texts=tuple(texts),
                    settings=tuple(named),
                    matches=matches,
                )
            )
        return rows

    def singles(self, model: str, product: Product) -> list[str]:
        """Four descriptions, each drawn by itself: what the model writes when nothing makes texts differ."""
        return self.texts(model, product, ADS, differ=False)

    def texts(self, model: str, product: Product, count: int, differ: bool = True) -> list[str]:
        """Descriptions by the model called `model`, `count` different ones or what it prefers, kept in a file."""
        path = self.config.out / "texts" / content_hash(to_json([model, product.id, count, differ]).encode())
        if not path.is_file():
            seed = seed_for(self.config.seed, "study", count)
            found = self._load(model).describe(as_seen(product), count, seed=seed, differ=differ)
            write_atomic(path, to_json([one.text for one in found]).encode())
        return json.loads(path.read_text(encoding="utf-8"))

    def paint(self, product: Product, texts: Sequence[str], purpose: str) -> list[Pixels]:
        """Finished ads, each purpose from a seed of its own."""
        canvas = canvas_of(product)
        seed = seed_for(self.config.seed, purpose, product.id)
        jobs = [Description(product_id=product.id, text=text, author="", seed=seed) for text in texts]
        painted = self.bank.paint(canvas, jobs, seeds=[seed] * len(jobs))
        return [compose(canvas, one) for one in painted]

    def kl(self, model: str) -> float:
        """Nats a description between the tuned model and its reference, as its best round measured it."""
        return json.loads((Path(model) / MEASURED).read_text())["kl"]

    def _true(self, world: int, products: Sequence[Product], texts: Sequence[Sequence[str]], purpose: str) -> Floats:
        ads = [self._ads(product, tuple(own), purpose) for product, own in zip(products, texts, strict=True)]
        return np.array([np.log(self.world(world).ctr(own)) for own in ads])

    def _ads(self, product: Product, texts: tuple[str, ...], purpose: str) -> list[Ad]:
        """A product's ads, looked at once for all worlds."""
        if (key := (product.id, texts, purpose)) not in self.looked:
            mask = mask_of(product)
            self.looked[key] = [Ad.of("", image, mask, product) for image in self.paint(product, texts, purpose)]
        return self.looked[key]

    def _load(self, name: str) -> Any:
        if getattr(self, "_loaded", ("", None))[0] != name:
            self._loaded = (name, load_model(name, "prompt"))
        return self._loaded[1]


def seconds_of(run: Path) -> dict[str, float]:
    """Seconds that each step of a run of preference optimisation took over all of its rounds."""
    found: dict[str, float] = {}
    for line in read_json_lines(run / "log.jsonl"):
        for name in line:
            if name.startswith("seconds_"):
                found[name] = round(found.get(name, 0.0) + line[name], 1)
    return found


def write_photos(scenes: Path, folder: Path) -> list[Product]:
    """The rendered products as PNG files with alpha, and as records of a catalogue."""
    folder.mkdir(parents=True, exist_ok=True)
    products = []
    for record in read_products(scenes):
        path = folder / f"{record.id}.png"
        if not path.is_file():
            Image.fromarray(record.rgba()).save(path)
        about = record.record
        products.append(Product(id=record.id, title=about["title"], category=about["category"], image=path))
    return products


def canvas_of(product: Product) -> Canvas:
    """The product at the study's size and the default placement."""
    return lay_out(read_cutout(product), (SIDE, SIDE), Placement())


def mask_of(product: Product) -> Any:
    """f32[SIDE, SIDE]: where the product stands in the study's pictures."""
    return canvas_of(product).product
