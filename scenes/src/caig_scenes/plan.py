"""What is in every picture: product records and scene records, drawn from (seed, id) alone. No Blender here.

A record is what lands in the JSON beside the picture; the scene's `take` holds what only the renderer needs.
"""

from __future__ import annotations

import hashlib
import math
from random import Random
from typing import Any

from caig_scenes.colors import NAMED
from caig_scenes.vocabulary import vocabulary

BRANDS = (
    "Aurelia Borealis Cinder Delmare Elowen Fjord Glenora Halcyon Ivoire Juniper Kestrel Lumen Marlow Nimbus Orchard "
    "Petra Quill Rowan Solace Tamsin Umbra Verdant Willow Xenia Yarrow Zephyr Alder Brisa Corvo Dune Ember Fable Grove "
    "Harbor Isla Jolie Kindred Linden Mira Norra"
).split()
# (width, height) in pixels and how often: squares, 16:9, 2:1, each upright too, and some large squares
SIZES = {
    (256, 256): 55, (352, 192): 9, (192, 352): 9, (384, 192): 8, (192, 384): 8, (512, 512): 6,
    (320, 256): 3, (256, 320): 2,
}  # fmt: skip
APERTURES = {0.1: 3, 0.2: 4, 0.5: 3, 4.0: 2}  # f-stops in Blender's units: caig's captions name them by their blur
PLATE_SIZES = {(512, 512): 3, (640, 400): 1, (400, 640): 1}
POSE_SHARE = 0.25  # of the scenes of a product that can lie or lean


def chance(seed: int, *what: object) -> Random:
    """A generator for one purpose. Hashed, so that no property of a product follows its number's remainder, by which
    caig's splits are made."""
    return Random(hashlib.blake2b(repr((seed, *what)).encode(), digest_size=16).digest())


def product_id(number: int) -> str:
    return f"p{number:04d}"


def scene_id(number: int) -> str:
    return f"s{number:06d}"


def plate_id(number: int) -> str:
    return f"b{number:06d}"


def plan_product(seed: int, number: int) -> dict[str, Any]:
    """The record of one product: what it is, how it is called, and the shape that draws it."""
    rng = chance(seed, "product", number)
    category = rng.choice(list(vocabulary()["categories"]))
    row = vocabulary()["categories"][category]
    shape = rng.choice(list(row["shapes"]))
    noun, brand, color = rng.choice(row["shapes"][shape]), rng.choice(BRANDS), rng.choice(list(NAMED))
    tags = rng.sample(row["tags"], 2)
    return {
        "id": product_id(number), "category": category, "title": f"{brand} {noun}, {color}, {tags[0]}, {tags[1]}",
        "brand": brand, "color": color, "tags": tags, "price": round(math.exp(rng.uniform(1.0, 4.6)), 2),
        "noun": _short(noun), "shape": shape, "seed": seed,
    }  # fmt: skip


def _short(noun: str) -> str:
    """A noun as it stands on a label: without its weight or volume, at most three words."""
    words = [word for word in noun.split() if not word[0].isdigit()]
    units = {"ml", "l", "g", "kg", "mm", "bags", "percent"}
    return " ".join([word for word in words if word not in units][:3])


def plan_scene(seed: int, number: int, products: int) -> dict[str, Any]:
    """The record of one scene with one of the first `products` products: its factors, captions, and how it is taken."""
    rng = chance(seed, "scene", number)
    product = plan_product(seed, rng.randrange(products))
    setting = rng.choice(list(vocabulary()["settings"]))
    factors = _factors(rng, setting)
    poses = vocabulary()["categories"][product["category"]]["poses"]
    raised = rng.uniform(0.25, 0.7) if factors["props"] == "podium" else 0.0
    others = [pose for pose in poses if pose != "standing"]
    pose = rng.choice(others) if others and not raised and rng.random() < POSE_SHARE * len(others) else "standing"
    return _record(rng, scene_id(number), product, factors, raised, pose, SIZES)


