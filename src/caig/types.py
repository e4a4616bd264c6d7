"""The records that stages exchange: frozen, keyword-only, counts rather than bare ratios.

Pixels are sRGB. `u8[H, W, 3]` is a uint8 array with values 0 to 255; `f32[H, W]` lies in 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # u8[H, W, 3]
Alpha = NDArray[np.float32]  # f32[H, W]


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """One product of a catalogue.

    `image` is a path until the photo is read; models get u8[H, W, 3]: the cut-out product on white.
    """

    id: str
    title: str
    category: str = ""
    image: Path | Pixels | None = None
    mask: Path | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Description:
    """A background description, written like a Stable Diffusion prompt; `negative` says what shall not be seen."""

    product_id: str
    text: str
    author: str  # name of the prompt model, or "user"
    seed: int
    negative: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cutout:
    """A product photo with its ground removed.

    `image` u8[H, W, 3] holds foreground colours (soft edges already freed of the old ground),
    `alpha` f32[H, W] is 1 inside the product, `source` says who cut it: mask, alpha, plain-ground or rembg.
    """

    image: Pixels
    alpha: Alpha
    source: str


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the product stands: `scale` = its longer side over the canvas's shorter side, `x` = its centre over the
    width, `y` = its base over the height; all in 0 to 1."""

    scale: float = 0.5
    x: float = 0.5
    y: float = 0.80


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of a canvas: left edge `x` and width `w` over the canvas's width, top edge `y` and height `h` over
    its height, all in 0 to 1."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """A product laid out on an empty canvas.

    `image` u8[H, W, 3] foreground colours, `product` f32[H, W] with 1 = product, `edges` u8[H, W] with 255 = edge of
    the product (never of the old ground), `clear` where copy will stand, so that painters keep it calm.
    """

    image: Pixels
    product: Alpha
    edges: NDArray[np.uint8]
    placement: Placement = Placement()
    clear: Box | None = None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How true the ad is to the photo, measured.

    `core_exact`: every core pixel equals the resized photo's, before encoding. `core_coverage`: core area over the
    area with alpha > 0.5. `halo`: mean light of the old ground left in the soft edge, 0 to 1 (0 = none).
    `psnr`: dB of the core after lossy encoding, None when lossless.
    """

    core_exact: bool
    core_coverage: float
    halo: float
    psnr: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """An ad taken apart, from the lowest layer up: `background` u8[H, W, 3], `shadow` u8[H, W] the opacity of black,
    `product` u8[H, W, 4] RGBA. `caig.imaging.compositing.flatten` puts them together to the ad's very pixels."""

    background: Pixels
    shadow: NDArray[np.uint8]
    product: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Creative:
    """One ad image of one product; `id` is the hash of its pixels, `layers` are None where only those are known."""

    id: str
    product_id: str
    description: Description
    image: Pixels
    background_model: str
    seed: int
    placement: Placement
    fidelity: Fidelity
    layers: Layers | None = None


@dataclass(frozen=True, kw_only=True)
class ClickCounts:
    """Clicks and impressions of one creative: whole numbers in a log, fractions where they are effective counts."""

    clicks: float
    impressions: float

    @property
    def ctr(self) -> float:
        """Observed click-through rate, 0 to 1 (0 without impressions)."""
        return self.clicks / self.impressions if self.impressions else 0.0


@dataclass(frozen=True, kw_only=True)
class Score:
    """A reward model's opinion of one picture.

    `utility` orders pictures of one product; `ctr` is the predicted click-through rate with its 95 % interval
    `low`..`high`, all 0 to 1. `basis` says what the CTR was calibrated on ("simulated" or "click log"). `members` are
    the opinions of an ensemble whose mean is `utility`, for models that have one.
    """

    creative_id: str
    utility: float
    ctr: float
    low: float
    high: float
    basis: str
    members: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RankedAd:
    """A creative with its score; `rank` 1 is the best of its product."""

    rank: int
    creative: Creative
    score: Score
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured number with its 95 % interval and sample size."""

    name: str
    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"


LayerFormat = Literal["ora", "psd"]
Size = tuple[int, int]  # width, height in pixels
Strings = Sequence[str]
