"""The six floors (import-linter, contracts in pyproject.toml) and the import rules that it cannot express."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import PACKAGE, ROOT, imported, name_of, python_files

HEAVY = {"diffusers", "transformers"}
MAY_LOAD_MODELS = (
    "src/caig/models/",
    "src/caig/recipes/background/",
    "src/caig/recipes/pretrain",
    "src/caig/recipes/reward",
    "src/caig/recipes/training.py",
)
BLIND_TO_SHOPPERS = ("src/caig/models/", "src/caig/recipes/", "src/caig/pipeline.py")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts on the package `caig` that lies in `folder`."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    command = [sys.executable, "-c", code, str(ROOT / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"}
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=folder, env=environment)


def test_the_floors_hold() -> None:
    done = lint_imports(PACKAGE.parent)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "code"),
    [
        ("types.py", "", 0),
        ("types.py", "from caig.data import catalog", 1),
        ("data/catalog.py", "def late():\n    import caig.imaging.canvas", 1),
        ("models/hub.py", "import caig.recipes.generate", 1),
        ("pipeline.py", "from caig.cli import app", 1),
        ("testing/__init__.py", "import caig.pipeline", 1),
        ("lobby.py", "", 1),
    ],
)
def test_a_broken_floor_is_found(file: str, line: str, code: int, tmp_path: Path) -> None:
    """In a package of the same modules, all empty, one line is added."""
    for path in PACKAGE.rglob("*.py"):
        empty = tmp_path / "caig" / path.relative_to(PACKAGE)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    (tmp_path / "caig" / file).write_text(line)
    done = lint_imports(tmp_path)
    assert done.returncode == code, done.stdout + done.stderr


def importers(wanted: set[str]) -> set[str]:
    return {
        name_of(path)
        for path in python_files("src")
        if any(name == target or name.startswith(f"{target}.") for name in imported(path) for target in wanted)
    }


def test_only_models_and_their_recipes_import_transformers_and_diffusers() -> None:
    found = importers(HEAVY)
    assert found, "the search finds the models themselves"
    assert {name for name in found if not name.startswith(MAY_LOAD_MODELS)} == set()


def test_only_batch_imports_ray() -> None:
    assert importers({"ray"}) == {"src/caig/batch.py"}


def test_models_recipes_and_pipeline_never_import_the_shop() -> None:
    assert {name for name in importers({"caig.shop"}) if name.startswith(BLIND_TO_SHOPPERS)} == set()


def test_every_folder_of_the_package_is_seen_by_import_linter() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert {name_of(folder) for folder in folders if not (folder / "__init__.py").is_file()} == set()
