"""Light by name, apart from the setting: a panorama for the surroundings, a key lamp, and what else makes the mood.

To add a light: one entry in `LIGHTS`, and its phrases in the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import bpy
from mathutils import Vector

from caig_scenes.colors import RGB, rgb
from caig_scenes.materials import matte
from caig_scenes.shapes import Point, blades
from caig_scenes.stage import set_world

CENTRE: Point = (0.0, 0.0, 0.9)


@dataclass(frozen=True, kw_only=True)
class Light:
    """`around` lights from everywhere (a panorama and its strength). The key lamp: colour, power in W, size, height in
    degrees, and its turn in degrees from the camera (0) to behind the product (180). `rim` lamps stand behind."""

    around: str
    strength: float
    tint: str = "ffffff"
    color: str = "ffffff"
    power: float = 300.0
    size: float = 2.0
    height: tuple[float, float] = (35, 60)
    turn: tuple[float, float] = (30, 75)
    fill: float = 0.0
    rim: tuple[str, ...] = ()
    leaves: bool = False
    exposure: float = 0.0


LIGHTS = {
    "soft": Light(around="studio", strength=0.75, tint="fffaf4", color="fff6ec", power=380, size=4.5, fill=0.25),
    "dramatic": Light(
        around="studio",
        strength=0.16,
        color="fff0e0",
        power=780,
        size=0.9,
        height=(20, 45),
        turn=(70, 115),
        rim=("dfe8ff",),
        exposure=0.2,
    ),
    "cool": Light(around="courtyard", strength=0.5, tint="b9d4ff", color="d4e6ff", power=430, size=2.5, fill=0.2),
    "warm": Light(
        around="interior", strength=0.5, tint="ffc890", color="ffb468", power=430, size=2.0, height=(25, 50), fill=0.15
    ),
    "morning": Light(
        around="sunrise",
        strength=0.6,
        tint="fff2e0",
        color="ffe2b4",
        power=800,
        size=0.9,
        height=(28, 45),
        turn=(55, 100),
        fill=0.1,
    ),
    "golden": Light(
        around="sunset",
        strength=0.4,
        tint="ffd2a0",
        color="ffa44c",
        power=1100,
        size=0.6,
        height=(14, 26),
        turn=(65, 125),
        fill=0.15,
        exposure=0.3,
    ),
    "neon": Light(
        around="night",
        strength=0.35,
        tint="8a5cff",
        color="c89cff",
        power=130,
        size=2.5,
        turn=(0, 30),
        rim=("ff2fa0", "2f7bff"),
        exposure=0.2,
    ),
    "backlit": Light(
        around="courtyard",
        strength=0.45,
        tint="fff4e2",
        color="ffe6bc",
        power=1000,
        size=1.6,
        height=(28, 50),
        turn=(140, 168),
        fill=0.45,
    ),
    "dappled": Light(
        around="courtyard",
        strength=0.4,
        tint="fff3df",
        color="ffe9c4",
        power=1500,
        size=0.35,
        height=(34, 50),
        turn=(35, 75),
        leaves=True,
    ),
}


def set_light(name: str, seen: str | RGB, seen_strength: float, rng: Random) -> float:
    """Light the stage; `seen` is what the camera sees where nothing stands. Returns the exposure in stops."""
    light = LIGHTS[name]
    set_world(
        light.around,
        light.strength * rng.uniform(0.9, 1.15),
        rng.uniform(0, 2 * math.pi),
        rgb(light.tint),
        seen,
        seen_strength,
    )
    side = rng.choice([-1, 1])
    turn, height = (math.radians(rng.uniform(*pair)) for pair in (light.turn, light.height))
    power = light.power * rng.uniform(0.85, 1.2)
    place = around(side * turn, height, 6.5)
    lamp(place, rgb(light.color), power, light.size)
    if light.fill:
        lamp(around(-side * 0.9, 0.4, 6.5), (1, 1, 1), power * light.fill, 5)
    for k, color in enumerate(light.rim):
        lamp(around(-side * (2.3 if k == 0 else -2.2), 0.45, 5), rgb(color), 520 if name == "neon" else 260, 1.6)
    if light.leaves:
        _leaves_before(place, rng)
    return light.exposure


def set_neutral_light() -> None:
    """The light of every product picture, the same for all."""
    set_world((1, 1, 1), 0.7, 0.0, (1, 1, 1), (1, 1, 1))
    lamp((-4, -4.5, 5.5), (1, 1, 1), 420, 3.5)
    lamp((5, -4, 3), (1, 1, 1), 170, 4)


def around(turn: float, height: float, distance: float) -> Point:
    """A place about the product: `turn` from the camera's side to the right, `height` above the floor, in radians."""
    flat = distance * math.cos(height)
    return flat * math.sin(turn), -flat * math.cos(turn), CENTRE[2] + distance * math.sin(height)


def lamp(at: Point, color: RGB, power: float, size: float) -> None:
    """A square area lamp that looks at the product."""
    data = bpy.data.lights.new("lamp", "AREA")
    data.energy, data.color, data.size = power, color, size
    made = bpy.data.objects.new("lamp", data)
    made.location = at
    made.rotation_euler = (Vector(CENTRE) - Vector(at)).to_track_quat("-Z", "Y").to_euler()
    made.visible_camera = False
    bpy.context.scene.collection.objects.link(made)


def _leaves_before(place: Point, rng: Random) -> None:
    """Twigs between lamp and product, out of the camera's sight: their shadows play over the scene."""
    middle = Vector(place).lerp(Vector(CENTRE), 0.42)
    roots = []
    for _ in range(34):
        x, y, z = (middle[i] + rng.uniform(-1.5, 1.5) for i in range(3))
        roots.append(
            (
                (x, y, z),
                rng.uniform(0.1, 0.24),
                rng.uniform(-0.5, 0.5),
                (rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6), rng.uniform(0, 6)),
            )
        )
    blades(roots, matte((0.05, 0.1, 0.03))).visible_camera = False
