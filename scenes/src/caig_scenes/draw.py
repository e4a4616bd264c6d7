"""From a record to pictures: builds the stage, places the product, and takes the scene and its neutral product pass."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix
from PIL import Image

from caig_scenes.backdrops import BACKDROPS
from caig_scenes.camera import Shot, box_in_picture, corners, place_camera
from caig_scenes.colors import NAMED, mix, rgb
from caig_scenes.floors import lay_floor
from caig_scenes.lights import set_light, set_neutral_light
from caig_scenes.materials import matte
from caig_scenes.mood import Mood
from caig_scenes.plan import chance
from caig_scenes.products import build
from caig_scenes.props import PROPS
from caig_scenes.shapes import box, gather
from caig_scenes.stage import empty_stage, expose, take
from caig_scenes.still_life import lay_podium

PRODUCT_SIZE = 288
SAMPLES, PLATE_SAMPLES, NEUTRAL_SAMPLES = 14, 8, 6
LEAN = 0.17  # radians that a leaning product tips back


def draw_product(record: dict[str, Any]) -> dict[str, bytes]:
    """`image.webp`: RGBA, the product alone under neutral light."""
    scene = empty_stage(PRODUCT_SIZE, PRODUCT_SIZE)
    objects = build(record)
    gather(objects, Matrix.Rotation(0.2, 4, "Z"))
    place_camera(scene, objects, Shot(lens=90, pitch=0.14, yaw=0, height=0.82))
    return {"image.webp": _webp(_neutral(scene), 92)}


def draw_scene(record: dict[str, Any]) -> dict[str, bytes]:
    """`image.webp`: the whole picture; `product.webp`: RGBA, the same product, pose and camera under neutral light."""
    scene, objects = _set(record, SAMPLES)
    picture = take(scene).convert("RGB")
    kept = set(objects)
    for thing in bpy.data.objects:
        thing.hide_render = thing not in kept and thing.type != "CAMERA"
    scene.camera.data.dof.use_dof = False
    return {"image.webp": _webp(picture, 93), "product.webp": _webp(_neutral(scene), 92)}


def draw_plate(record: dict[str, Any]) -> dict[str, bytes]:
    """`image.webp`: the picture without the product; `stand.json`: where it would stand, as shares of width and height
    from the top left."""
    scene, objects = _set(record, PLATE_SAMPLES)
    for thing in objects:
        thing.hide_render = True
    stand = dict(zip(("left", "top", "right", "bottom"), box_in_picture(scene, objects), strict=True))
    return {"image.webp": _webp(take(scene).convert("RGB"), 90), "stand.json": json.dumps(stand).encode()}


def _set(record: dict[str, Any], samples: int) -> tuple[bpy.types.Scene, list[bpy.types.Object]]:
    """The lit scene with its camera, and the product's objects in it."""
    scene = empty_stage(*record["size"])
    how, rng = record["take"], chance(record["product"]["seed"], "set", record["id"])
    objects = build(record["product"])
    _pose(objects, record["pose"], how["turn"])
    cloud = corners(objects)
    mood = Mood(rng, rgb(NAMED[record["product"]["color"]]), float(np.abs(cloud[:, :2]).max()))
    _furnish(record, mood, objects, cloud)
    seen = _surround(record, mood)
    shot = {name: how[name] for name in ("lens", "pitch", "yaw", "height", "across", "up")}
    place_camera(scene, objects, Shot(**shot, aperture=record["aperture"]))
    exposure = set_light(record["lighting"], *seen, rng)
    expose(scene, samples=samples, look="AgX", exposure=0.55 + exposure, transparent=False)
    return scene, objects


def _neutral(scene: bpy.types.Scene) -> Image.Image:
    set_neutral_light()
    expose(scene, samples=NEUTRAL_SAMPLES, look="Khronos PBR Neutral", exposure=0, transparent=True)
    return take(scene)


def _pose(objects: Sequence[bpy.types.Object], pose: str, turn: float) -> None:
    """Turn the product about its own axis; lay it on its side or tip it back if asked; let it touch the floor."""
    matrix = Matrix.Rotation(turn, 4, "Z")
    if pose == "lying":
        side = 1 if turn > 0 else -1
        matrix = (
            Matrix.Rotation(0.5 * turn, 4, "Z")
            @ Matrix.Rotation(side * math.pi / 2, 4, "Y")
            @ Matrix.Rotation(side * -0.25, 4, "Z")
        )
    elif pose == "leaning":
        matrix = matrix @ Matrix.Rotation(-LEAN, 4, "X")
    gather(objects, matrix)
    cloud = corners(objects)
    centre = (cloud.max(0) + cloud.min(0)) / 2
    gather_on = Matrix.Translation((-centre[0], -centre[1], -cloud[:, 2].min()))
    for thing in objects:
        thing.matrix_world = gather_on @ thing.matrix_world


def _furnish(record: dict[str, Any], mood: Mood, objects: Sequence[bpy.types.Object], cloud: np.ndarray) -> None:
    """What carries the product: a podium below it, or a block that it leans on."""
    if record["raised"]:
        lay_podium(mood, record["raised"], 1.25 * float(np.hypot(cloud[:, 0], cloud[:, 1]).max()))
        mood.clear *= 1.3
        for thing in objects:
            thing.matrix_world = Matrix.Translation((0, 0, record["raised"])) @ thing.matrix_world
    if record["pose"] == "leaning":
        tall = 0.62 * float(cloud[:, 2].max())
        rear = float(cloud[cloud[:, 2] < tall][:, 1].max())
        wide = 0.7 * float(np.ptp(cloud[:, 0]))
        made = matte(mix(mood.tone, (0.9, 0.88, 0.85), 0.5), rough=0.6)
        box((wide, 0.7, tall), made, (0, rear + 0.36, 0), edge=0.03, turn=(0, 0, record["take"]["turn"]))


def _surround(record: dict[str, Any], mood: Mood) -> tuple[Any, float]:
    """Floor, props and backdrop; what is seen beyond them."""
    backdrop = BACKDROPS[record["backdrop"]]
    seen = backdrop.build(mood)
    sweep = record["floor"] == "plain" and backdrop.sweep
    lay_floor(record["floor"], mood, table=backdrop.table, sweep=sweep)
    PROPS[record["props"]](mood)
    return seen


def _webp(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
