"""Materials: one function over Blender's principled shader, and procedural patterns for its colour and relief."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from PIL import Image

from caig_scenes.colors import RGB, shade

TEXTURES = {
    "noise": "ShaderNodeTexNoise", "wave": "ShaderNodeTexWave", "voronoi": "ShaderNodeTexVoronoi",
    "checker": "ShaderNodeTexChecker", "brick": "ShaderNodeTexBrick", "halo": "ShaderNodeTexGradient",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Two colours mixed by a texture. `ramp` is the range of the texture's value in which one turns into the other;
    `inputs` are the texture node's own (Scale, Detail, Distortion, ...)."""

    kind: str
    second: RGB
    scale: tuple[float, float, float] = (1, 1, 1)
    offset: tuple[float, float, float] = (0, 0, 0)
    ramp: tuple[float, float] = (0.3, 0.7)
    bump: float = 0.0
    inputs: tuple[tuple[str, float], ...] = ()


def material(
    color: RGB = (0.8, 0.8, 0.8),
    *,
    rough: float = 0.5,
    metal: float = 0.0,
    glass: float = 0.0,
    coat: float = 0.0,
    sheen: float = 0.0,
    soft: float = 0.0,
    emit: float = 0.0,
    pattern: Pattern | None = None,
    picture: Image.Image | None = None,
) -> bpy.types.Material:
    """A principled material. All weights in 0..1; `soft` is light under the skin (wax, fruit, milk), `emit` the
    strength of own light. A `picture` is laid on by UV, a `pattern` by object coordinates."""
    made = bpy.data.materials.new("material")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    shader = nodes["Principled BSDF"]
    values = {
        "Base Color": (*color, 1), "Roughness": rough, "Metallic": metal, "Transmission Weight": glass,
        "Coat Weight": coat, "Coat Roughness": 0.06, "Sheen Weight": sheen, "Subsurface Weight": soft,
        "Subsurface Scale": 0.12, "Emission Color": (*color, 1), "Emission Strength": emit, "IOR": 1.45,
    }  # fmt: skip
    for name, value in values.items():
        shader.inputs[name].default_value = value
    if picture is not None:
        texture = nodes.new("ShaderNodeTexImage")
        texture.image, texture.extension = load(picture), "EXTEND"
        links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    if pattern is not None:
        _lay_on(made.node_tree, shader, pattern, color, lit=emit > 0)
    return made


def _lay_on(tree: bpy.types.NodeTree, shader: bpy.types.Node, pattern: Pattern, color: RGB, *, lit: bool) -> None:
    """Let `pattern` make the colour, the relief, and, where the surface is lit, the light."""
    texture = _texture(tree, pattern)
    value = texture.outputs["Distance" if pattern.kind == "voronoi" else "Factor"]
    if pattern.kind == "brick":  # every brick has its own shade; the joints are the second colour
        for name, tone in (("Color1", color), ("Color2", shade(color, 0.8)), ("Mortar", pattern.second)):
            texture.inputs[name].default_value = (*tone, 1)
        painted = texture.outputs["Color"]
    else:
        ramp = tree.nodes.new("ShaderNodeValToRGB")
        for element, place, end in zip(ramp.color_ramp.elements, pattern.ramp, (color, pattern.second), strict=True):
            element.position, element.color = place, (*end, 1)
        tree.links.new(value, ramp.inputs[0])
        painted = ramp.outputs["Color"]
    tree.links.new(painted, shader.inputs["Base Color"])
    if lit:
        tree.links.new(painted, shader.inputs["Emission Color"])
    if pattern.bump:
        bump = tree.nodes.new("ShaderNodeBump")
        bump.inputs["Strength"].default_value = pattern.bump
        bump.inputs["Distance"].default_value = 0.1
        bump.invert = pattern.kind == "brick"
        tree.links.new(value, bump.inputs["Height"])
        tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])


def _texture(tree: bpy.types.NodeTree, pattern: Pattern) -> bpy.types.Node:
    """The texture over object coordinates."""
    place, mapping = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
    mapping.inputs["Scale"].default_value = pattern.scale
    mapping.inputs["Location"].default_value = pattern.offset
    texture = tree.nodes.new(TEXTURES[pattern.kind])
    if pattern.kind == "halo":
        texture.gradient_type = "SPHERICAL"
    for name, value in pattern.inputs:
        texture.inputs[name].default_value = value
    tree.links.new(place.outputs["Object"], mapping.inputs["Vector"])
    tree.links.new(mapping.outputs["Vector"], texture.inputs["Vector"])
    return texture


