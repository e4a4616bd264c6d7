"""Blender's scene: an empty stage per picture, what the world looks like, and taking the picture."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
from PIL import Image

from caig_scenes.colors import RGB

# Poly Haven panoramas (CC0) that come with bpy.
PANORAMAS = ("city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset")


def empty_stage(width: int, height: int) -> bpy.types.Scene:
    """A new scene of that size, with nothing of the last one left; always one thread, so that a picture does not depend
    on the machine's number of cores."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.render.image_settings.file_format = "PNG"
    scene.render.use_persistent_data = True
    cycles = scene.cycles
    cycles.device, cycles.seed = "CPU", 0
    cycles.use_denoising, cycles.denoiser, cycles.denoising_prefilter = True, "OPENIMAGEDENOISE", "FAST"
    cycles.use_adaptive_sampling = False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.transparent_max_bounces = 6, 2, 12
    cycles.sample_clamp_indirect = 4
    cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.world = bpy.data.worlds.new("world")
    return scene


def expose(scene: bpy.types.Scene, *, samples: int, look: str, exposure: float, transparent: bool) -> None:
    """Samples a pixel, the tone curve ("AgX", "Khronos PBR Neutral"), exposure in stops, and whether empty is clear."""
    scene.cycles.samples = samples
    scene.view_settings.view_transform = look
    scene.view_settings.look = "AgX - Medium High Contrast" if look == "AgX" else "None"
    scene.view_settings.exposure = exposure
    scene.render.film_transparent = transparent
    scene.render.image_settings.color_mode = "RGBA" if transparent else "RGB"


def take(scene: bpy.types.Scene) -> Image.Image:
    """Render the scene."""
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "picture.png")
        bpy.ops.render.render(write_still=True)
        with Image.open(scene.render.filepath) as picture:
            return picture.copy()


def set_world(
    panorama: str | RGB, strength: float, turn: float, tint: RGB, seen: str | RGB, seen_strength: float = 1.0
) -> None:
    """What lights the scene, and what the camera sees behind everything: a panorama by name, or a colour, each.

    `turn` rotates the panoramas, in radians; `tint` colours the light.
    """
    world = bpy.context.scene.world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    nodes.clear()
    lit = _background(world.node_tree, panorama, strength, turn, tint)
    shown = _background(world.node_tree, seen, seen_strength, turn, (1, 1, 1))
    path, choose, out = (nodes.new(f"ShaderNode{kind}") for kind in ("LightPath", "MixShader", "OutputWorld"))
    links.new(path.outputs["Is Camera Ray"], choose.inputs[0])
    links.new(lit.outputs[0], choose.inputs[1])
    links.new(shown.outputs[0], choose.inputs[2])
    links.new(choose.outputs[0], out.inputs["Surface"])


def _background(tree: bpy.types.NodeTree, what: str | RGB, strength: float, turn: float, tint: RGB) -> bpy.types.Node:
    background = tree.nodes.new("ShaderNodeBackground")
    background.inputs["Strength"].default_value = strength
    if not isinstance(what, str):
        background.inputs["Color"].default_value = (*what, 1)
        return background
    folder = Path(bpy.utils.resource_path("LOCAL")) / "datafiles/studiolights/world"
    picture, mapping, place = (
        tree.nodes.new(f"ShaderNode{kind}") for kind in ("TexEnvironment", "Mapping", "TexCoord")
    )
    picture.image = bpy.data.images.load(str(folder / f"{what}.exr"))
    mapping.inputs["Rotation"].default_value = (0, 0, turn)
    multiply = tree.nodes.new("ShaderNodeMixRGB")
    multiply.blend_type = "MULTIPLY"
    multiply.inputs[0].default_value = 1.0
    multiply.inputs[2].default_value = (*tint, 1)
    tree.links.new(place.outputs["Generated"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], picture.inputs["Vector"])
    tree.links.new(picture.outputs["Color"], multiply.inputs[1])
    tree.links.new(multiply.outputs[0], background.inputs["Color"])
    return background
