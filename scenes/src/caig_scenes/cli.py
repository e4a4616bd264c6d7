"""The command `caig-scenes`: render into a folder, or make a contact sheet of one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from caig_scenes.render import Run, render
from caig_scenes.sheet import make_sheet


def main(arguments: list[str] | None = None) -> None:
    """Parse, call, print."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["sheet"]:
        _sheet(arguments[1:])
        return
    parser = argparse.ArgumentParser(
        prog="caig-scenes", description=__doc__, epilog="caig-scenes sheet DIR SHEET.jpg makes a contact sheet."
    )
    parser.add_argument("--products", type=_count, default=1200, help="how many products (1200)")
    parser.add_argument("--scenes", type=_number, default=4000, help="how many scenes of them (4000)")
    parser.add_argument("--plates", type=_number, default=0, help="how many scenes without their product (0)")
    parser.add_argument(
        "--side", type=_number, default=0, help="longer side of scenes and plates in pixels (as planned)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder of the archives and suitability.json",
    )
    parser.add_argument("--jobs", type=_count, default=1, help="processes, each of one thread (1)")
    parser.add_argument("--seed", type=int, default=0, help="what all chance comes from (0)")
    options = parser.parse_args(arguments)
    chosen = {name: getattr(options, name) for name in ("products", "scenes", "plates", "side", "seed")}
    render(Run(**chosen), options.out, options.jobs)


def _sheet(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="caig-scenes sheet", description="A contact sheet with captions.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=_count, default=40, help="how many scenes (40)")
    options = parser.parse_args(arguments)
    make_sheet(options.folder, options.file, options.count)


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return number
