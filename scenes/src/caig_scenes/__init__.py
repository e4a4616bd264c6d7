"""caig-scenes: renders products and advertising scenes with Blender, in the layout that caig trains on."""

__version__ = "0.1.0"
