"""Folded and filled packs: cartons, boxes, pouches, bags, tubes, bars and books."""

from __future__ import annotations

import math

from caig_scenes.colors import mix, rgb, shade
from caig_scenes.materials import clear, glossy, material, matte, metallic, plastic, printed
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import ball, box, cylinder, panel, sheet, tube, turned


def printed_box(
    look: Look, size: tuple[float, float, float], *, light: bool | None = None, rough: float = 0.45
) -> None:
    """A box with label art on its front and sides and plain paper elsewhere."""
    wide, deep, high = size
    light = look.chance(0.4) if light is None else light
    paper = look.light if light else look.main
    box(size, material(paper, rough=rough), edge=0.012)
    panel(
        wide * 0.99,
        high * 0.99,
        printed(look.art(wide / high, light=light, height=448), rough=rough),
        (0, -deep / 2 - 0.004, high / 2),
    )
    side = printed(look.art(deep / high, light=light, height=448), rough=rough)
    for x, turn in ((wide / 2 + 0.004, math.pi / 2), (-wide / 2 - 0.004, -math.pi / 2)):
        panel(deep * 0.99, high * 0.99, side, (x, 0, high / 2), (math.pi / 2, 0, turn))


@shape("box")
def folding_box(look: Look) -> None:
    """A folding carton: cereal, tea, pasta, cosmetics, medicine."""
    printed_box(look, look.rng.choice([(1.25, 0.42, 1.8), (1.0, 0.62, 1.3), (1.4, 0.6, 1.1), (0.8, 0.5, 1.7)]))


@shape("gable carton")
def gable_carton(look: Look) -> None:
    """The classic milk carton with its folded roof and a screw cap."""
    wide, high, roof = 0.78, look.pick(1.3, 1.5), 0.38
    light = look.chance(0.5)
    printed_box(look, (wide, wide, high), light=light)
    paper = material(look.main if light else look.light, rough=0.45)
    half, top = wide / 2 - 0.003, high + roof
    for y in (-1, 1):
        sheet(
            [[(-half, y * half, high), (half, y * half, high)], [(-half, y * 0.02, top), (half, y * 0.02, top)]], paper
        )
    for x in (-1, 1):
        sheet(
            [
                [(x * half, -half, high), (x * half, half, high)],
                [(x * half * 0.75, -0.02, top - 0.02), (x * half * 0.75, 0.02, top - 0.02)],
            ],
            paper,
        )
    box((wide, 0.05, 0.18), paper, (0, 0, top - 0.01), edge=0.008)
    cylinder(
        0.14, 0.1, plastic(look.accent if not light else look.main), (0, -half * 0.5, high + roof * 0.42)
    ).rotation_euler = (0.8, 0, 0)


@shape("brick carton")
def brick_carton(look: Look) -> None:
    """A drink brick with a cap at its corner."""
    wide, deep, high = look.pick(0.75, 0.9), 0.6, look.pick(1.5, 1.8)
    printed_box(look, (wide, deep, high))
    cylinder(0.13, 0.14, plastic(look.rng.choice([look.accent, look.light])), (wide * 0.22, -deep * 0.1, high - 0.01))


@shape("chocolate bar")
def chocolate_bar(look: Look) -> None:
    """A wrapped bar on edge, the foil looking out."""
    wide, high = look.pick(0.85, 1.0), look.pick(1.8, 2.0)
    box((wide * 0.97, 0.12, high), metallic(look.metal, rough=0.3), (0, 0, 0), edge=0.03)
    box((wide, 0.14, high * 0.9), material(look.main, rough=0.5), edge=0.02)
    panel(wide * 0.985, high * 0.89, printed(look.art(wide / (high * 0.89), height=448)), (0, -0.075, high * 0.45))


@shape("gift box")
def gift_box(look: Look) -> None:
    """A lidded box with ribbon, for pralines."""
    wide, high = look.pick(1.3, 1.6), look.pick(0.55, 0.8)
    box((wide, wide * 0.75, high), matte(look.main, rough=0.5), edge=0.02)
    box(
        (wide * 1.03, wide * 0.78, high * 0.35), matte(shade(look.main, 1.12), rough=0.5), (0, 0, high * 0.7), edge=0.02
    )
    ribbon = material(look.rng.choice([look.metal, look.accent, look.light]), rough=0.28, sheen=0.4)
    box((0.18, wide * 0.79, high * 1.07), ribbon, edge=0.005)
    box((wide * 1.04, 0.18, high * 1.07), ribbon, edge=0.005)
    for side in (-1, 1):
        tube(
            [
                (0, 0, high * 1.06),
                (side * 0.22, 0, high + 0.3),
                (side * 0.42, 0, high + 0.24),
                (side * 0.34, 0, high + 0.08),
                (0, 0, high * 1.07),
            ],
            0.05,
            ribbon,
        )


