"""`caig models`: what caig knows by name, and which of it lies in the hub's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from caig.artifacts import to_json
from caig.cli import options


def models(*, json: options.Json = False) -> None:
    """List presets, background models and checkpoints that caig knows, with licence, size and whether they are cached.

    JSON: {"presets": [...], "backgrounds": [{"name", "parts", "cached"}], "checkpoints": [{"name", "roles", "revision",
    "licence", "non_commercial", "gigabytes", "settings", "cached", "fetch"}]}.
    """
    known = _known()
    print(to_json(known, indent=2) if json else "\n\n".join(_tables(known)))


def _known() -> dict[str, list[dict[str, Any]]]:
    from caig.models import registry
    from caig.models.hub import fetch_command, is_cached

    cached = {checkpoint.name: is_cached(checkpoint) for checkpoint in registry.checkpoints()}
    parts = {name: registry.parts_of(folder) for name, folder in registry.backgrounds().items()}
    return {
        "presets": [asdict(preset) for preset in registry.presets().values()],
        "backgrounds": [
            {"name": name, "parts": names, "cached": all(cached[part] for part in names)}
            for name, names in parts.items()
        ],
        "checkpoints": [
            {**asdict(checkpoint), "cached": cached[checkpoint.name], "fetch": fetch_command(checkpoint.name)}
            for checkpoint in registry.checkpoints()
        ],
    }


def _tables(known: dict[str, list[dict[str, Any]]]) -> list[str]:
    presets = [
        (p["name"], p["prompt_model"], p["background_model"], p["gpu_memory"], p["seconds_per_image"])
        for p in known["presets"]
    ]
    backgrounds = [(b["name"], _yes(b["cached"]), " + ".join(b["parts"])) for b in known["backgrounds"]]
    checkpoints = [
        (c["name"], ", ".join(c["roles"]), _licence(c), f"{c['gigabytes']:.1f}", _yes(c["cached"]), c["settings"])
        for c in known["checkpoints"]
    ]
    return [
        _table(("preset", "prompt model", "background model", "GPU memory", "seconds per image"), presets),
        _table(("background model", "cached", "made of"), backgrounds),
        _table(("checkpoint", "role", "licence", "GB", "cached", "settings"), checkpoints),
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _licence(checkpoint: dict[str, Any]) -> str:
    return f"{checkpoint['licence']} (non-commercial)" if checkpoint["non_commercial"] else checkpoint["licence"]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
