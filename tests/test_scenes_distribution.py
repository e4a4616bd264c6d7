"""The renderer in scenes/ is apart: caig never imports Blender or it, and both read one vocabulary."""

from __future__ import annotations

import tomllib

from tests.project import PACKAGE, ROOT, imported, name_of, python_files

SCENES = ROOT / "scenes"


def test_caig_never_imports_blender_or_the_renderer() -> None:
    found = {
        name_of(path): name
        for path in python_files("src")
        for name in imported(path)
        if name.partition(".")[0] in {"bpy", "bmesh", "mathutils", "caig_scenes"}
    }
    assert found == {}
    assert any(name == "bpy" for path in python_files("scenes/src") for name in imported(path)), "the search finds bpy"


def test_the_renderer_takes_caigs_own_vocabulary() -> None:
    build = tomllib.loads((SCENES / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    (source,) = build["targets"]["wheel"]["force-include"]
    assert (SCENES / source).resolve() == PACKAGE / "data/vocabulary.json"
    assert [name_of(path) for path in ROOT.rglob("vocabulary.json") if ".venv" not in path.parts] == [
        "src/caig/data/vocabulary.json"
    ]