def _pillow(look: Look, wide: float, high: float, thick: float, foot: float) -> None:
    """Two bulging foils; `foot` > 0 keeps the bottom open and round, so that it stands."""
    steps = 28
    for side, light in ((-1, None), (1, False)):
        rows = []
        for k in range(steps + 1):
            v = k / steps
            open_below = foot * (1 - v) ** 2
            row = []
            for i in range(steps + 1):
                u = 2 * i / steps - 1
                bulge = (1 - u * u) ** 0.6 * ((4 * v * (1 - v)) ** 0.5 + open_below)
                crease = 0.014 * math.sin(9 * u + 5 * v) * math.sin(14 * v + 3 * u)
                row.append(
                    (
                        u * wide / 2 * (1 - 0.06 * math.sin(math.pi * v)),
                        side * (thick * bulge + crease * min(1, bulge * 3)),
                        v * high,
                    )
                )
            rows.append(row)
        sheet(rows, printed(look.art(wide / high, light=light, height=448), rough=0.3, metal=0.15))


@shape("pillow bag")
def pillow_bag(look: Look) -> None:
    """A bag of chips with crimped ends."""
    wide, high = look.pick(1.2, 1.45), look.pick(1.65, 1.9)
    _pillow(look, wide, high, 0.3, 0.0)
    for z in (0.0, high - 0.07):
        box((wide, 0.02, 0.08), metallic(look.main, rough=0.35), (0, 0, z), edge=0.004)


@shape("stand pouch")
def stand_pouch(look: Look) -> None:
    """A doypack with a sealed top: coffee, nuts, refill."""
    wide, high = look.pick(1.05, 1.3), look.pick(1.55, 1.85)
    _pillow(look, wide, high, 0.2, 0.9)
    box((wide * 0.995, 0.025, 0.13), material(look.main, rough=0.35), (0, 0, high - 0.06), edge=0.004)
    if look.chance(0.5):
        cylinder(0.09, 0.05, plastic(look.light), (0, -0.12, high * 0.8)).rotation_euler = (math.pi / 2, 0, 0)


@shape("block bag")
def block_bag(look: Look) -> None:
    """A block-bottom paper bag, its top folded and clipped."""
    wide, high = look.pick(0.95, 1.1), look.pick(1.3, 1.5)
    printed_box(look, (wide, 0.6, high), rough=0.6)
    half, top = wide / 2, high + 0.32
    paper = material(look.main, rough=0.6)
    for side in (-1, 1):
        sheet(
            [
                [(-half, side * 0.3, high - 0.01), (half, side * 0.3, high - 0.01)],
                [(-half, side * 0.03, top), (half, side * 0.03, top)],
            ],
            paper,
        )
        sheet(
            [
                [(side * half, -0.3, high - 0.01), (side * half, 0.3, high - 0.01)],
                [(side * half * 0.98, -0.03, top), (side * half * 0.98, 0.03, top)],
            ],
            paper,
        )
    box((wide, 0.09, 0.22), paper, (0, 0, top - 0.03), edge=0.02)
    box((wide * 1.02, 0.1, 0.06), metallic(look.metal), (0, 0, top + 0.06), edge=0.01)


@shape("tube")
def cream_tube(look: Look) -> None:
    """A squeeze tube on its cap: hand cream, toothpaste, sunscreen."""
    radius, high = look.pick(0.34, 0.4), look.pick(1.7, 2.0)
    art = look.art(2 * math.pi * radius / high, face=1.5 * radius / high, light=look.chance(0.45), height=512)
    body = turned(
        [(radius * 0.92, 0.34), (radius, 0.42), (radius, 0.9), (radius, 1.3), (radius, high - 0.12), (radius, high)],
        printed(art, rough=0.3),
    )
    for vertex in body.data.vertices:
        t = max(0.0, (vertex.co.z - 0.4) / (high - 0.4))
        vertex.co.y *= 1 - 0.95 * t
        vertex.co.x *= 1 + 0.38 * t
    cylinder(
        radius * 0.9,
        0.38,
        look.rng.choice([plastic(look.light), plastic(look.accent), metallic(look.metal)]),
        edge=0.05,
    )


@shape("jug")
def jug(look: Look) -> None:
    """A detergent jug: a broad body, a handle and a measuring cap."""
    made = plastic(look.main)
    box((1.2, 0.6, 1.25), made, edge=0.16)
    box((0.7, 0.5, 0.4), made, (-0.2, 0, 1.1), edge=0.15)
    tube([(0.2, 0, 1.38), (0.52, 0, 1.4), (0.55, 0, 1.15)], 0.1, made)
    cylinder(0.24, 0.34, plastic(look.accent), (-0.22, 0, 1.45), edge=0.04)
    panel(0.95, 0.8, printed(look.art(0.95 / 0.8)), (0, -0.308, 0.6))


