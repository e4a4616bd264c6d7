"""Turned containers: cans, bottles, jars, cups, tubs and pots."""

from __future__ import annotations

import math

from caig_scenes.colors import SILVER, mix, rgb, shade
from caig_scenes.materials import clear, glossy, material, matte, metallic, plastic, printed
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import ball, box, cylinder, ring, tube, turned

Profile = list[tuple[float, float]]
GLASSES = ("16301f", "5a2f12", "e8f0ec", "1d2b3a", "6b7f3a", "3a1420")


def wrap(look: Look, radius: float, low: float, high: float, *, light: bool | None = None, rough: float = 0.45) -> None:
    """A label around a round body; its words fill what the camera sees of it."""
    height = high - low
    art = look.art(2 * math.pi * radius / height, face=1.5 * radius / height, light=light)
    turned([(radius * 1.006, low), (radius * 1.006, high)], printed(art, rough=rough))


def shoulder(radius: float, neck: float, start: float, end: float, steps: int = 8) -> Profile:
    """A smooth change from `radius` at height `start` to `neck` at `end`."""
    turn = [(1 - math.cos(math.pi * i / steps)) / 2 for i in range(steps + 1)]
    return [(radius + (neck - radius) * t, start + (end - start) * i / steps) for i, t in enumerate(turn)]


def screw_cap(look: Look, radius: float, at: float, height: float) -> None:
    made = look.rng.choice([metallic(look.metal), plastic(look.accent), plastic(look.light), plastic(rgb("232326"))])
    cylinder(radius, height, made, (0, 0, at), edge=0.03)


@shape("can")
def can(look: Look) -> None:
    """A beverage can, slim or standard, printed all around."""
    radius, height = look.rng.choice([(0.42, 1.9), (0.5, 1.75), (0.44, 1.45)])
    steel = metallic(rgb(SILVER))
    turned([(0, 0.05), (radius * 0.7, 0), (radius * 0.78, 0), (radius * 0.98, 0.1)], steel)
    art = look.art(2 * math.pi * radius / height, face=1.5 * radius / height, light=look.chance(0.25), height=512)
    turned(
        [
            (radius * 0.98, 0.1),
            (radius, 0.14),
            (radius, height - 0.2),
            *shoulder(radius, radius * 0.84, height - 0.2, height - 0.04),
        ],
        printed(art, rough=0.28, metal=0.35),
    )
    turned(
        [
            (radius * 0.84, height - 0.04),
            (radius * 0.87, height),
            (radius * 0.8, height),
            (radius * 0.76, height - 0.06),
            (0, height - 0.06),
        ],
        steel,
    )
    ring(0.1, 0.02, steel, (0, -0.12, height - 0.03), scale=(1, 1.4, 1))


@shape("food can")
def food_can(look: Look) -> None:
    """A ribbed tin with a paper label."""
    radius, height = look.pick(0.55, 0.7), look.pick(1.1, 1.5)
    tin = metallic(rgb(SILVER), rough=0.3)
    turned(
        [
            (0, 0),
            (radius * 1.02, 0),
            (radius * 1.02, 0.05),
            (radius, 0.07),
            (radius, height - 0.07),
            (radius * 1.02, height - 0.05),
            (radius * 1.02, height),
            (radius * 0.96, height),
            (radius * 0.95, height - 0.05),
            (0, height - 0.05),
        ],
        tin,
    )
    wrap(look, radius, 0.1, height - 0.1)
    ring(0.14, 0.02, tin, (0, -0.25, height - 0.02), scale=(1, 1.3, 1))


@shape("wine bottle")
def wine_bottle(look: Look) -> None:
    """Tall dark glass, a paper label and a capsule: wine, oil, spirits."""
    radius, height = look.pick(0.34, 0.4), look.pick(2.0, 2.3)
    neck, waist = radius * 0.34, height * look.pick(0.52, 0.62)
    glass = material(rgb(look.rng.choice(GLASSES[:2] + GLASSES[3:])), rough=0.05, coat=1.0, glass=0.25)
    turned(
        [
            (0, 0),
            (radius * 0.94, 0),
            (radius, 0.05),
            (radius, waist),
            *shoulder(radius, neck, waist, height * 0.78),
            (neck, height),
            (0, height),
        ],
        glass,
    )
    wrap(look, radius, height * 0.13, waist * 0.88, light=look.chance(0.75))
    capsule = look.rng.choice([glossy(look.main), metallic(look.metal), matte(rgb("1d1d20"))])
    turned([(neck * 1.08, height * 0.84), (neck * 1.1, height * 1.005), (0, height * 1.01)], capsule)


