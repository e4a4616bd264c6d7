"""Plates: pictures of furnished sets without a product, from which a background model may start.

A checkpoint folder with a `plates.tar` is painted by retrieval: the description and the product's place choose a plate,
and the diffusion model goes on from it (retrieval-augmented diffusion, Blattmann et al., arXiv 2204.11824; starting
from a noised picture, Meng et al., SDEdit, arXiv 2108.01073). A deviation from the paper, which paints from noise: a
painter small enough to be trained on a CPU learns light and palette, but no things. Full-size ones have no plates.

`plates.tar` holds per plate `<id>.image.webp`, `<id>.stand.json` (where a product would stand: left, top, right, bottom
as shares of width and height) and `<id>.json` with `captions` and, where known, the factors of `data/vocabulary.json`.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.data.scenes import decode, read_groups, write_archive
from caig.data.vocabulary import blur_of, vocabulary
from caig.errors import InputError
from caig.imaging.canvas import product_box
from caig.imaging.promises import beyond
from caig.imaging.silhouette import extension
from caig.imaging.standing import surface_end
from caig.types import Box, Canvas, Description, Pixels, Size

PLATES = "plates.tar"
FILES = frozenset({"json", "stand.json", "image.webp"})
# Place and light are what a description is judged by: with 3 and 1.5 half of the plates had another light than asked.
WEIGHTS = {"setting": 10.0, "lighting": 7.0, "floor": 1.0, "backdrop": 1.0, "props": 1.0, "blur": 0.5, "caption": 1.0}
MISFIT = 0.1  # what a plate loses by standing badly, beside a text match of 0 to 1
NEAR = 0.05  # plates this close to the best one take turns by seed
FAR = 0.35  # and those this close may stand in for one before which the product can't be shown
TRIES = 12  # plates and mirror images, at most, until one is sound
MOST_ZOOM = 1.6  # a plate is enlarged by at most this beyond what covers the canvas
FRAMING = 0.15  # a seed shows a plate up to this much larger, so that two seeds of one description differ
CALM = 0.2  # deviation of the blur where copy will stand, over that space's shorter side
STRETCH = 2.0  # canvases this much wider than a plate, for their height, continue it by mirror images

Sides = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, kw_only=True, eq=False)
class Plate:
    """One set without its product; `stand` in shares of width and height."""

    id: str
    encoded: bytes
    size: Size
    stand: Sides
    phrases: Mapping[str, tuple[str, ...]]
    """Factor -> the phrases that say it."""

    def pixels(self) -> Pixels:
        """u8[H, W, 3]"""
        return decode(self.encoded, "RGB")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a plate lies on a canvas: enlarged by `scale`, its corner at (`x`, `y`), perhaps `mirrored`.

    `misfit` 0 and on: distance of the product from where the plate's product would stand, in canvas heights, and how
    far their sizes differ.
    """

    scale: float
    x: float
    y: float
    mirrored: bool
    misfit: float