@shape("perfume block")
def perfume_block(look: Look) -> None:
    """A heavy glass block with a cap."""
    wide, high = look.pick(0.9, 1.15), look.pick(0.95, 1.3)
    box((wide, 0.5, high), material(mix(look.main, (1, 1, 1), 0.3), rough=0.04, coat=1.0, glass=0.7), edge=0.09)
    box(
        (wide * 0.82, 0.34, high * 0.72),
        material(mix(look.main, (1, 1, 1), 0.45), rough=0.1, glass=0.3),
        (0, 0, 0.09),
        edge=0.05,
    )
    panel(
        wide * 0.62,
        high * 0.45,
        printed(look.art(wide * 0.62 / (high * 0.45), light=look.chance(0.7))),
        (0, -0.256, high * 0.47),
    )
    cylinder(0.13, 0.12, metallic(look.metal), (0, 0, high))
    top = look.rng.choice(
        [glossy(rgb("1d1d20")), metallic(look.metal), matte(rgb("8a5a30")), clear((0.95, 0.95, 0.97))]
    )
    if look.chance(0.5):
        box((0.44, 0.4, 0.42), top, (0, 0, high + 0.1), edge=0.05)
    else:
        cylinder(0.24, 0.46, top, (0, 0, high + 0.1), edge=0.05)


@shape("compact")
def compact(look: Look) -> None:
    """An open powder compact with a mirror."""
    case = look.rng.choice([glossy(rgb("1d1d20")), metallic(look.metal), glossy(look.main)])
    cylinder(0.75, 0.16, case, edge=0.06)
    cylinder(0.62, 0.02, material(mix(look.main, rgb("e8c4a4"), 0.6), rough=0.9), (0, 0, 0.155), edge=0.005)
    lid = cylinder(0.75, 0.1, case, (0, 0.78, 0.12), edge=0.05)
    mirror = cylinder(0.64, 0.01, metallic((0.92, 0.93, 0.95), rough=0.02), (0, 0.7, 0.15), edge=0.002)
    lid.rotation_euler = mirror.rotation_euler = (math.radians(78), 0, 0)
    lid.location, mirror.location = (0, 0.72, 0.86), (0, 0.71, 0.86)


@shape("hardcover book")
def hardcover_book(look: Look) -> None:
    """A closed book standing a little open to the side, its pages showing."""
    wide, high, thick = look.pick(1.2, 1.4), look.pick(1.7, 1.95), look.pick(0.2, 0.36)
    cover = material(look.main, rough=0.55)
    for y in (-thick / 2, thick / 2):
        box((wide, 0.04, high), cover, (0, y, 0), edge=0.008)
    box((0.05, thick, high), cover, (-wide / 2, 0, 0), edge=0.015)
    box((wide * 0.95, thick * 0.92, high * 0.95), matte(rgb("f1ead8"), rough=0.95), (0, 0, high * 0.025), edge=0.004)
    panel(
        wide * 0.98,
        high * 0.98,
        printed(look.art(wide / high, height=512), rough=0.5),
        (0, -thick / 2 - 0.023, high / 2),
    )


@shape("notebook")
def notebook(look: Look) -> None:
    """A soft notebook with rounded corners, an elastic band and a ribbon."""
    wide, high = 1.2, 1.75
    box((wide, 0.22, high), matte(look.main, rough=0.65), edge=0.05)
    box((wide * 0.96, 0.16, high * 1.004), matte(rgb("f1ead8"), rough=0.95), (0.05, 0, -0.003), edge=0.01)
    box((0.06, 0.24, high * 1.012), matte(look.accent), (wide * 0.36, 0, -0.004), edge=0.01)
    panel(wide * 0.5, wide * 0.34, printed(look.art(1.5, light=True)), (-0.12, -0.114, high * 0.62))


@shape("soap bar")
def soap_bar(look: Look) -> None:
    """A bar of soap, half in its paper sleeve, leaning on nothing but itself."""
    box((1.4, 0.9, 0.42), material(mix(look.main, (1, 1, 1), 0.4), rough=0.35, soft=0.6), edge=0.12)
    box((0.8, 0.92, 0.44), matte(look.light, rough=0.6), (-0.1, 0, -0.002), edge=0.1)
    panel(0.78, 0.3, printed(look.art(2.4)), (-0.1, -0.463, 0.21))
    ball(0.06, glossy((0.9, 0.95, 1.0)), (0.5, -0.2, 0.44), (1, 1, 0.4))