@shape("sparkling bottle")
def sparkling_bottle(look: Look) -> None:
    """Champagne: heavy shoulders and foil."""
    glass = material(rgb(look.rng.choice(["12301f", "3a2a10", "e6b9b4"])), rough=0.05, coat=1.0, glass=0.2)
    turned(
        [(0, 0), (0.42, 0), (0.45, 0.06), (0.44, 0.95), *shoulder(0.44, 0.16, 0.95, 1.65), (0.15, 1.95), (0, 1.95)],
        glass,
    )
    wrap(look, 0.445, 0.3, 0.88, light=look.chance(0.6))
    foil = metallic(look.rng.choice([look.metal, look.main]), rough=0.3)
    turned([(0.19, 1.52), (0.165, 1.7), (0.17, 1.86), (0.2, 1.9), (0.2, 2.0), *shoulder(0.2, 0.02, 2.0, 2.12)], foil)


@shape("drink bottle")
def drink_bottle(look: Look) -> None:
    """A clear bottle that shows its drink: juice, milk, iced tea, water."""
    radius, height = look.pick(0.38, 0.46), look.pick(1.75, 2.0)
    inside = {"milk": rgb("fbf7ec"), "juice": rgb(look.rng.choice(["f29a1f", "d8402e", "e8c22e", "7fa53a"]))}
    tone = inside.get(look.record["category"], mix(look.main, (1, 1, 1), 0.3))
    body: Profile = [
        (0, 0),
        (radius * 0.9, 0),
        (radius, 0.07),
        (radius, height * 0.58),
        *shoulder(radius, radius * 0.46, height * 0.58, height * 0.86),
        (radius * 0.46, height * 0.93),
    ]
    turned(
        body, material(tone, rough=0.08, coat=1.0, soft=0.3, glass=0.25 if look.record["category"] != "milk" else 0.0)
    )
    wrap(look, radius, height * 0.16, height * 0.52)
    screw_cap(look, radius * 0.5, height * 0.92, 0.16)


@shape("beer bottle")
def beer_bottle(look: Look) -> None:
    """Brown or green glass, two labels, a crown cap."""
    glass = material(rgb(look.rng.choice(["4a2408", "14401f", "6b3a10"])), rough=0.05, coat=1.0, glass=0.35)
    turned(
        [
            (0, 0),
            (0.36, 0),
            (0.4, 0.06),
            (0.4, 1.1),
            *shoulder(0.4, 0.15, 1.1, 1.6),
            (0.13, 1.98),
            (0.16, 2.0),
            (0, 2.02),
        ],
        glass,
    )
    wrap(look, 0.4, 0.28, 0.92)
    turned(
        [(0.19, 1.99), (0.18, 2.06), (0.14, 2.1), (0, 2.1)],
        metallic(look.rng.choice([look.main, look.metal])),
        sides=22,
    )


@shape("spray bottle")
def spray_bottle(look: Look) -> None:
    """Household cleaner with a trigger."""
    body = material(look.main, rough=0.12, coat=0.8, glass=0.3)
    turned([(0, 0), (0.46, 0), (0.5, 0.06), (0.5, 0.85), *shoulder(0.5, 0.17, 0.85, 1.35), (0.17, 1.45)], body)
    wrap(look, 0.5, 0.16, 0.8)
    head = plastic(look.rng.choice([look.accent, look.light]))
    cylinder(0.21, 0.16, head, (0, 0, 1.42))
    box((0.72, 0.24, 0.26), head, (-0.1, 0, 1.58), edge=0.07)
    box((0.1, 0.14, 0.14), plastic(look.light), (-0.5, 0, 1.64))
    tube([(-0.3, 0, 1.6), (-0.36, 0, 1.42), (-0.32, 0, 1.25)], 0.045, head)


