"""Durable goods: lamps, speakers, headphones, watches, shoes, bags, glasses, cameras and phones."""

from __future__ import annotations

import math

from caig_scenes.colors import RGB, mix, rgb, shade
from caig_scenes.materials import Pattern, clear, glossy, material, matte, metallic, plastic, wood
from caig_scenes.products.containers import shoulder
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import Material, Point, arc, ball, box, cylinder, panel, ring, sheet, tube, turned

BLACK = rgb("1d1d20")
BULB = (1.0, 0.72, 0.42)


def leather(color: RGB) -> Material:
    grain = Pattern(kind="voronoi", second=shade(color, 0.75), scale=(14, 14, 14), ramp=(0.0, 0.9), bump=0.12)
    return material(color, rough=0.48, coat=0.15, pattern=grain)


def mesh_cloth(color: RGB) -> Material:
    holes = Pattern(kind="voronoi", second=shade(color, 0.35), scale=(12, 12, 12), ramp=(0.1, 0.6), bump=0.3)
    return material(color, rough=0.75, pattern=holes)


def loft(sections: list[list[Point]], made: Material) -> None:
    """A skin through closed cross-sections."""
    sheet(sections, made, closed=True)


def section(x: float, half: float, low: float, high: float, *, square: float = 0.75, steps: int = 28) -> list[Point]:
    """A rounded cross-section of the y-z plane at x; `square` < 1 is boxier than an ellipse."""
    points = []
    for i in range(steps):
        c, s = math.cos(2 * math.pi * i / steps), math.sin(2 * math.pi * i / steps)
        y, z = (math.copysign(abs(v) ** square, v) for v in (c, s))
        points.append((x, half * y, (low + high) / 2 + (high - low) / 2 * z))
    return points


@shape("cone lamp")
def cone_lamp(look: Look) -> None:
    """A table lamp with a fabric shade."""
    high, wide = look.pick(0.8, 1.05), look.pick(0.62, 0.78)
    foot = look.rng.choice([metallic(look.metal), glossy(look.light), glossy(look.accent), wood(rgb("9a6a3c"))])
    if look.chance(0.5):
        turned([(0, 0), (0.4, 0), (0.42, 0.05), (0.08, 0.14), (0.05, 0.2), (0.05, high)], foot)
    else:
        turned(
            [
                (0, 0),
                (0.26, 0),
                *shoulder(0.26, 0.44, 0.02, 0.4),
                *shoulder(0.44, 0.06, 0.42, high * 0.85),
                (0.05, high),
            ],
            foot,
        )
    shade_cloth = material(look.main, rough=0.9, emit=0.35)
    turned(
        [
            (wide, high * 0.92),
            (wide * 0.62, high * 0.92 + 0.72),
            (wide * 0.61, high * 0.92 + 0.72),
            (wide * 0.98, high * 0.92),
        ],
        shade_cloth,
    )
    ball(0.13, material(BULB, emit=5), (0, 0, high + 0.15))


@shape("mushroom lamp")
def mushroom_lamp(look: Look) -> None:
    """A domed designer lamp in one colour."""
    made = glossy(look.main)
    turned([(0, 0), (0.42, 0), *shoulder(0.42, 0.16, 0.03, 0.5), (0.15, 1.0)], made)
    dome = [(0.85 * math.cos(t), 0.95 + 0.68 * math.sin(t)) for t in [math.pi / 2 * i / 14 for i in range(15)]]
    turned([(0.0, 0.97), (0.82, 0.94), *dome], material(look.main, rough=0.2, coat=0.8, emit=0.12))
    ball(0.2, material(BULB, emit=4), (0, 0, 0.9), (1, 1, 0.6))


@shape("globe lamp")
def globe_lamp(look: Look) -> None:
    """A glowing globe on a small foot."""
    radius = look.pick(0.5, 0.62)
    foot = look.rng.choice([metallic(look.metal), wood(rgb("9a6a3c")), glossy(look.main)])
    cylinder(0.42, 0.1, foot, edge=0.03)
    cylinder(0.09, look.pick(0.3, 0.7), foot, (0, 0, 0.08))
    ball(
        radius, material(mix((1.0, 0.9, 0.74), look.main, 0.15), rough=0.3, emit=1.3), (0, 0, 0.55 + radius), detail=40
    )
    ring(0.16, 0.04, foot, (0, 0, 0.58))


