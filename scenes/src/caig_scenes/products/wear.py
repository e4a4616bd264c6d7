"""Things to wear and carry: watches, shoes, bags and glasses."""

from __future__ import annotations

import math

from caig_scenes.colors import rgb, shade
from caig_scenes.materials import cloth, glossy, material, matte, metallic, plastic, printed
from caig_scenes.products.goods import BLACK, leather, loft, mesh_cloth, section
from caig_scenes.products.look import Look, shape
from caig_scenes.shapes import Material, Point, arc, ball, box, cylinder, panel, ring, sheet, tube, turned


def _watch(look: Look, face: Material, *, square: bool) -> None:
    """A watch standing on its closed strap, its face towards the camera."""
    strap = look.rng.choice([leather(look.main), plastic(look.main), metallic(look.metal, rough=0.3)])
    case = look.rng.choice([metallic(look.metal), metallic(rgb("d5d7da")), metallic(rgb("3a3c42"))])
    loop = [(0.62 + 0.06 * math.cos(2 * t), t) for t in [2 * math.pi * i / 48 for i in range(49)]]
    sheet(
        [
            [(side * 0.24, -r * 0.9 * math.cos(t), 0.72 + r * math.sin(t) * 1.1) for side in (-1, -0.5, 0, 0.5, 1)]
            for r, t in loop
        ],
        strap,
    )
    tilt: Point = (math.pi / 2, 0, 0)
    if square:
        box((0.82, 0.98, 0.2), case, (0, -0.56, 0.76), edge=0.09, turn=tilt)
        box((0.72, 0.88, 0.02), glossy(BLACK), (0, -0.76, 0.76), edge=0.008, turn=tilt)
    else:
        cylinder(0.56, 0.2, case, (0, -0.56, 0.76), edge=0.05).rotation_euler = tilt
        ring(0.5, 0.05, case, (0, -0.76, 0.76), tilt)
        crown = cylinder(0.07, 0.12, case, (0.54, -0.66, 0.76))
        crown.rotation_euler = (0, math.pi / 2, 0)
    cylinder(0.46 if not square else 0.34, 0.012, face, (0, -0.765, 0.76)).rotation_euler = tilt


@shape("wrist watch")
def wrist_watch(look: Look) -> None:
    """An analogue watch at ten past ten."""
    dial = look.rng.choice([matte(look.light), glossy(BLACK), glossy(shade(look.main, 0.6))])
    _watch(look, dial, square=False)
    hand = metallic(look.metal)
    for k in range(12):
        a = k * math.pi / 6
        box(
            (0.03, 0.012, 0.09), hand, (0.37 * math.sin(a), -0.785, 0.76 + 0.37 * math.cos(a)), edge=0.0, turn=(0, a, 0)
        )
    for a, length in ((-1.05, 0.26), (1.05, 0.36)):
        box((0.035, 0.014, length), hand, (0, -0.795, 0.76), edge=0.0, turn=(0, a, 0))


@shape("smart watch")
def smart_watch(look: Look) -> None:
    """A square watch with rings on its screen."""
    _watch(look, glossy(BLACK), square=True)
    for k, tone in enumerate(("ff3b6b", "8be04e", "35c8f0")):
        ring(0.27 - 0.075 * k, 0.026, material(rgb(tone), emit=1.6), (0, -0.785, 0.76), (math.pi / 2, 0, 0))


