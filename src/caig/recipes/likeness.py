"""An ad of an earlier run that others shall be like: found in its run's manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from caig.artifacts import read_json_lines
from caig.errors import InputError
from caig.recipes.generate_report import MANIFEST
from caig.types import Description, Likeness, Palette


def read_likeness(creative: str, out: Path) -> Likeness:
    """Return description, seed and palette of `creative`: an ad's picture in an earlier run, or a creative's id, which
    is looked for in the manifests of `out` and of its products' folders.

    Raises InputError when there is no such creative, or its manifest is broken.
    """
    path = Path(creative)
    if path.is_file():
        lines = [line for line in _lines([path.parent / MANIFEST]) if Path(str(line.get("file"))).name == path.name]
    else:
        places = [*out.glob(f"*/{MANIFEST}"), out / MANIFEST]
        lines = [line for line in _lines(places) if line.get("creative_id") == creative]
    if not lines:
        raise InputError(
            "like",
            expected="an ad's picture beside its manifest, or the id of a creative in --out",
            got=repr(creative),
            next_step=f"Ids stand as creative_id in {MANIFEST}.",
        )
    return _likeness(lines[0], creative)


def _lines(manifests: list[Path]) -> Iterator[Mapping[str, Any]]:
    for manifest in manifests:
        try:
            yield from read_json_lines(manifest) if manifest.is_file() else []
        except ValueError:
            raise _broken(str(manifest), "something else") from None


def _likeness(line: Mapping[str, Any], name: str) -> Likeness:
    try:
        description = Description(
            product_id=line["product_id"],
            text=line["description"],
            author=line["description_author"],
            seed=line["description_seed"],
            negative=line["negative"],
        )
        palette = Palette(mean=tuple(line["palette"]["mean"]), spread=tuple(line["palette"]["spread"]))
        return Likeness(creative_id=line["creative_id"], description=description, seed=line["seed"], palette=palette)
    except (KeyError, TypeError) as error:
        raise _broken(f"manifest line of {name}", f"one without {error}") from None


def _broken(name: str, got: str) -> InputError:
    hint = "Make the ad again with this version of caig."
    return InputError(name, expected=f"a line of caig's {MANIFEST}", got=got, next_step=hint)
