"""Write a click log for rendered scenes by a simple rule: python scripts/write_rule_clicks.py --data DIR --out DIR

The rule stands in for shoppers until there is a simulated shop or a real log; it predicts nothing about real people.
It looks at pixels only (the picture and the product's mask, at 256-class resolution), never at a description. Five
statistics, each standardised with the mean and deviation it has over the renders:

    colour    colourfulness of the picture (Hasler and Suesstrunk 2003, eq. 10)
    contrast  CIE Lab distance between the product's mean colour and that of the ring around it
    clutter   log of the mean lightness gradient in that ring
    warmth    mean b* outside the product
    light     mean L* outside the product

    appeal = 0.6 colour + 0.6 contrast - 0.5 clutter
             - 0.5 (warmth - the category's ideal)^2 - 0.4 (light - the category's ideal)^2
    CTR    = base rate of the category x the product's factor x exp(0.7 tanh(0.5 (appeal + 0.8)))

The product's factor is lognormal with deviation 0.15 and has nothing to do with its pictures. Clicks are binomial;
impressions per creative are log-uniform in 1,000 to 8,000. Every scene is one creative, and `--retouched` more show it
with its *background* retouched (light, saturation, warmth, blur), as a shop tries variants of an ad; the product's own
pixels stay. All CTRs lie between 0.5 and 10 %.

OUT/clicks.csv  product_id, creative_id, image, impressions, clicks      what a reward model may learn from
OUT/truth.csv   product_id, creative_id, ctr                             for judging it afterwards, never for learning
OUT/retouched/  the retouched pictures; renders are named `archive.tar#file` inside DIR
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from caig.data.scenes import SceneRecord, read_scenes
from caig.seeding import seed_for

# Mean and deviation over the renders.
NORMS = {"colour": (37, 16), "contrast": (27, 13), "clutter": (-0.3, 0.7), "warmth": (6.5, 11.5), "light": (56, 19.5)}

# Category: base rate, ideal warmth and ideal light in deviations.
TASTES = {
    "soft drink": (0.034, -0.8, 0.6),
    "wine": (0.021, 1.0, -1.0),
    "perfume": (0.019, 0.2, -0.6),
    "skin care": (0.025, -0.4, 1.0),
    "shampoo": (0.022, -0.9, 0.4),
    "hand cream": (0.018, 0.4, 0.8),
    "snack": (0.040, 1.0, 0.4),
    "cereal": (0.030, 0.8, 0.9),
    "mug": (0.015, 0.7, -0.3),
    "speaker": (0.013, -1.0, -1.0),
    "candle": (0.024, 1.2, -0.9),
    "toy": (0.038, 0.3, 0.8),
    "book": (0.012, 0.5, -0.2),
    "table lamp": (0.014, 0.9, -0.7),
}
UNKNOWN = (0.022, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Ad:
    """One creative to be shown: its picture, the product's alpha in it and the name under which the log lists it."""

    id: str
    product_id: str
    category: str
    picture: NDArray[np.uint8]  # u8[H, W, 3]
    product: NDArray[np.float32]  # f32[H, W]
    name: str


def statistics(picture: NDArray[np.uint8], product: NDArray[np.float32]) -> dict[str, float]:
    """The five statistics of u8[H, W, 3] with product alpha f32[H, W], in deviations from the renders' mean."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    inside, ring = product > 0.5, ring_around(product)
    slope = np.hypot(*(cv2.Sobel(lab[..., 0], cv2.CV_32F, dx, 1 - dx) / 8 for dx in (0, 1)))
    raw = {
        "colour": colourfulness(picture),
        "contrast": float(np.linalg.norm(lab[inside].mean(0) - lab[ring].mean(0))),
        "clutter": math.log(max(1e-2, float(slope[ring].mean()))),
        "warmth": float(lab[~inside][:, 2].mean()),
        "light": float(lab[~inside][:, 0].mean()),
    }
    return {name: (value - NORMS[name][0]) / NORMS[name][1] for name, value in raw.items()}


def colourfulness(picture: NDArray[np.uint8]) -> float:
    """Hasler and Suesstrunk's M of u8[H, W, 3]: 0 for grey, about 100 for extremely colourful."""
    red, green, blue = np.moveaxis(picture.astype(np.float32), 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    return float(spread + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean()))