class PlateBank:
    """The plates of a checkpoint."""

    def __init__(self, plates: Sequence[Plate]) -> None:
        self.plates = list(plates)

    @classmethod
    def read(cls, folder: Path) -> PlateBank | None:
        """The bank in `folder`/plates.tar; None when there is none. InputError for a plate that lacks a file."""
        path = folder / PLATES
        if not path.is_file():
            return None
        return cls([_plate(files) for files in read_groups(path, FILES)])

    def lay(self, description: Description, canvas: Canvas, *, seed: int) -> Pixels:
        """u8[H, W, 3] of the canvas's size: the plate that fits description and product, its stand below the product.

        Plates that fit about as well take turns by seed. Where one would break what an ad promises around the product,
        its mirror image is tried, then the next best plates. Where copy will stand, the calmest of those that fit as
        well is taken there, and calmed. What the negative text names counts against a plate.
        """
        size = canvas.product.shape[1], canvas.product.shape[0]
        rng = np.random.default_rng(seed)
        mirrored, zoom = bool(rng.integers(2)), 1 + FRAMING * float(rng.random())
        box = product_box(canvas.product)

        def fit(plate: Plate, way: bool) -> Fit:
            return fit_plate(plate.size, plate.stand, box, size, way, zoom)

        misfits = np.array([fit(plate, mirrored).misfit for plate in self.plates])
        worth = self.match(description.text) - MISFIT * misfits
        if description.negative:
            worth -= self.match(description.negative)
        best = worth.max()
        near = rng.permutation(np.flatnonzero(worth >= best - NEAR))
        rest = [k for k in np.argsort(-worth, kind="stable") if best - NEAR > worth[k] >= best - FAR]
        order = [(self.plates[k], way) for some in (near, rest) for way in (mirrored, not mirrored) for k in some]
        laid = (warp(plate.pixels(), fit(plate, way), size) for plate, way in order)
        if canvas.clear is None:
            return first_sound(islice(laid, TRIES), canvas)
        return min((calmed(p, canvas.clear) for p in islice(laid, len(near))), key=itemgetter(0))[1]

    def match(self, text: str) -> NDArray[np.float64]:
        """f64[N], 0 to 1: how far each plate is what `text` says, phrase by phrase, the setting counting most.

        A phrase is compared with every phrase of a plate's factors: cosine of their words, weighted by rarity.
        """
        words, vectors, groups, kinds = self._index
        total, best = np.zeros(len(self.plates)), 0.0
        for phrase in filter(None, (part.strip() for part in text.split(","))):
            vector = _vector(phrase, words)
            likeness = vectors @ (vector / max(float(np.linalg.norm(vector)), 1e-9))
            said = np.array([max((likeness[k] for k in group), default=0.0) for group in groups["phrases"]])
            worth = said * groups["weight"]
            total += worth[kinds].max(1)
            best += float(worth.max())
        return total / max(best, 1e-9)

    @cached_property
    def _index(self) -> tuple[dict[str, tuple[int, float]], NDArray[np.float64], dict[str, Any], NDArray[np.intp]]:
        """Words with column and rarity; unit vectors of all phrases; groups of phrases that say one factor value with
        its weight; and per plate the groups it holds, i64[N, factors]."""
        phrases = sorted({p for plate in self.plates for said in plate.phrases.values() for p in said})
        number = {phrase: k for k, phrase in enumerate(phrases)}
        counts = Counter(word for phrase in phrases for word in set(_words(phrase)))
        words = {w: (k, float(np.log(1 + len(phrases) / counts[w]))) for k, w in enumerate(sorted(counts))}
        vectors = np.array([_vector(phrase, words) for phrase in phrases])
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        groups: dict[tuple[str, tuple[str, ...]], int] = {}
        kinds = [
            [groups.setdefault((factor, plate.phrases.get(factor, ())), len(groups)) for factor in WEIGHTS]
            for plate in self.plates
        ]
        table = {
            "phrases": [[number[p] for p in said] for _, said in groups],
            "weight": np.array([WEIGHTS[factor] for factor, _ in groups]),
        }
        return words, vectors, table, np.array(kinds)


def first_sound(grounds: Iterable[Pixels], canvas: Canvas) -> Pixels:
    """The first of `grounds` u8[H, W, 3] before which the product keeps its promises, or else the one that breaks them
    by least: a ball behind a bottle's neck, or a table's end above its base, stays whatever is painted from it."""
    best, least = None, np.inf
    for ground in grounds:
        if (odds := at_odds(ground, canvas)) < least:
            best, least = ground, odds
        if not least:
            break
    assert best is not None
    return best


def at_odds(ground: Pixels, canvas: Canvas) -> float:
    """By how much of their limits the product before `ground` is extended and hangs before what lies behind; 0: both
    promises are kept."""
    ad = np.where(canvas.product[..., None] > 0.5, canvas.image, ground)
    extended, hangs = extension(ad, canvas.product), surface_end(ad, canvas.product)
    return beyond("extension", extended) + beyond("overhang", hangs)


def join_plates(folder: Path, path: Path) -> int:
    """Join `folder`'s plates-*.tar into the bank `path`, records without what only the renderer needs; how many.

    InputError when there are none. The same plates give the same bytes.
    """
    archives = sorted(Path(folder).glob("plates-*.tar"))
    plates = [files for archive in archives for files in read_groups(archive, FILES)]
    if not plates:
        raise InputError(
            str(folder), expected="plates-*.tar", got="none there", next_step="Render some: `make scenes PLATES=360`."
        )
    write_archive(path, (member for files in plates for member in _kept(files)))
    return len(plates)


