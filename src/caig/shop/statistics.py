"""What the simulated shoppers see: nine perceptual statistics of a picture and the product's mask, nothing else.

Each is a pure function of a `View` and says where it comes from. `look` gives all of them, standardised by the fixed
mean and deviation that each has over rendered scenes, so that a look of 0 is an ordinary picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from caig.errors import InputError
from caig.types import Alpha, Pixels

SIDE = 256  # pictures are judged at an area of about SIDE^2
TOLERANCE = 0.05  # of the side: closer sizes are left alone, resampling would only blur them
LEAST_PIXELS = 16  # inside the product, around it and in the background
FARTHEST = 3.0  # deviations from the ordinary beyond which shoppers see no difference

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A picture of about 256^2 pixels and its parts."""

    rgb: NDArray[np.float32]  # f32[h, w, 3], 0 to 255
    lab: NDArray[np.float32]  # f32[h, w, 3], CIE L*a*b* (D65)
    product: Mask  # bool[h, w]
    ring: Mask  # around the product: a twelfth of the shorter side wide, two pixels off its edge
    background: Mask  # all that is not product, two pixels off its edge


def view(image: Pixels, mask: Alpha) -> View:
    """Bring `image` u8[H, W, 3] and the product's `mask` f32[H, W] to the size at which they are judged.

    Raises:
        InputError: mask and picture differ in size, or nearly nothing of product or background is to be seen.
    """
    if image.shape != (*mask.shape, 3):
        got = f"a picture of shape {image.shape} with a mask of shape {mask.shape}"
        raise InputError("mask", expected="u8[H, W, 3] and f32[H, W]", got=got, next_step="Give its own mask.")
    rgb, inside = (_resize(pixels.astype(np.float32)) for pixels in (image, mask))
    product = inside > 0.5
    near, ring = (_grow(product, by) for by in (2, round(min(product.shape) / 12)))
    seen = View(
        rgb=rgb,
        lab=cv2.cvtColor(rgb / 255, cv2.COLOR_RGB2LAB),
        product=product,
        ring=ring & ~near,
        background=~near,
    )
    if min(part.sum() for part in (seen.product, seen.ring, seen.background)) < LEAST_PIXELS:
        got = f"a product that covers {product.mean():.1%}"
        raise InputError("mask", expected="product and background", got=got, next_step="Give a mask with 1 = product.")
    return seen


def look(image: Pixels, mask: Alpha) -> Floats:
    """f64[K]: every statistic in deviations from that of an ordinary picture, -3 to 3; the order is NAMES."""
    seen = view(image, mask)
    values = [(statistic(seen) - mean) / deviation for statistic, (mean, deviation) in STATISTICS.items()]
    return np.clip(values, -FARTHEST, FARTHEST)