@shape("sneaker")
def sneaker(look: Look) -> None:
    """A low sneaker from the side, toe to the left."""
    upper = look.rng.choice([leather(look.main), mesh_cloth(look.main), cloth(look.main)])
    sole = plastic(look.rng.choice([rgb("f7f7f5"), look.light, look.accent]))
    shape_of = [
        (-1.06, 0.1, 0.28),
        (-0.98, 0.26, 0.36),
        (-0.75, 0.36, 0.46),
        (-0.4, 0.38, 0.6),
        (-0.1, 0.35, 0.8),
        (0.2, 0.31, 0.92),
        (0.55, 0.3, 0.9),
        (0.8, 0.29, 0.98),
        (0.92, 0.22, 1.0),
        (0.97, 0.06, 0.9),
    ]
    loft([section(x, half, 0.1, high, square=0.72) for x, half, high in shape_of], upper)
    loft(
        [
            section(x, half + 0.05, 0.0, 0.22 + 0.06 * (x > 0.2), square=0.5)
            for x, half in (
                (-1.14, 0.08),
                (-1.06, 0.24),
                (-0.8, 0.36),
                (-0.4, 0.37),
                (0.1, 0.33),
                (0.6, 0.32),
                (0.95, 0.26),
                (1.03, 0.08),
            )
        ],
        sole,
    )
    ball(0.3, matte(shade(look.main, 0.3)), (0.52, 0, 0.92), (1.05, 0.72, 0.2))
    lace = matte(look.rng.choice([look.light, look.accent]))
    for k in range(5):
        x, z, half = -0.5 + 0.14 * k, 0.59 + 0.085 * k, 0.25
        tube(
            [
                (x - 0.03, -half, z - 0.1),
                (x, -half * 0.5, z + 0.02),
                (x, half * 0.5, z + 0.02),
                (x - 0.03, half, z - 0.1),
            ],
            0.03,
            lace,
        )
    mark = matte(look.accent)
    for k in range(look.rng.choice([1, 2, 3])):
        tube(
            [(-0.15 + 0.15 * k, -0.375, 0.28), (0.02 + 0.15 * k, -0.36, 0.5), (0.12 + 0.15 * k, -0.32, 0.72)],
            0.032,
            mark,
        )
    box((0.12, 0.4, 0.3), mark, (0.93, 0, 0.5), edge=0.05)


@shape("boot")
def boot(look: Look) -> None:
    """An ankle boot from the side."""
    made = leather(look.main)
    foot = [
        (-1.0, 0.08, 0.26),
        (-0.93, 0.24, 0.4),
        (-0.7, 0.33, 0.52),
        (-0.3, 0.33, 0.66),
        (0.1, 0.31, 0.82),
        (0.5, 0.3, 0.84),
        (0.68, 0.2, 0.8),
    ]
    loft([section(x, half, 0.12, high, square=0.7) for x, half, high in foot], made)
    leg = turned(
        [(0.3, 0), (0.38, 0.2), (0.36, 0.7), (0.4, 1.0), (0.42, 1.02), (0.38, 1.0), (0.34, 0.8)], made, (0.24, 0, 0.6)
    )
    leg.scale = (1.1, 0.8, 0.95)
    sole = matte(rgb(look.rng.choice(["2a221c", "1d1d20", "b98a58"])))
    loft(
        [
            section(x, half, 0.0, 0.15, square=0.5)
            for x, half in ((-1.05, 0.1), (-0.95, 0.28), (-0.6, 0.36), (0.0, 0.33), (0.55, 0.33), (0.72, 0.2))
        ],
        sole,
    )
    box((0.42, 0.6, 0.16), sole, (0.42, 0, 0.0), edge=0.03)
    tube([(0.62, 0, 1.5), (0.72, 0, 1.7), (0.6, 0, 1.6)], 0.03, made)
    for k in range(5):
        tube(
            [
                (-0.3 + 0.08 * k, -0.2, 0.62 + 0.15 * k),
                (-0.24 + 0.07 * k, 0, 0.76 + 0.15 * k),
                (-0.3 + 0.08 * k, 0.2, 0.62 + 0.15 * k),
            ],
            0.026,
            matte(rgb("e8d8b8")),
        )


def _bag_body(look: Look, wide: float, deep: float, high: float, made: Material, taper: float) -> None:
    """A soft body, narrower by `taper` at the top."""
    rows = []
    for k in range(13):
        v = k / 12
        half, thick = wide / 2 * (1 - taper * v), deep / 2 * (1 - 0.75 * taper * v) * (1 + 0.12 * math.sin(math.pi * v))
        rows.append(
            [
                (x, y, high * v)
                for x, y, _ in (
                    (
                        half * math.copysign(abs(math.cos(t)) ** 0.35, math.cos(t)),
                        thick * math.copysign(abs(math.sin(t)) ** 0.35, math.sin(t)),
                        0,
                    )
                    for t in [2 * math.pi * i / 40 for i in range(40)]
                )
            ]
        )
    centre = [[(0.0, 0.0, z)] * 40 for z in (0.0, high)]
    sheet([centre[0], *rows, centre[1]], made, closed=True)


