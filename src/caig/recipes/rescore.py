"""Judge the ads of an earlier run anew, by another reward model; what is judged already is not judged again.

out/scores/<key>.json   the scores of a product's ads, by a hash of model, words and pictures
out/scores.jsonl        those of the whole run, written last
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from caig.artifacts import read_json_lines, record_hash, to_json, write_atomic, write_json_lines
from caig.errors import CatalogError, InputError
from caig.models.protocols import RewardModel
from caig.recipes.generate_report import MANIFEST
from caig.types import Product

SCORES = "scores.jsonl"


@dataclass(frozen=True, kw_only=True)
class Ads:
    """A product's words and its ads as the manifest has them, best first."""

    out: Path
    product: Product
    lines: Sequence[Mapping[str, Any]]


def read_ads(out: Path) -> list[Ads]:
    """The products of an earlier run that have ads; InputError when `out` holds none."""
    try:
        lines = [line for line in read_json_lines(out / MANIFEST) if line["status"] == "done"]
    except (OSError, ValueError, KeyError):
        lines = []
    if not lines:
        hint = "Name the --out of a caig generate."
        raise InputError(str(out), expected="a run with ads", got="none", next_step=hint)
    groups = [list(own) for _, own in groupby(lines, key=lambda line: line["product_id"])]
    return [Ads(out=out, product=_product(own[0]), lines=own) for own in groups]


def judge(model: RewardModel, ads: Ads) -> list[dict[str, Any]]:
    """Score lines of a product's ads, read where they lie in `out`/scores, else made and stored.

    CatalogError when a picture is not the one of the manifest.
    """
    mark = {"model": model.name, "fingerprint": getattr(model, "fingerprint", None)}
    about = {"title": ads.product.title, "category": ads.product.category}
    key = record_hash({**mark, **about, "files": [line["file_hash"] for line in ads.lines]})
    path = ads.out / "scores" / f"{key}.json"
    if not path.is_file():
        write_atomic(path, to_json(_scored(model, ads, mark)).encode())
    return json.loads(path.read_text(encoding="utf-8"))


def run(out: Path, results: Callable[[Sequence[Ads]], Mapping[int, list[dict[str, Any]]]]) -> Path:
    """Judge all ads in `out` and write `out`/scores.jsonl; `results` gives each product's lines by its index."""
    ads = read_ads(out)
    found = results(ads)
    write_json_lines(out / SCORES, [line for index in range(len(ads)) for line in found[index]])
    return out / SCORES


def _scored(model: RewardModel, ads: Ads, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    from caig.artifacts import content_hash
    from caig.imaging.reading import read_photo

    pictures = []
    for line in ads.lines:
        path = ads.out / line["file"]
        if not path.is_file() or content_hash(path.read_bytes()) != line["file_hash"]:
            hint = "Run caig generate again; it makes what is missing."
            raise CatalogError(str(path), expected="the manifest's picture", got="none or another", next_step=hint)
        pictures.append(read_photo(path).image)
    scores = model.score(ads.product, pictures, ids=[line["creative_id"] for line in ads.lines])
    return [
        {"product_id": ads.product.id, "creative_id": score.creative_id, "file": line["file"], **mark}
        | {name: getattr(score, name) for name in ("utility", "ctr", "low", "high", "basis")}
        for line, score in zip(ads.lines, scores, strict=True)
    ]


def _product(line: Mapping[str, Any]) -> Product:
    return Product(id=line["product_id"], title=line["title"], category=line["category"])
