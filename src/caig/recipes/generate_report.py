"""The manifest and the page of a run of `caig generate`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caig.artifacts import write_atomic, write_json_lines
from caig.errors import ImageError, InputError
from caig.evaluation import gallery
from caig.types import Pixels, Product

MANIFEST, PAGE, STRIP = "manifest.jsonl", "index.html", "ranked.png"
OURS = {PAGE: gallery.GENERATOR, MANIFEST: '"caig_version"'}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run left behind: manifest lines of its ads and failures; `kept` products were done before."""

    out: Path
    ads: tuple[Mapping[str, Any], ...]
    failures: tuple[Mapping[str, Any], ...]
    kept: int

    @property
    def exit_code(self) -> int:
        """0 when every product has its ads, else 1."""
        return 1 if self.failures else 0


def check_out(out: Path) -> None:
    """Raise InputError unless `out` can be written to without losing anything that caig did not write."""
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise _unusable(out, "a folder", f"the file {existing}")
    if not os.access(existing, os.W_OK):
        raise _unusable(out, "a folder to write to", f"{existing}, which is read-only")
    for name, mark in OURS.items():
        path = out / name
        if path.is_file() and mark.encode() not in (path.read_bytes() or mark.encode()):
            raise _unusable(out, "an empty folder or one of an earlier run", f"one with a {name} of something else")


def check_free(folder: Path, job: str) -> None:
    """Raise InputError when the manifest in `folder`, a product's, is of another job than `job`."""
    path = folder / MANIFEST
    if path.is_file() and job.encode() not in path.read_bytes():
        raise _unusable(folder, "no such folder, or one of the same settings", "ads of another job")


def write_report(
    out: Path,
    lines: Sequence[Mapping[str, Any]],
    products: Sequence[Product],
    *,
    kept: int,
    facts: Sequence[tuple[str, str]],
) -> Report:
    """Write the run's page and, last, its manifest."""
    ads = tuple(line for line in lines if line["status"] == "done")
    failures = tuple(line for line in lines if line["status"] == "failed")
    basis = next((line["predicted_ctr"]["basis"] for line in ads), "")
    side = gallery.thumbnail_side(len(ads))
    by_product: dict[str, list[Mapping[str, Any]]] = {}
    for line in ads:
        by_product.setdefault(line["product_id"], []).append(line)
    shown = [product for product in products if product.id in by_product]
    cards = [_product_card(out, product, by_product[product.id], side) for product in shown]
    page = gallery.render(cards, [_failure_card(line) for line in failures], basis=basis, facts=facts)
    write_atomic(out / PAGE, page.encode())
    write_json_lines(out / MANIFEST, lines)
    return Report(out=out, ads=ads, failures=failures, kept=kept)


def write_strip(report: Report, product: Product) -> Path:
    """Write the product's photo and its ads side by side, best first, as out/ranked.png; return its path."""
    from caig.imaging.writing import encode

    ads = [line for line in report.ads if line["product_id"] == product.id]
    pictures = [_picture(product.image), *(_picture(report.out / line["file"]) for line in ads)]
    captions = ["product photo", *(_caption(line) for line in ads)]
    shown = [(picture, caption) for picture, caption in zip(pictures, captions, strict=True) if picture is not None]
    strip = gallery.ranked_strip([picture for picture, _ in shown], [caption for _, caption in shown])
    write_atomic(report.out / STRIP, encode(strip, "png"))
    return report.out / STRIP


def thumbnail(source: Path | Pixels | None, *, side: int) -> str:
    """Return a data URI of a photo, or an empty text when there is none that can be shown."""
    picture = _picture(source)
    return "" if picture is None else gallery.data_uri(picture, side)


def _picture(source: Path | Pixels | None) -> Pixels | None:
    from caig.imaging.reading import read_photo

    if not isinstance(source, Path):
        return source
    try:
        photo = read_photo(source)
    except ImageError:  # a broken photo is reported as such by its product; here it has no thumbnail
        return None
    if photo.alpha is None:
        return photo.image
    alpha = photo.alpha[..., None]
    return np.round(photo.image * alpha + 255 * (1 - alpha)).astype(np.uint8)


def _caption(line: Mapping[str, Any]) -> str:
    ctr = line["predicted_ctr"]
    interval = gallery.percent_range(ctr["low"], ctr["high"])
    return f"{line['rank']}   {ctr['name']} {gallery.percent(ctr['value'])}\n     {interval}"


def _product_card(out: Path, product: Product, lines: Sequence[Mapping[str, Any]], side: int) -> gallery.ProductCard:
    return gallery.ProductCard(
        id=product.id,
        title=product.title,
        category=product.category,
        photo=thumbnail(product.image, side=144),
        ads=tuple(_ad_card(out, line, side) for line in lines),
    )


def _ad_card(out: Path, line: Mapping[str, Any], side: int) -> gallery.AdCard:
    ctr = line["predicted_ctr"]
    return gallery.AdCard(
        rank=line["rank"],
        file=line["file"],
        thumbnail=thumbnail(out / line["file"], side=side),
        description=line["description"],
        ctr=ctr["value"],
        low=ctr["low"],
        high=ctr["high"],
        note=_note(line["promises"]),
    )


def _note(promises: Mapping[str, Any]) -> str:
    """How often the ad was painted and what it still breaks; nothing when the first painting kept every promise."""
    rolls = f"painted {promises['rolls']} times" if promises["rolls"] > 1 else ""
    broken = f"still: {', '.join(promises['broken'])}" if promises["broken"] else ""
    return "; ".join(filter(None, [rolls, broken]))


def _failure_card(line: Mapping[str, Any]) -> gallery.FailureCard:
    return gallery.FailureCard(
        id=line["product_id"] or f"row {line.get('row', '?')}",
        title=line["title"],
        reason=line["reason"],
        photo=line["thumbnail"],
    )


def _unusable(out: Path, expected: str, got: str) -> InputError:
    return InputError(f"out {out}", expected=expected, got=got, next_step="Choose another --out.")