def colourfulness(seen: View) -> float:
    """M of the whole picture: 0 for grey, about 100 for extremely colourful.

    Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images", eq. of M(3).
    """
    red, green, blue = np.moveaxis(seen.rgb, 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = math.hypot(red_green.std(), yellow_blue.std())
    return spread + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def lightness(seen: View) -> float:
    """Mean L* of the background (CIE 1976), 0 black to 100 white."""
    return float(seen.lab[seen.background][:, 0].mean())


def contrast(seen: View) -> float:
    """CIEDE2000 difference of the product's mean colour and that of the ring around it; 0 the same, 100 black on white.

    Sharma, Wu and Dalal 2005, "The CIEDE2000 color-difference formula".
    """
    return ciede2000(*(seen.lab[part].mean(0, dtype=np.float64) for part in (seen.product, seen.ring)))


def warmth(seen: View) -> float:
    """Mean warmth of the background's colours: -0.5 for grey, up for orange, down for blue.

    Ou, Luo, Woodcock and Wright 2004, "A study of colour emotion and colour preference, part I":
    -0.5 + 0.02 C*^1.07 cos(h - 50 degrees).
    """
    a, b = seen.lab[seen.background][:, 1:].T
    return float((-0.5 + 0.02 * np.hypot(a, b) ** 1.07 * np.cos(np.arctan2(b, a) - math.radians(50))).mean())


def clutter(seen: View) -> float:
    """Log of the mean slope of L* (per pixel) around the product.

    After the edge density of Rosenholtz, Li and Nakano 2007, "Measuring visual clutter"; slopes in place of counted
    edges, which would need a threshold.
    """
    slope = np.hypot(*(cv2.Sobel(seen.lab[..., 0], cv2.CV_32F, dx, 1 - dx) / 8 for dx in (0, 1)))
    return math.log(0.05 + float(slope[seen.ring].mean()))


def depth(seen: View) -> float:
    """Log of the product's sharpness over the background's: above 0, the background is out of focus.

    Sharpness is the deviation of the Laplacian of L* (Pertuz, Puig and Garcia 2013, "Analysis of focus measure
    operators", LAP4); the ratio is after the low depth of field indicator of Datta et al. 2006.
    """
    edges = cv2.Laplacian(seen.lab[..., 0], cv2.CV_32F)
    sharpness = [float(edges[part].std()) for part in (_shrink(seen.product), seen.background)]
    return math.log((sharpness[0] + 0.2) / (sharpness[1] + 0.2))


def harmony(seen: View) -> float:
    """How well the hues fit the best harmonic template: minus the log of half a degree and their distance from it.

    Cohen-Or et al. 2006, "Color harmonization", eq. 2: hue's mean distance to the nearest sector, weighted by
    saturation, least over templates and rotations; templates i, V, I and Y alone, since T and X fit nearly anything.
    """
    hue, saturation, _ = cv2.split(cv2.cvtColor(seen.rgb / 255, cv2.COLOR_RGB2HSV))
    bins = np.floor(hue.ravel() / HUE_STEP).astype(int) % (360 // HUE_STEP)
    weight = np.bincount(bins, saturation.ravel(), minlength=360 // HUE_STEP)
    return -math.log(0.5 + float((HUE_DISTANCES @ weight).min() / max(1e-6, weight.sum())))


def area(seen: View) -> float:
    """Log of the share of the picture that the product covers.

    Size draws attention: Pieters and Wedel 2004, "Attention capture and transfer in advertising".
    """
    return math.log(seen.product.mean())


def glow(seen: View) -> float:
    """Mean L* around the product less that along the picture's border: a pool of light above 0, a dark centre below.

    A centre-surround difference as in Itti, Koch and Niebur 1998, "A model of saliency-based visual attention".
    """
    border, width = np.ones_like(seen.background), min(seen.background.shape) // 12
    border[width:-width, width:-width] = False
    rim = border & seen.background
    return float(seen.lab[seen.ring][:, 0].mean() - seen.lab[rim if rim.any() else seen.background][:, 0].mean())


# Each statistic's mean and deviation over 1,598 rendered scenes.
STATISTICS: Mapping[Callable[[View], float], tuple[float, float]] = {
    colourfulness: (36.7, 16),
    lightness: (57.1, 19),
    contrast: (20.9, 9.9),
    warmth: (-0.347, 0.23),
    clutter: (-0.23, 0.67),
    depth: (1.05, 0.85),
    harmony: (-0.426, 0.88),
    area: (-2.31, 0.6),
    glow: (-0.608, 5.3),
}
NAMES = tuple(statistic.__name__ for statistic in STATISTICS)


def ciede2000(first: Floats, second: Floats) -> float:
    """Colour difference of two L*a*b* colours f64[3] (Sharma, Wu and Dalal 2005, eqs. 2 to 22, k = 1)."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    chroma = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * _chroma_weight(chroma)
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = (math.degrees(math.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = h1 + h2 if not c1 * c2 else (h1 + turn / 2) % 360
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    tone = 1.0
    for share, times, shift in ((-0.17, 1, -30), (0.24, 2, 0), (0.32, 3, 6), (-0.20, 4, -63)):
        tone += share * math.cos(math.radians(times * hue + shift))
    by_light = (l2 - l1) / (1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2))
    by_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    by_hue = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2)) / (1 + 0.015 * chroma * tone)
    bend = 60 * math.exp(-(((hue - 275) / 25) ** 2))
    rotation = -2 * _chroma_weight(chroma) * math.sin(math.radians(bend))
    return math.sqrt(by_light**2 + by_chroma**2 + by_hue**2 + rotation * by_chroma * by_hue)


def _chroma_weight(chroma: float) -> float:
    return math.sqrt(chroma**7 / (chroma**7 + 25.0**7))


HUE_STEP = 5  # degrees
TEMPLATES = {  # centre and width of each sector, degrees
    "i": ((0, 18),),
    "V": ((0, 93.6),),
    "I": ((0, 18), (180, 18)),
    "Y": ((0, 93.6), (180, 18)),
}


def _hue_distances() -> Floats:
    """f64[templates * rotations, hues]: degrees from each hue to the nearest sector, 0 inside."""
    hues = np.arange(0, 360, HUE_STEP) + HUE_STEP / 2
    turned = (hues[None, :] - np.arange(0, 360, HUE_STEP)[:, None]) % 360
    tables = []
    for sectors in TEMPLATES.values():
        gaps = [np.abs((turned - centre + 180) % 360 - 180) - width / 2 for centre, width in sectors]
        tables.append(np.maximum(0, np.min(gaps, axis=0)))
    return np.concatenate(tables)


HUE_DISTANCES = _hue_distances()


def _resize(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = pixels.shape[:2]
    scale = SIDE / math.sqrt(height * width)
    if abs(scale - 1) <= TOLERANCE:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _grow(mask: Mask, by: int) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0


def _shrink(mask: Mask) -> Mask:
    """`mask` less two pixels at its edge, or all of it where it is thinner."""
    inner = ~_grow(~mask, 2)
    return inner if inner.any() else mask