@shape("pump bottle")
def pump_bottle(look: Look) -> None:
    """Soap, shampoo or lotion with a pump."""
    radius, height = look.pick(0.4, 0.5), look.pick(1.15, 1.45)
    body = look.rng.choice(
        [plastic(look.main), plastic(look.light), material(rgb("5a2f12"), rough=0.06, coat=1.0, glass=0.4)]
    )
    turned(
        [
            (0, 0),
            (radius * 0.92, 0),
            (radius, 0.07),
            (radius, height * 0.9),
            *shoulder(radius, 0.17, height * 0.9, height + 0.05),
        ],
        body,
    )
    wrap(look, radius, height * 0.14, height * 0.82)
    pump = look.rng.choice([plastic(rgb("202024")), plastic(look.light), metallic(look.metal)])
    cylinder(0.19, 0.18, pump, (0, 0, height + 0.03))
    cylinder(0.06, 0.3, pump, (0, 0, height + 0.18))
    box((0.24, 0.2, 0.12), pump, (0, 0, height + 0.42), edge=0.04)
    tube([(-0.05, 0, height + 0.49), (-0.38, 0, height + 0.47), (-0.42, 0, height + 0.38)], 0.045, pump)


@shape("flip bottle")
def flip_bottle(look: Look) -> None:
    """An oval squeeze bottle that stands on its cap's other end."""
    wide, height = look.pick(0.5, 0.58), look.pick(1.5, 1.8)
    made = printed(
        look.art(2 * math.pi * wide / height, face=1.4 * wide / height, light=look.chance(0.3), height=512), rough=0.3
    )
    body = turned(
        [
            (0, 0),
            (wide * 0.9, 0),
            (wide, 0.1),
            (wide * 0.96, height * 0.75),
            *shoulder(wide * 0.96, wide * 0.4, height * 0.75, height),
        ],
        made,
    )
    body.scale = (1, 0.58, 1)
    cap = cylinder(wide * 0.44, 0.3, plastic(look.accent), (0, 0, height - 0.02), edge=0.05)
    cap.scale = (1, 0.8, 1)


@shape("dropper bottle")
def dropper_bottle(look: Look) -> None:
    """A serum flask with a pipette."""
    radius, height = look.pick(0.4, 0.46), look.pick(0.95, 1.15)
    glass = material(rgb(look.rng.choice(["5a2f12", "203a2c", "22345f", "e9d9c4"])), rough=0.05, coat=1.0, glass=0.45)
    turned(
        [
            (0, 0),
            (radius * 0.92, 0),
            (radius, 0.06),
            (radius, height * 0.82),
            *shoulder(radius, 0.17, height * 0.82, height),
        ],
        glass,
    )
    wrap(look, radius, height * 0.16, height * 0.74, light=True)
    cylinder(0.21, 0.26, metallic(look.metal), (0, 0, height - 0.02))
    turned(
        [
            (0.15, height + 0.22),
            (0.17, height + 0.4),
            *shoulder(0.17, 0.03, height + 0.4, height + 0.7),
            (0, height + 0.71),
        ],
        matte(rgb("232326")),
    )


@shape("cream jar")
def cream_jar(look: Look) -> None:
    """A low jar with a wide lid."""
    radius, height = look.pick(0.68, 0.8), look.pick(0.5, 0.7)
    body = look.rng.choice([glossy(look.main), material(look.main, rough=0.1, coat=1.0, glass=0.5), glossy(look.light)])
    turned([(0, 0), (radius * 0.93, 0), (radius, 0.08), (radius, height)], body)
    wrap(look, radius, 0.12, height - 0.04)
    lid = look.rng.choice([metallic(look.metal), glossy(look.light), matte(rgb("232326")), glossy(look.accent)])
    cylinder(radius * 1.03, look.pick(0.3, 0.4), lid, (0, 0, height), edge=0.05)


@shape("jam jar")
def jam_jar(look: Look) -> None:
    """Glass full of jam or honey under a printed lid."""
    fill = rgb(look.rng.choice(["b3202c", "e08a12", "f0b52a", "5a1230", "c2571a", "7a2b12"]))
    turned(
        [(0, 0), (0.52, 0), (0.58, 0.08), (0.58, 0.95), *shoulder(0.58, 0.46, 0.95, 1.12), (0.46, 1.2)],
        material(fill, rough=0.05, coat=1.0, soft=0.4, glass=0.35),
    )
    wrap(look, 0.58, 0.24, 0.86, light=look.chance(0.8))
    lid = look.rng.choice([metallic(look.metal), plastic(look.main), plastic(look.accent)])
    cylinder(0.52, 0.22, lid, (0, 0, 1.14), edge=0.04)