def ring_around(product: NDArray[np.float32]) -> NDArray[np.bool_]:
    """bool[H, W]: a band around the product, 8 % of the shorter side wide, two pixels off its edge."""
    inside, width = (product > 0.5).astype(np.uint8), max(3, round(0.08 * min(product.shape)))
    outer, inner = (cv2.dilate(inside, np.ones((2 * by + 1, 2 * by + 1), np.uint8)) for by in (width, 2))
    return (outer > 0) & (inner == 0)


def relative_ctr(picture: NDArray[np.uint8], product: NDArray[np.float32], category: str) -> float:
    """The picture's factor on the base rate, 0.5 to 2."""
    s, (_, warmth, light) = statistics(picture, product), TASTES.get(category, UNKNOWN)
    shared = 0.6 * s["colour"] + 0.6 * s["contrast"] - 0.5 * s["clutter"]
    taste = -0.5 * (s["warmth"] - warmth) ** 2 - 0.4 * (s["light"] - light) ** 2
    return math.exp(0.7 * math.tanh(0.5 * (shared + taste + 0.8)))


def true_ctr(ad: Ad, seed: int) -> float:
    """The CTR that the rule gives to `ad`, 0.005 to 0.10."""
    factor = math.exp(0.15 * np.random.default_rng(seed_for(seed, "factor", ad.product_id)).standard_normal())
    base = TASTES.get(ad.category, UNKNOWN)[0]
    return min(0.10, max(0.005, base * factor * relative_ctr(ad.picture, ad.product, ad.category)))


def retouch(picture: NDArray[np.uint8], product: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """`picture` with light, saturation, warmth and sharpness of its background changed; the product stays."""
    pixels = picture.astype(np.float32) / 255
    pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.3, 3.0)) if rng.random() < 0.5 else pixels
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + (pixels - grey) * rng.uniform(0.3, 1.7)
    warmth = rng.normal(0, 0.12)
    pixels = pixels * np.float32([1 + warmth, 1, 1 - warmth]) * rng.uniform(0.6, 1.4)
    share = product[..., None]
    mixed = share * picture + (1 - share) * 255 * pixels.clip(0, 1)
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def ads_of(scene: SceneRecord, retouched: int, seed: int, out: Path) -> Iterator[Ad]:
    """The scene as rendered, then its retouched versions, whose pictures are written to `out`/retouched."""
    picture, product = scene.image(), scene.cutout()[..., 3].astype(np.float32) / 255
    about = {"product_id": scene.product["id"], "category": scene.product["category"], "product": product}
    yield Ad(id=scene.id, picture=picture, name=f"{scene.archive}#{scene.id}.image.webp", **about)
    for k in range(1, retouched + 1):
        changed = retouch(picture, product, np.random.default_rng(seed_for(seed, "retouch", scene.id, k)))
        name = f"retouched/{scene.id}-{k}.webp"
        Image.fromarray(changed).save(out / name, quality=92, method=2)
        yield Ad(id=f"{scene.id}-{k}", picture=changed, name=name, **about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of scene tars")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--retouched", type=int, default=3, help="retouched versions per scene")
    parser.add_argument("--limit", type=int, help="first scenes only")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    (args.out / "retouched").mkdir(parents=True, exist_ok=True)
    with open(args.out / "clicks.csv", "w", newline="") as log, open(args.out / "truth.csv", "w", newline="") as truth:
        clicks, rates = csv.writer(log), csv.writer(truth)
        clicks.writerow(["product_id", "creative_id", "image", "impressions", "clicks"])
        rates.writerow(["product_id", "creative_id", "ctr"])
        for scene in read_scenes(args.data)[: args.limit]:
            for ad in ads_of(scene, args.retouched, args.seed, args.out):
                ctr, rng = true_ctr(ad, args.seed), np.random.default_rng(seed_for(args.seed, "clicks", ad.id))
                impressions = round(math.exp(rng.uniform(math.log(1000), math.log(8000))))
                clicks.writerow([ad.product_id, ad.id, ad.name, impressions, rng.binomial(impressions, ctr)])
                rates.writerow([ad.product_id, ad.id, f"{ctr:.6f}"])


if __name__ == "__main__":
    main()
