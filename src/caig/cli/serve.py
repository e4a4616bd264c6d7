"""`caig serve` and `caig keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from caig.cli import options

Folder = Annotated[Path, Parameter(help="The service's folder.")]


def keys(
    name: Annotated[str, Parameter(help="Who gets it: a-z, 0-9 and -.")],
    *,
    role: Annotated[
        Literal["admin", "events"], Parameter(help="events: decisions and events only; admin: everything.")
    ] = "events",
    folder: Folder = Path("caig-service"),
    revoke: Annotated[bool, Parameter(negative=(), help="Refuse the keys of this name from now on.")] = False,
) -> None:
    """Print the key of a name, or take it back. Who holds the folder's secret can make keys, nobody else."""
    from caig.service.keys import Keys

    known = Keys(folder)
    if revoke:
        known.make(role, name)  # refuses what can't be a name
        known.revoke(name)
        print(f"revoked {name}")
    else:
        print(known.make(role, name))


def __getattr__(name: str) -> Any:
    """Make `serve` when the command line asks for it."""
    if name != "serve":
        raise AttributeError(name)
    return options.command_of("caig.service.serve")