@shape("handbag")
def handbag(look: Look) -> None:
    """A structured leather bag with a flap and an arched handle."""
    wide, high, made = look.pick(1.5, 1.8), look.pick(1.0, 1.2), leather(look.main)
    _bag_body(look, wide, 0.55, high, made, 0.12)
    box((wide * 0.84, 0.05, high * 0.5), leather(shade(look.main, 0.9)), (0, -0.29, high * 0.5), edge=0.02)
    box((0.26, 0.05, 0.16), metallic(look.metal), (0, -0.33, high * 0.5), edge=0.02)
    for y in (-0.14, 0.14):
        tube(arc(wide * 0.28, 0, math.pi, tall=1.25), 0.042, leather(shade(look.main, 0.8)), (0, y, high * 0.97))
    for x in (-1, 1):
        ring(0.07, 0.018, metallic(look.metal), (x * wide * 0.28, -0.2, high * 0.97), (math.pi / 2, 0, 0))


@shape("tote bag")
def tote_bag(look: Look) -> None:
    """A canvas tote with a print."""
    wide, high = 1.35, look.pick(1.2, 1.4)
    canvas = cloth(look.rng.choice([rgb("eadfc8"), look.main, look.light]), weave=60)
    _bag_body(look, wide, 0.4, high, canvas, -0.06)
    panel(
        wide * 0.62,
        high * 0.5,
        printed(look.art(wide * 0.62 / (high * 0.5), light=True), rough=0.9, coat=0.0),
        (0, -0.232, high * 0.48),
    )
    for y in (-0.16, 0.16):
        tube(arc(0.36, 0, math.pi, tall=1.7), 0.04, canvas, (0, y, high * 0.98))


@shape("backpack")
def backpack(look: Look) -> None:
    """A backpack with a front pocket."""
    made = look.rng.choice([cloth(look.main), leather(look.main)])
    _bag_body(look, 1.25, 0.65, 1.35, made, 0.08)
    ball(0.6, made, (0, 0, 1.34), (0.96, 0.48, 0.5), detail=40)
    box((0.95, 0.22, 0.62), made, (0, -0.38, 0.16), edge=0.09)
    trim = leather(rgb("7a4a28"))
    for x in (-0.28, 0.28):
        box((0.1, 0.06, 1.3), trim, (x, -0.37, 0.3), edge=0.02)
        box((0.14, 0.05, 0.1), metallic(look.metal), (x, -0.51, 0.6), edge=0.01)
    tube(arc(0.22, 0, math.pi, tall=1.0), 0.045, trim, (0, 0.12, 1.58))


@shape("sunglasses")
def sunglasses(look: Look) -> None:
    """Sunglasses standing on folded temples."""
    made = look.rng.choice([glossy(look.main), metallic(look.metal), glossy(BLACK)])
    lens = material(rgb(look.rng.choice(["1d2024", "3a2a18", "1c3a4a", "54203a"])), rough=0.04, coat=1.0, metal=0.35)
    tall = look.pick(0.75, 1.0)
    for x in (-0.56, 0.56):
        ring(0.42, 0.055, made, (x, -0.02, 0.46), (math.pi / 2, 0, 0), (1.08, tall, 1))
        disc = cylinder(0.42, 0.03, lens, (x, 0.0, 0.46), edge=0.005)
        disc.rotation_euler, disc.scale = (math.pi / 2, 0, 0), (1.08, tall, 1)
        side = math.copysign(1, x)
        tube(
            [(side * 1.02, 0.02, 0.6), (side * 1.06, 0.3, 0.58), (side * 1.0, 1.15, 0.46), (side * 0.95, 1.4, 0.12)],
            0.045,
            made,
        )
    tube([(-0.16, -0.02, 0.55), (0, -0.04, 0.6), (0.16, -0.02, 0.55)], 0.05, made)
