"""caig: product photo and title in, ad images ranked by predicted click-through rate out.

from caig import AdPipeline, Product
ads = AdPipeline.from_pretrained("embedded").generate(Product(...), n=4, size=(1024, 1024), seed=0)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "caig.errors": (
        "CaigError",
        "CatalogError",
        "CheckpointError",
        "CutoutError",
        "ImageError",
        "InputError",
        "MissingExtraError",
    ),
    "caig.pipeline": ("AdPipeline",),
    "caig.types": ("Creative", "Description", "Fidelity", "Placement", "Product", "RankedAd", "Score"),
    "caig.data.catalog": ("Catalog", "read_catalog"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from caig.data.catalog import Catalog as Catalog
    from caig.data.catalog import read_catalog as read_catalog
    from caig.errors import CaigError as CaigError
    from caig.errors import CatalogError as CatalogError
    from caig.errors import CheckpointError as CheckpointError
    from caig.errors import CutoutError as CutoutError
    from caig.errors import ImageError as ImageError
    from caig.errors import InputError as InputError
    from caig.errors import MissingExtraError as MissingExtraError
    from caig.pipeline import AdPipeline as AdPipeline
    from caig.types import Creative as Creative
    from caig.types import Description as Description
    from caig.types import Fidelity as Fidelity
    from caig.types import Placement as Placement
    from caig.types import Product as Product
    from caig.types import RankedAd as RankedAd
    from caig.types import Score as Score


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import caig` stays instant."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'caig' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