@shape("honey pot")
def honey_pot(look: Look) -> None:
    """A bellied jar with a dipper's knob."""
    turned(
        [(0, 0), (0.45, 0), *shoulder(0.45, 0.66, 0.02, 0.5), *shoulder(0.66, 0.44, 0.5, 1.05), (0.44, 1.1)],
        material(rgb(look.rng.choice(["e39a1c", "c9720f", "f0c04a"])), rough=0.05, coat=1.0, soft=0.5, glass=0.3),
    )
    wrap(look, 0.665, 0.42, 0.66, light=True)
    cylinder(0.48, 0.14, matte(rgb("a8763e")), (0, 0, 1.08), edge=0.04)
    ball(0.13, matte(rgb("a8763e")), (0, 0, 1.32))


@shape("yoghurt cup")
def yoghurt_cup(look: Look) -> None:
    """A tapered cup with a foil lid."""
    low, top, height = look.pick(0.4, 0.46), look.pick(0.56, 0.64), look.pick(0.95, 1.25)
    art = look.art(2 * math.pi * top / height, face=1.5 * top / height, height=384)
    turned([(low, 0), (top, height)], printed(art, rough=0.35))
    turned([(0, 0), (low, 0)], plastic(look.light))
    turned(
        [(top, height), (top * 1.08, height + 0.01), (top * 1.08, height + 0.05), (0, height + 0.06)],
        metallic(rgb(SILVER), rough=0.35),
    )


@shape("canister")
def canister(look: Look) -> None:
    """A tall printed tube or tin: chips, tea, coffee, cocoa."""
    radius, height = look.rng.choice([(0.4, 1.9), (0.55, 1.4), (0.6, 1.15)])
    art = look.art(2 * math.pi * radius / height, face=1.5 * radius / height, height=512)
    turned([(radius, 0.05), (radius, height - 0.05)], printed(art, rough=0.3))
    rim = metallic(look.metal, rough=0.3)
    cylinder(radius * 1.02, 0.06, rim)
    cylinder(
        radius * 1.03, 0.14, look.rng.choice([rim, plastic(look.light), plastic(look.accent)]), (0, 0, height - 0.05)
    )


@shape("nail polish")
def nail_polish(look: Look) -> None:
    """A small flask of lacquer with a long cap."""
    box((0.72, 0.6, 0.75), material(look.main, rough=0.05, coat=1.0), edge=0.14)
    cylinder(
        0.2,
        0.95,
        look.rng.choice([glossy(rgb("1d1d20")), glossy(look.light), metallic(look.metal)]),
        (0, 0, 0.74),
        edge=0.05,
    )


@shape("lipstick")
def lipstick(look: Look) -> None:
    """An open lipstick."""
    case = look.rng.choice([metallic(look.metal), glossy(rgb("1d1d20")), glossy(look.light)])
    cylinder(0.33, 0.85, case, edge=0.04)
    cylinder(0.29, 0.3, metallic(look.metal), (0, 0, 0.82))
    tip = turned(
        [(0.23, 1.05), (0.23, 1.6), (0.2, 1.78), (0.1, 1.86), (0, 1.88)],
        material(shade(look.main, 0.9), rough=0.25, soft=0.2),
    )
    for vertex in tip.data.vertices:
        vertex.co.z -= max(0.0, vertex.co.z - 1.4) * (vertex.co.x + 0.23) * 0.9


@shape("perfume round")
def perfume_round(look: Look) -> None:
    """A disc-shaped flacon."""
    made = material(mix(look.main, (1, 1, 1), 0.35), rough=0.04, coat=1.0, glass=0.7)
    ball(0.68, made, (0, 0, 0.64), (1, 0.42, 0.96), detail=48)
    cylinder(0.3, 0.06, made)
    cylinder(0.13, 0.14, metallic(look.metal), (0, 0, 1.24))
    ball(0.24, look.rng.choice([metallic(look.metal), glossy(look.accent), clear((0.95, 0.95, 0.97))]), (0, 0, 1.54))
