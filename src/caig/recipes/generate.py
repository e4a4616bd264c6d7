"""Ads for one product or a catalogue: pictures, manifest and page; what is done already is not done again.

out/<product id>/rank-1.png …    the ads, best predicted CTR first
out/<product id>/manifest.jsonl  one line per ad; it appears together with them, so a folder is whole or absent
out/manifest.jsonl               the same lines for the whole run, and one for each product that failed
out/index.html                   the run on one page
"""

from __future__ import annotations

import io
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caig import __version__
from caig.artifacts import content_hash, published_folder, read_json_lines, record_hash, write_json_lines
from caig.data.catalog import RejectedRow, folder_name
from caig.errors import CaigError, InputError
from caig.evaluation.gallery import count, ctr_name, percent, percent_range
from caig.pipeline import ROLLS, check_count, check_direction, check_rolls, lay_out, read_cutout
from caig.recipes.generate_report import MANIFEST, Report, check_free, check_out, thumbnail, write_report
from caig.types import Creative, Direction, LayerFormat, Pixels, Placement, Product, RankedAd, Size

SUFFIXES = {"png": ".png", "webp": ".webp", "jpeg": ".jpg"}
Line = Mapping[str, Any]
Core = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a run makes.

    Args:
        out: folder for the results; it may hold an earlier run, of which the finished products are kept
        n: ads per product
        size: width and height in pixels, 64 to 2048 each
        seed: the same seed gives the same ads
        placement: where the product stands; None: as is usual for the format
        rolls: times that an ad is painted at most until it keeps its promises
        direction: what is asked of the pictures: theme, negatives, space for copy, palette
        format: file format of the ads; webp and jpeg are lossy
        quality: of webp and jpeg, 1 to 100
        digital_source_type: IPTC term in the pictures' metadata
        layers: write each ad as a file with layers too: ora (OpenRaster) or psd (extra `caig[psd]`)
    """

    out: Path = Path("out")
    n: int = 4
    size: Size = (1024, 1024)
    seed: int = 0
    placement: Placement | None = None
    rolls: int = ROLLS
    direction: Direction = Direction()
    format: Literal["png", "webp", "jpeg"] = "png"
    quality: int = 92
    digital_source_type: Literal["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"] = (
        "compositeWithTrainedAlgorithmicMedia"
    )
    layers: LayerFormat | None = None

    def __post_init__(self) -> None:
        check_count(self.n)
        check_rolls(self.rolls)
        check_direction(self.direction, self.n)
        if self.layers:
            from caig.imaging.layered import check_layer_format

            check_layer_format(self.layers)
        if not 1 <= self.quality <= 100:
            hint = "92 is hard to tell from lossless."
            raise InputError("quality", expected="1 to 100", got=str(self.quality), next_step=hint)


class Pipeline(Protocol):
    """What a run needs: `caig.pipeline.AdPipeline`, or anything with these."""

    @property
    def cutout(self) -> str:
        """How photos without mask and alpha are cut out."""
        ...

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """Role -> name and fingerprint of each model."""
        ...

    def generate(
        self,
        product: Product,
        *,
        n: int,
        size: Size,
        seed: int,
        placement: Placement | None,
        rolls: int,
        direction: Direction,
    ) -> Sequence[RankedAd]:
        """Return `n` ads of `product`, rank 1 first."""
        ...


def say(line: str) -> None:
    """Print progress to stderr, out of the way of programs that read stdout."""
    print(line, file=sys.stderr, flush=True)


def run(
    config: Config,
    pipeline: Pipeline,
    products: Sequence[Product],
    *,
    rejected: Sequence[RejectedRow] = (),
    strict: bool = False,
    overwrite: bool = True,
    progress: Callable[[str], None] = say,
) -> Report:
    """Make `config.n` ads of each product; one that fails is reported and leaves the others alone.

    `rejected` rows of the catalogue are reported too. With `strict` the first failure is raised, before anything is
    written for that product.

    Raises:
        InputError: `config.out` is no folder, or holds a page or manifest that caig did not write; or, without
            `overwrite`, a product's folder holds ads that other settings made.
    """
    check_out(config.out)
    keys = [job_key(config, pipeline, product) for product in products]
    if not overwrite:
        for product, key in zip(products, keys, strict=True):
            check_free(_folder(config, product), key)
    kept = [finished(config, product, key) for product, key in zip(products, keys, strict=True)]
    for row in rejected:
        progress(f"row {row.row} {row.id}: failed: {row.reason}")
    pace = Pace(progress, config, todo=kept.count(None), kept=len(products) - kept.count(None))
    lines: list[Line] = []
    for product, key, done in zip(products, keys, kept, strict=True):
        if done is None:
            done = attempt(config, pipeline, product, key, strict=strict)
            pace.step(product, done)
        lines += done
    lines += [failure(row, row.reason, row=row.row) for row in rejected]
    return write_report(config.out, lines, products, kept=pace.kept, facts=facts(config, pipeline.models()))


def job_key(config: Config, pipeline: Pipeline, product: Product) -> str:
    """Return a hash of all that decides how the product's ads look; a finished product with this key is kept."""
    about = {"id": product.id, "title": product.title, "category": product.category}
    return record_hash(
        {
            **about,
            "attributes": {name: str(value) for name, value in product.attributes.items()},
            "image": _hash_of(product.image),
            "mask": _hash_of(product.mask),
            "settings": {name: value for name, value in vars(config).items() if name != "out"},
            "models": pipeline.models(),
            "cutout": pipeline.cutout,
            "version": __version__,
        }
    )


