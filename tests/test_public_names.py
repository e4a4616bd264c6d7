"""The public face of caig: these names and no others, imported when used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import caig

PUBLIC = [
    "AdPipeline",
    "CaigError",
    "Catalog",
    "CatalogError",
    "CheckpointError",
    "Creative",
    "CutoutError",
    "Description",
    "Fidelity",
    "ImageError",
    "InputError",
    "MissingExtraError",
    "Placement",
    "Product",
    "RankedAd",
    "Score",
    "__version__",
    "read_catalog",
]
HEAVY = ("torch", "transformers", "diffusers", "cv2", "polars", "scipy", "matplotlib", "numpy")


def test_the_public_names() -> None:
    assert sorted(caig.__all__) == PUBLIC
    assert dir(caig) == PUBLIC
    assert all(getattr(caig, name) is not None for name in PUBLIC)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'caig' has no attribute 'AdPipe'"):
        caig.AdPipe  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    assert caig.__file__
    (block,) = [node for node in ast.parse(Path(caig.__file__).read_text()).body if isinstance(node, ast.If)]
    seen = {
        f"{node.module}:{alias.name}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {f"{home}:{name}" for name, home in caig._HOME_OF.items()}


@pytest.mark.parametrize(
    ("modules", "allowed"),
    [
        ("caig", ()),
        ("caig.cli", ()),
        ("caig.types", ("numpy",)),
        ("caig.cli.generate, caig.cli.single", ("numpy",)),
        ("caig.recipes.generate, caig.pipeline", ("numpy",)),
        ("caig.recipes.background, caig.recipes.pretrain, caig.recipes.reward", ("numpy",)),
    ],
)
def test_imports_are_light(modules: str, allowed: tuple[str, ...]) -> None:
    code = f"import sys, {modules}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) <= set(allowed)