def _kept(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """A plate's members of the bank."""
    record = json.loads(files["json"])
    kept = {key: value for key, value in record.items() if key not in ("product", "take", "pose")}
    for suffix, data in {**files, "json": json.dumps(kept).encode()}.items():
        yield f"{record['id']}.{suffix}", data


def fit_plate(plate: Size, stand: Sides, product: Sides, canvas: Size, mirrored: bool, zoom: float = 1.0) -> Fit:
    """Where a plate of `plate` (W, H) pixels goes on `canvas` (W, H), so that what would stand on it stands where
    the product does (`product` in pixels of the canvas), as large as the product, with no gap where that can be; `zoom`
    times as large as that, 1 or more.

    A canvas `STRETCH` times wider for its height than the plate is not covered in its width: mirror images continue it
    there. A tall one is covered, since a mirror image would put ground above the sky.
    """
    wide, high = plate
    left, right = (1 - stand[2], 1 - stand[0]) if mirrored else (stand[0], stand[2])
    covers = canvas[0] / wide, canvas[1] / high
    least = covers[1] if covers[0] > STRETCH * covers[1] else max(covers)
    wanted = (product[3] - product[1]) / ((stand[3] - stand[1]) * high)
    scale = zoom * float(np.clip(wanted, least, MOST_ZOOM * least))
    x = _cover((product[0] + product[2]) / 2 - scale * wide * (left + right) / 2, scale * wide, canvas[0])
    y = _cover(product[3] - scale * high * stand[3], scale * high, canvas[1])
    off_x = (product[0] + product[2]) / 2 - (x + scale * wide * (left + right) / 2)
    off_y = product[3] - (y + scale * high * stand[3])
    away = (0.5 * abs(off_x) + 2 * abs(off_y)) / min(canvas)
    size = abs(np.log((product[2] - product[0]) / (scale * wide * (right - left))))
    return Fit(scale=scale, x=x, y=y, mirrored=mirrored, misfit=float(away + 0.3 * size + abs(np.log(wanted / scale))))


def warp(pixels: Pixels, fit: Fit, size: Size) -> Pixels:
    """The plate u8[h, w, 3] laid on a canvas of `size` (W, H) as `fit` says; mirror images continue it."""
    source = np.ascontiguousarray(pixels[:, ::-1] if fit.mirrored else pixels)
    scale = fit.scale
    if scale < 1:  # averaged down first, so that fine textures don't flicker
        smaller = max(1, round(source.shape[1] * scale)), max(1, round(source.shape[0] * scale))
        source, scale = cv2.resize(source, smaller, interpolation=cv2.INTER_AREA), 1.0
    columns = _mirrored((np.arange(size[0]) + 0.5 - fit.x) / scale, source.shape[1])
    rows = _mirrored((np.arange(size[1]) + 0.5 - fit.y) / scale, source.shape[0])
    x, y = (grid.astype(np.float32) for grid in np.meshgrid(columns, rows))
    return cv2.remap(source, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)  # pyright: ignore


def _mirrored(at: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Pixel centres in a picture of `length` that stand for the places `at` in its endless row of mirror images."""
    at = np.mod(at, 2 * length)
    return np.minimum(at, 2 * length - at) - 0.5


def calmed(pixels: Pixels, clear: Box) -> tuple[float, Pixels]:
    """`pixels` u8[H, W, 3] smoothed inside `clear`, and how many levels that moved them there on average."""
    height, width = pixels.shape[:2]
    part = np.zeros((height, width), np.float32)
    rows, columns = clear.y * height, clear.x * width
    part[round(rows) : round(rows + clear.h * height), round(columns) : round(columns + clear.w * width)] = 1
    sigma = max(1.0, CALM * min(clear.w * width, clear.h * height))
    weight = cv2.GaussianBlur(part, (0, 0), sigma / 2)[..., None]
    inside = np.maximum(cv2.GaussianBlur(part, (0, 0), sigma), 1e-3)[..., None]
    smooth = cv2.GaussianBlur(pixels * part[..., None], (0, 0), sigma) / inside
    change = weight * (smooth - pixels)
    return float(np.abs(change).mean()), np.clip(pixels + change + 0.5, 0, 255).astype(np.uint8)


def _cover(start: float, length: float, room: int) -> float:
    """`start` moved so that start..start+length covers 0..room, or lies within it where it is shorter."""
    low, high = sorted((0.0, room - length))
    return min(max(start, low), high)


def _plate(files: Mapping[str, bytes]) -> Plate:
    record, stand = json.loads(files["json"]), json.loads(files["stand.json"])
    return Plate(
        id=record["id"],
        encoded=files["image.webp"],
        size=tuple(record["size"]),
        stand=(stand["left"], stand["top"], stand["right"], stand["bottom"]),
        phrases=_factor_phrases(record) or {"caption": _phrases(record["captions"])},
    )


def _factor_phrases(record: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What the vocabulary says of the record's factors; a plate from elsewhere has captions only."""
    words = vocabulary()
    if record.get("setting") not in words.settings:
        return {}
    tables = {"floor": words.floors, "backdrop": words.backdrops, "props": words.props, "lighting": words.lights}
    return {
        "setting": words.settings[record["setting"]].phrases,
        "blur": words.blur[blur_of(record["aperture"])],
        **{factor: table.get(record[factor], ()) for factor, table in tables.items()},
    }


def _phrases(captions: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({phrase.strip() for caption in captions for phrase in caption.split(",")}))


def _words(phrase: str) -> list[str]:
    """Words in lower case, without plural s."""
    return [word.removesuffix("s") for word in re.findall(r"[a-z]{3,}", phrase.lower())]


def _vector(phrase: str, words: Mapping[str, tuple[int, float]]) -> NDArray[np.float64]:
    vector = np.zeros(len(words))
    for word in _words(phrase):
        if word in words:
            column, rarity = words[word]
            vector[column] = rarity
    return vector
