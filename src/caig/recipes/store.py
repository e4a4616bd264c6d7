"""The steps of a run, each stored once and whole: the same command goes on where the last one was cut."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from caig.artifacts import to_json, write_atomic
from caig.errors import InputError


class Store:
    """JSON results of named steps below a folder.

    `settings` is what decides all of them; a folder that was begun with other settings raises InputError, since half of
    one run and half of another are no run. Several processes (`accelerate.Accelerator`) share the folder.
    """

    def __init__(self, folder: Path, settings: Any, accelerator: Any) -> None:
        self.folder, self.accelerator = folder, accelerator
        settle(folder / "settings.json", settings, write=accelerator.is_main_process)

    def once(self, name: str, make: Callable[..., Any], *arguments: Any) -> Any:
        """The result of step `name`: read when it is there, else `make(*arguments)`, stored. As JSON reads it."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            write_atomic(path, to_json(make(*arguments)).encode())
        return json.loads(path.read_text(encoding="utf-8"))

    def by_one(self, name: str, make: Callable[..., Any], *arguments: Any) -> Any:
        """`once`, made by the main process for all."""
        if self.accelerator.is_main_process:
            self.once(name, make, *arguments)
        self.accelerator.wait_for_everyone()
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def by_all(self, name: str, make: Callable[..., Any], *arguments: Any) -> Any:
        """`once`, made by all processes at the same time, since what they share works in no other way."""
        found = (self.folder / f"{name}.json").is_file()
        self.accelerator.wait_for_everyone()  # all have looked before anyone writes
        made = None if found else make(*arguments)
        return self.by_one(name, lambda: made)

    def shared(self, name: str, make: Callable[..., Any], items: Sequence[Any], *arguments: Any) -> dict[str, Any]:
        """`make(items, *arguments)`, a mapping with an entry per item, each process making its share of the items."""
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        names = [name] if count == 1 else [f"{name}-{k + 1}-of-{count}" for k in range(count)]
        self.once(names[rank], make, items[rank::count], *arguments)
        self.accelerator.wait_for_everyone()
        parts = [json.loads((self.folder / f"{part}.json").read_text(encoding="utf-8")) for part in names]
        return {key: value for part in parts for key, value in part.items()}


def settle(path: Path, settings: Any, *, write: bool = True) -> None:
    """Write what decides all that a folder holds, once; InputError when `path` says something else already."""
    text = to_json(settings, indent=1)
    begun, wanted = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None, json.loads(text)
    if begun not in (None, wanted):
        raise InputError(
            str(path.parent),
            expected="a new folder, or a run with the same settings",
            got=f"a run with other settings ({_differences(begun, wanted)})",
            next_step="Choose another --out, or give the settings of that run.",
        )
    if write:
        write_atomic(path, text.encode())


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run folder for one call alone, until the block or the process ends; InputError while another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "Wait until it has ended, or choose another --out."
            got = "one that another call is at work in"
            raise InputError(str(folder), expected="a folder of its own", got=got, next_step=hint) from None
        yield


def _differences(old: Any, new: Any) -> str:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(f"{name}: {old.get(name)!r}, now {new.get(name)!r}" for name in names)[:300]
