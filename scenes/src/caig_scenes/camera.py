"""The camera: it finds the distance from which the product fills the wanted share of the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
from numpy.typing import NDArray

SENSOR = 36.0  # mm along the short side of the picture
MARGIN = 0.04  # of the short side, between product and edge
FOCUS = 2.2  # f-stops are told by their blur far behind; this much narrower, the whole product stays sharp before it


@dataclass(frozen=True, kw_only=True)
class Shot:
    """How a picture is taken. Lengths in shares of the picture's short side: the product's `height` in the picture, and
    where its centre is (`across` to the right of the middle, `up` above it). Angles in radians, `lens` in mm."""

    lens: float
    pitch: float
    yaw: float
    height: float
    across: float = 0.0
    up: float = 0.0
    aperture: float | None = None


def place_camera(scene: bpy.types.Scene, product: Sequence[bpy.types.Object], shot: Shot) -> None:
    """Put a camera where `shot` is met: the product at its height, but at most 0.84 of the picture wide."""
    data = bpy.data.cameras.new("camera")
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    width, height = scene.render.resolution_x, scene.render.resolution_y
    data.lens, data.sensor_width, data.sensor_height = shot.lens, SENSOR, SENSOR
    data.sensor_fit = "VERTICAL" if width > height else "HORIZONTAL"
    points = corners(product)
    centre = (points.min(0) + points.max(0)) / 2
    back = Vector(
        (math.sin(shot.yaw) * math.cos(shot.pitch), -math.cos(shot.yaw) * math.cos(shot.pitch), math.sin(shot.pitch))
    )
    camera.rotation_euler = (-back).to_track_quat("-Z", "Y").to_euler()
    axes = np.array(camera.rotation_euler.to_matrix().transposed())  # rows: right, up, towards the viewer
    widest = 0.84 * width / min(width, height)
    distance = 8.0
    for _ in range(8):
        low, high = _extent(points - centre, axes, distance, shot.lens)
        distance *= max((high[1] - low[1]) / shot.height, (high[0] - low[0]) / widest)
    low, high = _extent(points - centre, axes, distance, shot.lens)
    camera.location = Vector(centre) + back * distance
    data.shift_x, data.shift_y = (
        (low[axis] + high[axis]) / 2 - _inside(wanted, (high[axis] - low[axis]) / 2, side / min(width, height) / 2)
        for axis, wanted, side in ((0, shot.across, width), (1, shot.up, height))
    )
    data.dof.use_dof = shot.aperture is not None
    if shot.aperture is not None:
        front = float(((points - centre) @ axes[2]).max())
        data.dof.focus_distance = distance - 0.6 * front
        data.dof.aperture_fstop = FOCUS * shot.aperture


def _inside(wanted: float, half: float, edge: float) -> float:
    """The place nearest to `wanted` at which a product of `half` its size stays within ±`edge`, less a margin."""
    room = max(0.0, edge - half - MARGIN)
    return min(max(wanted, -room), room)


def box_in_picture(scene: bpy.types.Scene, objects: Sequence[bpy.types.Object]) -> list[float]:
    """Left, top, right, bottom of the objects in the picture, each a share of its width or height from the top left."""
    seen = [world_to_camera_view(scene, scene.camera, Vector(point)) for point in corners(objects)]
    across, up = [point.x for point in seen], [point.y for point in seen]
    return [round(value, 4) for value in (min(across), 1 - max(up), max(across), 1 - min(up))]


def corners(objects: Sequence[bpy.types.Object]) -> NDArray[np.float64]:
    """Points f64[n, 3] that span the objects in the world: the vertices of meshes, the boxes of curves."""
    bpy.context.view_layer.update()
    clouds = []
    for thing in objects:
        if thing.type == "MESH":
            flat = np.empty(3 * len(thing.data.vertices))
            thing.data.vertices.foreach_get("co", flat)
            local = flat.reshape(-1, 3)
        else:
            local = np.array(thing.bound_box)
        matrix = np.array(thing.matrix_world)
        clouds.append(local @ matrix[:3, :3].T + matrix[:3, 3])
    return np.concatenate(clouds)


def _extent(
    points: NDArray[np.float64], axes: NDArray[np.float64], distance: float, lens: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest (x, y) in the picture, in shares of its short side from the middle."""
    seen = points @ axes.T
    flat = seen[:, :2] / np.maximum(distance - seen[:, 2:], 0.1) * lens / SENSOR
    return flat.min(0), flat.max(0)
