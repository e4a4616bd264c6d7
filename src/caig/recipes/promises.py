"""How well ads keep their promises (`caig evaluate promises`): pass rates, rolls, what stays broken, the worst of each.

out/ads/               a run of `caig generate`; it resumes like one
out/controlnet/        the first seeds painted once each from noise, without plates, where the model has a ControlNet
out/no-controlnet/     and with the ControlNet left out: a plate knows no product, so only noise shows what it keeps
out/worst-<measure>.png  the ten worst delivered ads by each measure
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caig.artifacts import read_json_lines, write_atomic
from caig.data.catalog import RejectedRow
from caig.errors import InputError
from caig.evaluation.gallery import ranked_strip
from caig.evaluation.metrics import mean
from caig.imaging.promises import LEAST, MOST, NAMES
from caig.imaging.writing import encode
from caig.pipeline import ROLLS, AdPipeline
from caig.recipes.generate import Config as Making
from caig.recipes.generate import run as make_ads
from caig.recipes.generate import say
from caig.recipes.generate_report import MANIFEST
from caig.types import Estimate, Product, Size

Line = Mapping[str, Any]
MEASURES = ("extension", "box", "halo", "contact", "overhang", "sharpness", "grain")
SILHOUETTE = ("extension", "box", "halo")  # what a ControlNet on the product's edges is for
WORST, ROW, SIDE = 10, 5, 240  # ads on a sheet, in a row, pixels of height


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is painted and measured.

    Args:
        out: folder for the ads and the sheets; what an earlier run made there is kept
        n: ads per product
        size: width and height in pixels
        seed: of the ads
        rolls: times that an ad is painted at most
        controlnet: paint everything twice more, from noise, with and without the ControlNet, and compare
    """

    out: Path = Path("out/promises")
    n: int = 4
    size: Size = (512, 512)
    seed: int = 0
    rolls: int = ROLLS
    controlnet: bool = True


def run(
    config: Config,
    pipeline: AdPipeline,
    products: Sequence[Product],
    *,
    rejected: Sequence[RejectedRow] = (),
    progress: Callable[[str], None] = say,
) -> list[Estimate]:
    """Make the ads, write the sheets, return the estimates; their intervals resample whole products.

    Products that cannot be used are reported and left out. InputError when none is left.
    """
    making = Making(out=config.out / "ads", n=config.n, size=config.size, seed=config.seed, rolls=config.rolls)
    make_ads(making, pipeline, products, rejected=rejected, progress=progress)
    ads = _lines(making)
    if not ads:
        hint = "Name a catalogue with usable photos."
        raise InputError("promises", expected="at least one product with ads", got="none", next_step=hint)
    for measure in MEASURES:
        write_worst(config.out, ads, measure)
    estimates = measured(ads)
    if config.controlnet and (painters := _with_and_without_controlnet(pipeline)):
        runs = [replace(making, out=config.out / name, rolls=1) for name in ("controlnet", "no-controlnet")]
        for once, painter in zip(runs, painters, strict=True):
            make_ads(once, painter, products, progress=progress)
        estimates += compared(*map(_lines, runs))
    return estimates


def _lines(making: Making) -> list[dict[str, Any]]:
    """The run's ads as its manifest has them, made now or before."""
    return [line for line in read_json_lines(making.out / MANIFEST) if line["status"] == "done"]


def measured(ads: Sequence[Line]) -> list[Estimate]:
    """Pass rates, rolls, breakages and measures over manifest lines of ads."""
    ids = [line["product_id"] for line in ads]
    first = [line["promises"]["tries"][0] for line in ads]

    def share(name: str, values: Sequence[Any]) -> Estimate:
        return mean(name, np.asarray(values, float), ids)

    found = [
        share("kept at the first try", [not one["broken"] for one in first]),
        share("rolls per image", [line["promises"]["rolls"] for line in ads]),
        share("delivered broken", [bool(line["promises"]["broken"]) for line in ads]),
    ]
    for words in dict.fromkeys(NAMES.values()):
        found.append(share(f"{words}, at the first try", [words in one["broken"] for one in first]))
    for measure in MEASURES:
        rows = [(one[measure], key) for one, key in zip(first, ids, strict=True) if one[measure] is not None]
        if rows:
            values, keys = zip(*rows, strict=True)
            found.append(mean(f"{measure}, mean of first tries", values, keys))
    return found


def compared(ads: Sequence[Line], without: Sequence[Line]) -> list[Estimate]:
    """Silhouette measures with the ControlNet left out minus with it, of equal seeds; above 0: worse without."""
    painted = {line["seed"]: line for line in ads}
    pairs = [(painted[line["seed"]]["fidelity"], line["fidelity"]) for line in without if line["seed"] in painted]
    ids = [line["product_id"] for line in without if line["seed"] in painted]
    name = "from noise, without ControlNet minus with"
    return [
        mean(f"{measure}, {name}", [other[measure] - one[measure] for one, other in pairs], ids)
        for measure in SILHOUETTE
        if pairs
    ]


def write_worst(out: Path, ads: Sequence[Line], measure: str) -> Path:
    """Write the ten delivered ads that are worst by `measure`, the worst first, as a picture; return its path."""
    known = [line for line in ads if line["fidelity"][measure] is not None]
    ranked = sorted(known, key=lambda line: -badness(measure, line["fidelity"][measure]))[:WORST]
    rows = [ranked[start : start + ROW] for start in range(0, len(ranked), ROW)]
    strips = [_strip(out / "ads", row, measure) for row in rows]
    width = max((strip.shape[1] for strip in strips), default=1)
    sheet = np.full((sum(strip.shape[0] for strip in strips) or 1, width, 3), 255, np.uint8)
    top = 0
    for strip in strips:
        sheet[top : top + strip.shape[0], : strip.shape[1]] = strip
        top += strip.shape[0]
    path = out / f"worst-{measure}.png"
    write_atomic(path, encode(sheet, "png"))
    return path


def badness(measure: str, value: float) -> float:
    """Larger is worse: as it is where a limit says at most, turned round where it says at least, else the distance from
    a match of 1 in either direction."""
    if measure in MOST:
        return value
    return -value if measure in LEAST else abs(float(np.log(max(value, 1e-3))))


def _strip(folder: Path, row: Sequence[Line], measure: str) -> np.ndarray:
    pictures = [np.asarray(Image.open(folder / line["file"]).convert("RGB")) for line in row]
    captions = [f"{line['fidelity'][measure]:.3f}\n{line['file'][:26]}" for line in row]
    return ranked_strip(pictures, captions, SIDE)


def _with_and_without_controlnet(pipeline: AdPipeline) -> list[AdPipeline]:
    """The pipeline painting from noise, then with the ControlNet's scale at 0 too; [] for a model that has no such."""
    model: Any = pipeline.background_model
    if not hasattr(model, "with_controlnet_scale"):
        return []
    noise = model.from_noise()
    return [replace(pipeline, background_model=one) for one in (noise, noise.with_controlnet_scale(0.0))]