@shape("desk lamp")
def desk_lamp(look: Look) -> None:
    """A jointed work lamp."""
    made, joint = glossy(look.main), metallic(look.metal)
    cylinder(0.45, 0.09, made, edge=0.03)
    tube([(0, 0, 0.05), (0.38, 0, 0.95)], 0.035, joint)
    tube([(0.38, 0, 0.95), (-0.32, 0, 1.65)], 0.035, joint)
    ball(0.08, made, (0.38, 0, 0.95))
    head = turned([(0.42, 0), (0.4, 0.1), *shoulder(0.36, 0.12, 0.16, 0.42), (0.1, 0.55), (0, 0.56)], made)
    bulb = ball(0.15, material(BULB, emit=6), (0, 0, 0.08))
    for part in (head, bulb):
        part.location, part.rotation_euler = (-0.42, -0.05, 1.22), (0.35, 0.5, 0)


@shape("cylinder speaker")
def cylinder_speaker(look: Look) -> None:
    """A cloth-covered smart speaker."""
    radius, high = look.pick(0.52, 0.66), look.pick(1.1, 1.6)
    cylinder(radius, high, mesh_cloth(look.main), edge=0.12)
    cylinder(radius * 0.8, 0.03, glossy(BLACK), (0, 0, high - 0.01))
    ring(radius * 0.8, 0.02, material(rgb("7fd6ff"), emit=2.5), (0, 0, high + 0.01))
    cylinder(radius * 1.01, 0.06, matte(BLACK))


@shape("ball speaker")
def ball_speaker(look: Look) -> None:
    """A small round speaker with a carrying loop."""
    ball(0.72, mesh_cloth(look.main), (0, 0, 0.7), (1, 0.95, 0.97), detail=48)
    cylinder(0.4, 0.06, matte(BLACK))
    ring(0.735, 0.035, plastic(look.accent), (0, 0, 0.7), (math.pi / 2, 0, 0))
    tube(arc(0.28, 0.2, math.pi - 0.2, tall=1.3), 0.035, leather(rgb("7a4a28")), (0, 0, 1.33))


@shape("retro radio")
def retro_radio(look: Look) -> None:
    """A portable radio: cloth front, dial and handle."""
    wide, high = look.pick(1.7, 2.0), look.pick(1.0, 1.2)
    body = look.rng.choice([leather(look.main), wood(rgb("7d4e2a")), plastic(look.main)])
    box((wide, 0.6, high), body, edge=0.12)
    box((wide * 0.5, 0.05, high * 0.78), mesh_cloth(rgb("cbb896")), (-wide * 0.2, -0.29, high * 0.11), edge=0.02)
    dial = cylinder(high * 0.27, 0.06, metallic(look.metal), (wide * 0.27, -0.29, high * 0.55))
    face = cylinder(high * 0.21, 0.02, matte(rgb("f6efe0")), (wide * 0.27, -0.35, high * 0.55))
    dial.rotation_euler = face.rotation_euler = (math.pi / 2, 0, 0)
    for x in (0.14, 0.27, 0.4):
        knob = cylinder(0.06, 0.08, metallic(look.metal), (wide * x, -0.28, high * 0.18))
        knob.rotation_euler = (math.pi / 2, 0, 0)
    tube(
        [(-wide * 0.4, 0, high), (-wide * 0.38, 0, high + 0.2), (wide * 0.38, 0, high + 0.2), (wide * 0.4, 0, high)],
        0.045,
        metallic(look.metal),
    )