def plan_plate(seed: int, number: int, products: int) -> dict[str, Any]:
    """The record of one plate: a scene furnished for a product that is not in the picture. Settings take turns, and so
    do the lights of a setting."""
    rng = chance(seed, "plate", number)
    product = plan_product(seed, rng.randrange(products))
    settings = vocabulary()["settings"]
    setting = list(settings)[number % len(settings)]
    lights = settings[setting]["lights"]
    factors = {**_factors(rng, setting), "light": lights[number // len(settings) % len(lights)]}
    raised = rng.uniform(0.25, 0.7) if factors["props"] == "podium" else 0.0
    return _record(rng, plate_id(number), product, factors, raised, "standing", PLATE_SIZES)


def _factors(rng: Random, setting: str) -> dict[str, str]:
    row = vocabulary()["settings"][setting]
    parts = {"floor": "floors", "backdrop": "backdrops", "props": "props", "light": "lights"}
    return {"setting": setting, **{part: rng.choice(row[table]) for part, table in parts.items()}}


def _record(
    rng: Random,
    name: str,
    product: dict[str, Any],
    factors: dict[str, str],
    raised: float,
    pose: str,
    sizes: dict[tuple[int, int], int],
) -> dict[str, Any]:
    width, height = _weighted(rng, sizes)
    record = {
        "id": name, "product": product, "setting": factors["setting"], "floor": factors["floor"],
        "backdrop": factors["backdrop"], "props": factors["props"], "lighting": factors["light"],
        "aperture": _weighted(rng, APERTURES), "raised": round(raised, 3), "size": [width, height], "pose": pose,
        "take": _take(rng, width, height),
    }  # fmt: skip
    return {**record, "captions": [write_caption(record, rng) for _ in range(3)]}


def _weighted(rng: Random, table: dict[Any, int]) -> Any:
    return rng.choices(list(table), weights=list(table.values()))[0]


def _take(rng: Random, width: int, height: int) -> dict[str, float]:
    """Camera and turn of the product: lengths in shares of the short side, angles in radians, lens in mm."""
    wide, tall = width / min(width, height), height / min(width, height)
    third = rng.choice([-1, 0, 0, 1]) if wide > 1 else 0
    across = third * rng.uniform(0.1, 0.17) * wide + rng.uniform(-0.05, 0.05)
    return {
        "lens": round(rng.uniform(52, 90), 1),
        "pitch": round(rng.choice([rng.uniform(0.06, 0.16), rng.uniform(0.12, 0.34)]), 3),
        "yaw": round(rng.uniform(-0.25, 0.25), 3),
        "height": round(rng.uniform(0.42, 0.74) if wide == tall else rng.uniform(0.48, 0.78), 3),
        "across": round(across, 3),
        "up": round(-rng.uniform(0.0, 0.09) * tall, 3),
        "turn": round(rng.gauss(0, 0.3), 3),
    }  # fmt: skip


def blur_of(aperture: float) -> str:
    """The vocabulary's name of an f-stop's blur."""
    return "shallow" if aperture < 0.3 else "soft" if aperture < 1 else "sharp"


def write_caption(record: dict[str, Any], rng: Random) -> str:
    """The scene in comma-separated phrases of the vocabulary: the setting always, the rest mostly, light last."""
    words = vocabulary()
    around = [
        rng.choice(words[table][record[part]])
        for table, part in (("floors", "floor"), ("backdrops", "backdrop"), ("props", "props"))
        if words[table][record[part]] and rng.random() < 0.75
    ]
    if record["raised"] and rng.random() < 0.5:
        around.append(rng.choice(words["raised"]))
    rng.shuffle(around)
    around.insert(0 if rng.random() < 0.7 else len(around), rng.choice(words["settings"][record["setting"]]["phrases"]))
    mood = [rng.choice(words["lights"][record["lighting"]])]
    if rng.random() < 0.5:
        mood.append(rng.choice(words["blur"][blur_of(record["aperture"])]))
    return ", ".join([*around, *mood])