def finished(config: Config, product: Product, key: str) -> list[Line] | None:
    """Return the manifest lines of a product that is done with this key, its files intact; else None."""
    try:
        lines = read_json_lines(_folder(config, product) / MANIFEST)
        whole = all(content_hash((config.out / line["file"]).read_bytes()) == line["file_hash"] for line in lines)
        whole &= all((config.out / line["layers"]).is_file() for line in lines if line["layers"])
        return list(lines) if whole and [line["job"] for line in lines] == [key] * config.n else None
    except (OSError, ValueError, KeyError):
        return None


def make(config: Config, pipeline: Pipeline, product: Product, key: str) -> list[Line]:
    """Make the ads of one product and publish its folder; return its manifest lines.

    Raises:
        CaigError: the product cannot be used, or its folder is one that caig did not write.
    """
    target = _folder(config, product)
    _check_folder(product, target)
    asked = {name: getattr(config, name) for name in ("n", "size", "seed", "placement", "rolls", "direction")}
    ads = pipeline.generate(product, **asked)
    core = None if config.format == "png" else _core(config, pipeline, product)
    shared = {"job": key, "models": pipeline.models(), "caig_version": __version__}
    with published_folder(target) as folder:
        lines = [_write_ad(config, product, ad, core, folder, target.name) | shared for ad in ads]
        write_json_lines(folder / MANIFEST, lines)
    return list(lines)


def _write_ad(
    config: Config, product: Product, ad: RankedAd, core: Core | None, folder: Path, name: str
) -> dict[str, Any]:
    from caig.imaging.writing import encode

    creative = ad.creative
    data = encode(creative.image, config.format, source_type=config.digital_source_type, quality=config.quality)
    file = f"rank-{ad.rank}{SUFFIXES[config.format]}"
    (folder / file).write_bytes(data)
    layered = _write_layers(config, ad, folder)
    return {
        "status": "done",
        "product_id": product.id,
        "title": product.title,
        "category": product.category,
        "rank": ad.rank,
        "file": f"{name}/{file}",
        "file_hash": content_hash(data),
        "layers": layered and f"{name}/{layered}",
        "creative_id": creative.id,
        "description": creative.description.text,
        "description_author": creative.description.author,
        "description_seed": creative.description.seed,
        "negative": creative.description.negative,
        "theme": config.direction.theme,
        "clear": config.direction.clear,
        "like": config.direction.like and config.direction.like.creative_id,
        "seed": creative.seed,
        "palette": creative.palette,
        "size": creative.image.shape[1::-1],
        "placement": creative.placement,
        "digital_source_type": config.digital_source_type,
        "predicted_ctr": _predicted(ad),
        "fidelity": replace(creative.fidelity, psnr=None if core is None else _psnr(creative.image, data, core)),
        "promises": _promises(creative),
        "seconds": {stage: round(seconds, 3) for stage, seconds in ad.seconds.items()},
    }


def _promises(creative: Creative) -> dict[str, Any]:
    """What the ad breaks, how often it was painted, and what was measured on each painting, with the limits."""
    from caig.imaging.promises import LIMITS

    tries = [{"seed": one.seed, **vars(one.fidelity)} for one in creative.tries]
    return {"broken": creative.fidelity.broken, "rolls": len(tries), "limits": LIMITS, "tries": tries}


def _write_layers(config: Config, ad: RankedAd, folder: Path) -> str | None:
    """Write the ad's layers beside it and return the file's name; None when none are wanted."""
    from caig.imaging.layered import encode_layers

    if config.layers is None:
        return None
    if ad.creative.layers is None:
        raise InputError("layers", expected="a pipeline that keeps them", got="none", next_step="Leave --layers out.")
    file = f"rank-{ad.rank}.{config.layers}"
    (folder / file).write_bytes(encode_layers(ad.creative.layers, config.layers))
    return file