def glow(color: RGB, strength: float, opacity: float = 1.0) -> bpy.types.Material:
    """Pure light, added over what lies behind it when `opacity` < 1: lamps, neon, blurred lights."""
    made = bpy.data.materials.new("glow")
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    nodes.clear()
    light, out = nodes.new("ShaderNodeEmission"), nodes.new("ShaderNodeOutputMaterial")
    light.inputs["Color"].default_value = (*color, 1)
    light.inputs["Strength"].default_value = strength
    last = light
    if opacity < 1:
        clear, add = nodes.new("ShaderNodeBsdfTransparent"), nodes.new("ShaderNodeMixShader")
        add.inputs[0].default_value = opacity
        links.new(clear.outputs[0], add.inputs[1])
        links.new(light.outputs[0], add.inputs[2])
        last = add
    links.new(last.outputs[0], out.inputs["Surface"])
    return made


def load(picture: Image.Image) -> bpy.types.Image:
    """A picture in Blender's memory; rows from the bottom, as Blender counts them."""
    pixels = np.asarray(picture.convert("RGBA"), dtype=np.float32)[::-1] / 255
    image = bpy.data.images.new("picture", picture.width, picture.height)
    image.pixels.foreach_set(np.ascontiguousarray(pixels).ravel())
    image.pack()
    return image


# What things are made of, by name.
def plastic(color: RGB, **more: float) -> bpy.types.Material:
    return material(color, **{"rough": 0.35, "coat": 0.4, **more})


def glossy(color: RGB, **more: float) -> bpy.types.Material:
    return material(color, **{"rough": 0.15, "coat": 0.9, **more})


def matte(color: RGB, **more: float) -> bpy.types.Material:
    return material(color, **{"rough": 0.8, **more})


def metallic(color: RGB, **more: float) -> bpy.types.Material:
    return material(color, **{"rough": 0.22, "metal": 1.0, **more})


def clear(color: RGB, **more: float) -> bpy.types.Material:
    """Clear or tinted glass, ice, syrup."""
    return material(color, **{"rough": 0.03, "glass": 1.0, **more})


def cloth(color: RGB, weave: float = 40, **more: float) -> bpy.types.Material:
    """Woven or fluffy textile."""
    relief = Pattern(kind="noise", second=shade(color, 0.72), scale=(weave, weave, weave), bump=0.35)
    return material(color, rough=0.95, sheen=0.5, pattern=relief, **more)


def printed(picture: Image.Image, **more: float) -> bpy.types.Material:
    return material(picture=picture, **{"rough": 0.4, "coat": 0.2, **more})


def wood(color: RGB, *, bump: float = 0.05, across: float = 1.0) -> bpy.types.Material:
    """Long grain along x."""
    grain = Pattern(
        kind="noise", second=shade(color, 0.45), scale=(0.35 * across, 5 * across, 5 * across), ramp=(0.38, 0.72),
        bump=bump, inputs=(("Scale", 1.6), ("Detail", 7), ("Distortion", 0.9)),
    )  # fmt: skip
    return material(color, rough=0.38, coat=0.25, pattern=grain)


def marble(color: RGB, vein: RGB, rough: float = 0.08) -> bpy.types.Material:
    veins = Pattern(
        kind="noise", second=vein, scale=(0.5, 0.5, 0.5), ramp=(0.5, 0.66),
        inputs=(("Scale", 1.1), ("Detail", 11), ("Roughness", 0.62), ("Distortion", 2.2)),
    )  # fmt: skip
    return material(color, rough=rough, coat=0.5, pattern=veins)


def rock(color: RGB, *, scale: float = 2, bump: float = 0.7) -> bpy.types.Material:
    grain = Pattern(
        kind="noise", second=shade(color, 0.55), scale=(scale, scale, scale), bump=bump,
        inputs=(("Scale", 2), ("Detail", 10), ("Roughness", 0.62)),
    )  # fmt: skip
    return material(color, rough=0.9, pattern=grain)
