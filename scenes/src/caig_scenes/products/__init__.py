"""Products by shape: one function each, under the name that the vocabulary's categories use.

A shape is built at the origin, standing on z = 0, its front towards -y, about 2 units in its largest direction. To add
one: write a function of a `Look` in one of these modules under `@shape("its name")`.
"""

from caig_scenes.products import containers, goods, home, packs, things, toys, wear
from caig_scenes.products.look import SHAPES, Look, build

__all__ = ["SHAPES", "Look", "build", "containers", "goods", "home", "packs", "things", "toys", "wear"]