def _core(config: Config, pipeline: Pipeline, product: Product) -> Core:
    """Return which pixels of the product's ads are the photo's own."""
    from caig.imaging.compositing import core_mask

    cutout = read_cutout(product, pipeline.cutout)
    return core_mask(lay_out(cutout, config.size, config.placement, config.direction.clear).product)


def _psnr(image: Pixels, data: bytes, core: Core) -> float:
    """Return the PSNR in dB of the core after lossy encoding."""
    from caig.imaging.fidelity import psnr

    with Image.open(io.BytesIO(data)) as picture:
        return round(psnr(image, np.asarray(picture.convert("RGB")), core), 2)


def _predicted(ad: RankedAd) -> dict[str, Any]:
    score = ad.score
    return {
        "name": ctr_name(score.basis),
        "value": score.ctr,
        "low": score.low,
        "high": score.high,
        "utility": score.utility,
        "basis": score.basis,
    }


def attempt(config: Config, pipeline: Pipeline, product: Product, key: str, *, strict: bool = False) -> list[Line]:
    """`make`, but a failure becomes a manifest line; one that nobody foresaw keeps its traceback."""
    try:
        return make(config, pipeline, product, key)
    except CaigError as error:
        if strict:
            raise
        return [failure(product, str(error))]
    except Exception as error:
        if strict:
            raise
        reason = f"unexpected {type(error).__name__}: {error}"
        return [failure(product, reason, traceback=traceback.format_exc())]


def failure(about: Product | RejectedRow, reason: str, **more: Any) -> Line:
    """The manifest line of a product that failed, or of a row that is none."""
    return {
        "status": "failed",
        "product_id": about.id,
        "title": about.title,
        "reason": " ".join(reason.split()),
        "photo": about.image if isinstance(about.image, Path) else None,
        "thumbnail": thumbnail(about.image, side=160),
        **more,
        "caig_version": __version__,
    }


def _check_folder(product: Product, target: Path) -> None:
    if not product.id.strip():
        raise InputError("product id", expected="a text", got="an empty one", next_step="Give the product an id.")
    if target.exists() and not (target / MANIFEST).is_file():
        raise InputError(
            str(target),
            expected="no such folder, or one from an earlier run",
            got="something that caig did not write",
            next_step="Move it away or choose another --out.",
        )


def _folder(config: Config, product: Product) -> Path:
    return config.out / folder_name(product.id)


def _hash_of(source: Any) -> str | None:
    try:
        return None if source is None else content_hash(source.read_bytes() if isinstance(source, Path) else source)
    except OSError:  # the product fails when its turn comes
        return None


def facts(config: Config, models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What the page says of a run."""
    width, height = config.size
    names = [(f"{role.capitalize()} model", str(model["name"])) for role, model in models.items()]
    return [("Size", f"{width} × {height}"), ("Seed", str(config.seed)), *names, ("caig", __version__)]


class Pace:
    """Tells how far a run is and how long the rest takes, from the mean of what was done."""

    def __init__(self, progress: Callable[[str], None], config: Config, *, todo: int, kept: int) -> None:
        self.progress, self.todo, self.kept, self.made = progress, todo, kept, 0
        self.started = time.monotonic()
        before = f", {kept} done before" if kept else ""
        hint = "; the first product tells how long the rest takes" if todo > 1 else ""
        width, height = config.size
        ads = count(config.n, "ad")
        progress(f"{count(todo, 'product')} to do{before}: {ads} of {width}x{height} each into {config.out}{hint}")

    def step(self, product: Product, lines: Sequence[Line]) -> None:
        """Report one product that was just made or failed."""
        self.made += 1
        each = (time.monotonic() - self.started) / self.made
        left = self.todo - self.made
        estimate = f", about {duration(each * left)} left" if left else ""
        self.progress(f"[{self.made}/{self.todo}{estimate}] {product.id}: {_outcome(lines)}")


def _outcome(lines: Sequence[Line]) -> str:
    if lines[0]["status"] == "failed":
        return f"failed: {lines[0]['reason']}"
    best = lines[0]["predicted_ctr"]
    interval = percent_range(best["low"], best["high"])
    return f"{count(len(lines), 'ad')}, best {best['name']} {percent(best['value'])} ({interval}){_kept(lines)}"


def _kept(lines: Sequence[Line]) -> str:
    """What was painted again and what stays broken, or nothing."""
    again = sum(line["promises"]["rolls"] > 1 for line in lines)
    broken = [line["promises"]["broken"] for line in lines if line["promises"]["broken"]]
    names = ", ".join(dict.fromkeys(name for one in broken for name in one))
    parts = [f"{count(again, 'ad')} painted again"] if again else []
    parts += [f"{len(broken)} still with: {names}"] if broken else []
    return "".join(f", {part}" for part in parts)


def duration(seconds: float) -> str:
    """Write a time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
