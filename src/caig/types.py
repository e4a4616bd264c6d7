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
    """Where the product stands: `x` = its centre over the canvas's width, `y` = its base over the height, `scale` = its
    longer side over the canvas's shorter side; all in 0 to 1.

    In banners, longer than twice their shorter side, `scale` is the product's extent across the banner over the
    banner's own (its height in a leaderboard, its width in a skyscraper), as far as it then takes up at most half of
    the banner's length.
    """

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
    """How true the ad is to the photo and how well the product sits in it, measured on the ad's pixels.

    `core_exact`: every core pixel equals the resized photo's, before encoding. `core_coverage`: core area over the
    area with alpha > 0.5. `halo`: mean light of the old ground left in the soft edge, 0 to 1 (0 = none).
    `extension`: share of the band around the product that carries its silhouette on. `box`: how clearly an upright box
    stands around it, 0 to 1. `contact`: how much darker the ground is where the product touches it, at most 1.
    `overhang`: how far the surface's end lies below the base, in product heights, negative above, None where unseen.
    `sharpness` and `grain`: of the surface at the base over the product's. `unrest`: of the space kept clear, None
    without. `psnr`: dB of the core after lossy encoding, None when lossless. `broken`: promises not kept.
    """

    core_exact: bool
    core_coverage: float
    halo: float
    extension: float
    box: float
    contact: float
    overhang: float | None = None
    sharpness: float
    grain: float
    unrest: float | None = None
    psnr: float | None = None
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Try:
    """One painting of a creative: its seed and what was measured."""

    seed: int
    fidelity: Fidelity


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Mean and standard deviation of CIELAB L, a and b over a background."""

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """What an ad hands on to others that shall be like it: description, seed and palette."""

    creative_id: str
    description: Description
    seed: int
    palette: Palette


@dataclass(frozen=True, kw_only=True)
class Direction:
    """What is asked of the pictures: `negative` things not to be seen, a `theme`'s name, `clear` space for copy, the
    creative they shall be `like`, the `palette` of the backgrounds."""

    negative: str = ""
    theme: str = ""
    clear: Box | None = None
    like: Likeness | None = None
    palette: Palette | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """An ad taken apart, from the lowest layer up: `background` u8[H, W, 3], `shadow` u8[H, W] the opacity of black,
    `product` u8[H, W, 4] RGBA. `caig.imaging.compositing.flatten` puts them together to the ad's very pixels."""

    background: Pixels
    shadow: NDArray[np.uint8]
    product: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Creative:
    """One ad image of one product; `id` is the hash of its pixels, `palette` the background's, `tries` every painting
    of it, the delivered one among them; `layers` are None where only the pixels are known."""

    id: str
    product_id: str
    description: Description
    image: Pixels
    background_model: str
    seed: int
    placement: Placement
    fidelity: Fidelity
    palette: Palette
    tries: tuple[Try, ...] = ()
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
