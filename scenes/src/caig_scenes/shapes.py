"""Meshes: turned, boxed, round, swept and flat bodies, each one call. Units are Blender's; a product is about 2 high.

The camera looks along +y: a body's front faces -y. Every function links the object to the scene and returns it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import bmesh
import bpy
from mathutils import Matrix, Vector

Point = tuple[float, float, float]
Material = bpy.types.Material
ORIGIN: Point = (0, 0, 0)
SMOOTH_BELOW = math.radians(40)  # sharper edges stay edges


def turned(
    profile: Sequence[tuple[float, float]], made: Material, at: Point = ORIGIN, sides: int = 64
) -> bpy.types.Object:
    """A lathe body from (radius, height) points, bottom first. UV: u around from the back, so 0.5 is the front; v along
    the profile by height."""
    mesh = bmesh.new()
    uv = mesh.loops.layers.uv.new()
    low, high = min(z for _, z in profile), max(z for _, z in profile)
    angles = [2 * math.pi * i / sides for i in range(sides)]
    rings = [[mesh.verts.new((-r * math.sin(a), r * math.cos(a), z)) for a in angles] for r, z in profile]
    for k in range(len(rings) - 1):
        for i in range(sides):
            j = (i + 1) % sides
            face = mesh.faces.new((rings[k][i], rings[k][j], rings[k + 1][j], rings[k + 1][i]))
            corners = ((i, k), (i + 1, k), (i + 1, k + 1), (i, k + 1))
            for loop, (column, row) in zip(face.loops, corners, strict=True):
                loop[uv].uv = (column / sides, (profile[row][1] - low) / max(high - low, 1e-6))
    return _link(mesh, made, at)


def cylinder(radius: float, height: float, made: Material, at: Point = ORIGIN, edge: float = 0.02) -> bpy.types.Object:
    """A closed cylinder with softened edges, standing on `at`."""
    e = min(edge, radius / 3, height / 3)
    return turned(
        [(0, 0), (radius - e, 0), (radius, e), (radius, height - e), (radius - e, height), (0, height)], made, at
    )


def box(size: Point, made: Material, at: Point = ORIGIN, edge: float = 0.02, turn: Point = ORIGIN) -> bpy.types.Object:
    """A box of `size` with rounded edges, standing on `at`."""
    mesh = bmesh.new()
    bmesh.ops.create_cube(mesh, size=1)
    for vertex in mesh.verts:
        vertex.co = Vector((vertex.co.x * size[0], vertex.co.y * size[1], vertex.co.z * size[2] + size[2] / 2))
    if edge:
        bmesh.ops.bevel(
            mesh,
            geom=list(mesh.edges),
            offset=min(edge, *(x / 3 for x in size)),
            segments=3,
            profile=0.5,
            affect="EDGES",
        )
    return _link(mesh, made, at, turn)


def ball(
    radius: float, made: Material, at: Point, scale: Point = (1, 1, 1), turn: Point = ORIGIN, detail: int = 24
) -> bpy.types.Object:
    """A ball, or an ellipsoid through `scale`, centred on `at`."""
    mesh = bmesh.new()
    bmesh.ops.create_uvsphere(mesh, u_segments=detail, v_segments=max(6, detail // 2), radius=radius)
    return _link(mesh, made, at, turn, scale)


def lump(
    radius: float, made: Material, at: Point, noise: Callable[[], float], scale: Point = (1, 1, 1), turn: Point = ORIGIN
) -> bpy.types.Object:
    """An irregular pebble: a ball whose coarse points are moved by `noise` (about ±0.15) and rounded again."""
    mesh = bmesh.new()
    bmesh.ops.create_icosphere(mesh, subdivisions=2, radius=radius)
    for vertex in mesh.verts:
        vertex.co *= 1 + noise()
    bmesh.ops.subdivide_edges(mesh, edges=list(mesh.edges), cuts=1, use_grid_fill=True)
    for _ in range(3):
        bmesh.ops.smooth_vert(
            mesh, verts=list(mesh.verts), factor=0.5, use_axis_x=True, use_axis_y=True, use_axis_z=True
        )
    return _link(mesh, made, at, turn, scale, smooth=True)


def panel(
    width: float, height: float, made: Material, at: Point, turn: Point = (math.pi / 2, 0, 0)
) -> bpy.types.Object:
    """A flat rectangle with UV, centred on `at`; by default it stands and faces the camera."""
    x, y = width / 2, height / 2
    return sheet([[(-x, -y, 0), (x, -y, 0)], [(-x, y, 0), (x, y, 0)]], made, at, turn)


def sheet(
    rows: Sequence[Sequence[Point]], made: Material, at: Point = ORIGIN, turn: Point = ORIGIN, closed: bool = False
) -> bpy.types.Object:
    """A surface through a grid of points, UV over columns and rows; `closed` joins the last column to the first."""
    mesh = bmesh.new()
    uv = mesh.loops.layers.uv.new()
    grid = [[mesh.verts.new(point) for point in row] for row in rows]
    columns = len(grid[0]) if closed else len(grid[0]) - 1
    for k in range(len(grid) - 1):
        for i in range(columns):
            j = (i + 1) % len(grid[0])
            face = mesh.faces.new((grid[k][i], grid[k][j], grid[k + 1][j], grid[k + 1][i]))
            corners = ((i, k), (i + 1, k), (i + 1, k + 1), (i, k + 1))
            for loop, (column, row) in zip(face.loops, corners, strict=True):
                loop[uv].uv = (column / columns, row / (len(grid) - 1))
    return _link(mesh, made, at, turn)


def tube(
    path: Sequence[Point], radius: float, made: Material, at: Point = ORIGIN, turn: Point = ORIGIN
) -> bpy.types.Object:
    """A round wire through the points of `path`: handles, straps, stems, neon."""
    curve = bpy.data.curves.new("tube", "CURVE")
    curve.dimensions, curve.bevel_depth, curve.bevel_resolution, curve.use_fill_caps = "3D", radius, 4, True
    line = curve.splines.new("POLY")
    line.points.add(len(path) - 1)
    for point, place in zip(line.points, path, strict=True):
        point.co = (*place, 1)
    line.use_smooth = True
    return _place(bpy.data.objects.new("tube", curve), made, at, turn, (1, 1, 1))


def ring(
    radius: float, thickness: float, made: Material, at: Point, turn: Point = ORIGIN, scale: Point = (1, 1, 1)
) -> bpy.types.Object:
    """A torus centred on `at`, flat unless turned."""
    rows = []
    for a in [*_circle(48), 0.0]:
        reach = [radius + thickness * math.cos(b) for b in _circle(16)]
        height = [thickness * math.sin(b) for b in _circle(16)]
        rows.append([(r * math.cos(a), r * math.sin(a), z) for r, z in zip(reach, height, strict=True)])
    made_ring = sheet(rows, made, at, turn, closed=True)
    made_ring.scale = scale
    return made_ring


def arc(radius: float, start: float, end: float, steps: int = 24, tall: float = 1.0) -> list[Point]:
    """Points of an arc in the x-z plane, angles in radians from +x upwards."""
    return [
        (
            radius * math.cos(start + (end - start) * i / steps),
            0,
            tall * radius * math.sin(start + (end - start) * i / steps),
        )
        for i in range(steps + 1)
    ]


def blades(roots: Sequence[tuple[Point, float, float, Point]], made: Material) -> bpy.types.Object:
    """Many thin leaves in one mesh; each is (root, width, height, lean of the tip)."""
    mesh = bmesh.new()
    for (x, y, z), width, height, (dx, dy, angle) in roots:
        side = (width * math.cos(angle), width * math.sin(angle))
        low = [mesh.verts.new((x + s * side[0], y + s * side[1], z)) for s in (-0.5, 0.5)]
        middle = [
            mesh.verts.new((x + s * side[0] + dx * 0.35, y + s * side[1] + dy * 0.35, z + height * 0.6))
            for s in (-0.5, 0.5)
        ]
        tip = mesh.verts.new((x + dx, y + dy, z + height))
        mesh.faces.new((low[0], low[1], middle[1], middle[0]))
        mesh.faces.new((middle[0], middle[1], tip))
    return _link(mesh, made, ORIGIN)


def _circle(steps: int) -> list[float]:
    return [2 * math.pi * i / steps for i in range(steps)]


def _link(
    mesh: bmesh.types.BMesh,
    made: Material,
    at: Point,
    turn: Point = ORIGIN,
    scale: Point = (1, 1, 1),
    smooth: bool = False,
) -> bpy.types.Object:
    bmesh.ops.remove_doubles(mesh, verts=list(mesh.verts), dist=1e-5)
    bmesh.ops.recalc_face_normals(mesh, faces=list(mesh.faces))
    data = bpy.data.meshes.new("mesh")
    mesh.to_mesh(data)
    mesh.free()
    data.shade_smooth()
    if not smooth:
        data.set_sharp_from_angle(angle=SMOOTH_BELOW)
    return _place(bpy.data.objects.new("body", data), made, at, turn, scale)


def _place(made_object: bpy.types.Object, made: Material, at: Point, turn: Point, scale: Point) -> bpy.types.Object:
    made_object.data.materials.append(made)
    made_object.location, made_object.rotation_euler, made_object.scale = at, turn, scale
    bpy.context.scene.collection.objects.link(made_object)
    return made_object


def gather(objects: Sequence[bpy.types.Object], matrix: Matrix) -> None:
    """Move all `objects` as one body."""
    for made_object in objects:
        made_object.matrix_world = matrix @ made_object.matrix_basis