@shape("headphones")
def headphones(look: Look) -> None:
    """Over-ear headphones, standing on their cups."""
    made, soft = look.rng.choice([plastic(look.main), matte(look.main), metallic(look.main)]), leather(rgb("2a2a2d"))
    band = [(0.78 * math.cos(t), 0, 0.78 + 0.95 * math.sin(t)) for t in [math.pi * i / 30 for i in range(31)]]
    for dy in (-0.07, 0.0, 0.07):
        tube([(x, dy, z) for x, _, z in band], 0.05, made)
    tube([(x * 0.93, 0, z - 0.06) for x, _, z in band[6:25]], 0.085, soft)
    for side in (-1, 1):
        ball(0.46, made, (side * 0.86, 0, 0.5), (0.36, 0.85, 1.06), detail=40)
        ball(0.42, soft, (side * 0.66, 0, 0.5), (0.4, 0.86, 1.06), detail=40)
        ring(0.2, 0.02, metallic(look.metal), (side * 1.02, 0, 0.5), (0, math.pi / 2, 0))


@shape("earbuds")
def earbuds(look: Look) -> None:
    """An open charging case with two buds."""
    made = glossy(look.main)
    box((1.3, 0.62, 0.72), made, edge=0.26)
    box((1.1, 0.46, 0.03), matte(shade(look.main, 0.6)), (0, 0, 0.7), edge=0.01)
    lid = box((1.3, 0.62, 0.3), made, (0, 0.42, 0.78), edge=0.14)
    lid.rotation_euler = (math.radians(-75), 0, 0)
    for x in (-0.3, 0.3):
        ball(0.19, glossy(look.light), (x, -0.02, 0.85))
        tube([(x, -0.05, 0.85), (x * 0.9, -0.12, 0.62)], 0.07, glossy(look.light))


@shape("camera")
def camera(look: Look) -> None:
    """A retro camera with a lens."""
    skin = leather(look.rng.choice([look.main, BLACK, look.main]))
    top = metallic(look.rng.choice([rgb("d5d7da"), rgb("3a3c42")]), rough=0.3)
    box((1.75, 0.55, 0.78), skin, (0, 0, 0.12), edge=0.08)
    box((1.75, 0.56, 0.14), top, edge=0.05)
    box((1.75, 0.56, 0.24), top, (0, 0, 0.86), edge=0.06)
    box((0.55, 0.5, 0.22), top, (0, 0, 1.06), edge=0.08)
    for radius, deep, y, made in (
        (0.46, 0.22, -0.27, top),
        (0.4, 0.3, -0.45, matte(BLACK)),
        (0.31, 0.02, -0.745, glossy(rgb("141a30"))),
    ):
        cylinder(radius, deep, made, (0, y, 0.56), edge=0.03).rotation_euler = (math.pi / 2, 0, 0)
    ring(0.36, 0.05, matte(BLACK), (0, -0.75, 0.56), (math.pi / 2, 0, 0))
    for x, radius in ((-0.62, 0.13), (0.6, 0.17)):
        cylinder(radius, 0.12, top, (x, 0, 1.09))


@shape("smartphone")
def smartphone(look: Look) -> None:
    """A phone, its screen lit with an abstract wallpaper."""
    box((0.92, 0.1, 1.9), metallic(look.main, rough=0.25), edge=0.045)
    screen = Look({**look.record, "noun": "", "brand": look.record["brand"]}).art(0.86 / 1.82, light=False, height=512)
    panel(0.86, 1.82, material(picture=screen, rough=0.08, coat=1.0), (0, -0.0525, 0.95))
    cylinder(0.035, 0.01, glossy(BLACK), (0, -0.05, 1.8)).rotation_euler = (math.pi / 2, 0, 0)


@shape("wine glass")
def wine_glass(look: Look) -> None:
    """A stemmed glass, half full."""
    glass, wine = (
        clear((0.97, 0.99, 0.98)),
        material(rgb(look.rng.choice(["5a0f22", "e8c070", "c9566a"])), rough=0.03, glass=0.6, coat=0.5),
    )
    bowl = shoulder(0.06, 0.5, 0.85, 1.2)
    turned(
        [
            (0, 0),
            (0.42, 0.01),
            (0.42, 0.03),
            (0.06, 0.08),
            (0.045, 0.8),
            *bowl,
            (0.5, 1.35),
            (0.4, 1.9),
            (0.385, 1.9),
            (0.485, 1.35),
        ],
        glass,
    )
    turned([(0, 0.92), *((r * 0.94, z + 0.02) for r, z in bowl), (0.475, 1.36), (0, 1.36)], wine)
