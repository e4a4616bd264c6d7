"""Ways of doing the same thing against each other: each in a process of its own, so that the peak of memory is its own,
and in turns, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch

from caig.cli.options import quiet
from caig.models.hub import Role, place

Run = Callable[[int], int]  # the number of the turn -> how many units were done
OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One way: seconds a unit by turn, and the most memory that its process held, loading included."""

    seconds: tuple[float, ...] = ()
    gigabytes: float = 0.0
    failure: str = ""


def parser(about: str | None, *, models: str) -> argparse.ArgumentParser:
    """The options that every script has."""
    quiet()
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--models", default=models, help="names, separated by commas")
    made.add_argument("--device")
    made.add_argument("--dtype")
    made.add_argument("--turns", type=int, default=3, help="after one that warms up")
    return made


def opening(device: str, dtype: str, turns: int) -> str:
    """The first line of a script: where it ran."""
    where = torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU, {torch.get_num_threads()} threads"
    return f"{where}, {dtype}, torch {torch.__version__}, {turns} turns; ratio: median [least, most]"


def compare(title: str, unit: str, ways: Mapping[str, Callable[[], Run]], turns: int) -> dict[str, Measured]:
    """Measure and print `ways`, the last one as what the others are compared with.

    A way is a picklable function that loads its models and returns a `Run`. Beside each ratio stand the least and the
    most of all turns.
    """
    found = measure(ways, turns)
    *_, (_, base) = found.items()
    for name, one in found.items():
        print(f"{title:24} {name:15} {_line(one, base, unit)}", flush=True)
    return found


def compare_both(
    about: str | None, role: Role, ours: Callable[..., Run], theirs: Callable[..., Run], *, n: int, what: str, unit: str
) -> None:
    """The whole of a script that does something with n of `what`, once for each model of a role: both ways are made
    from (name, n, device, dtype)."""
    options = parser(about, models="embedded")
    options.add_argument("-n", type=int, default=n, help=what)
    args = options.parse_args()
    device, dtype = place(role, args.device, args.dtype)
    print(opening(device, dtype, args.turns))
    for name in args.models.split(","):
        given = (name, args.n, device, dtype)
        ways = {"caig": partial(ours, *given), "published way": partial(theirs, *given)}
        compare(f"{name} n={args.n}", unit, ways, args.turns)


def measure(ways: Mapping[str, Callable[[], Run]], turns: int) -> dict[str, Measured]:
    """Start all ways, then let them take turns; turn 0 warms up and is not counted."""
    started = {name: _start(make) for name, make in ways.items()}
    told: dict[str, list[Any]] = {name: [] for name in started}
    for turn in range(turns + 1):
        for name, (_, pipe) in started.items():
            told[name].append(_ask(pipe, turn))
    for process, pipe in started.values():
        pipe.send(None)
        process.join()
    return {name: _summary(answers) for name, answers in told.items()}


def _start(make: Callable[[], Run]) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(make, there), daemon=True)
    process.start()
    there.close()
    return process, here


def _ask(pipe: Any, turn: int) -> Any:
    pipe.send(turn)
    try:
        return pipe.recv()
    except EOFError:
        raise SystemExit("a way failed; its traceback stands above") from None


def _serve(make: Callable[[], Run], pipe: Any) -> None:
    """What a way's process does: load, then a run a turn, until it is told None."""
    quiet()
    run: Run | None = None
    while (turn := pipe.recv()) is not None:
        try:
            run = run or make()
            pipe.send((_timed(run, turn), _peak()))
        except torch.OutOfMemoryError:
            pipe.send(OUT_OF_MEMORY)


def _timed(run: Run, turn: int) -> float:
    """Seconds a unit."""
    started = time.perf_counter()
    units = run(turn)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / units


def _peak() -> float:
    """Gigabytes: of the GPU's memory where it was used, else of the process's."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _summary(answers: list[Any]) -> Measured:
    if OUT_OF_MEMORY in answers:
        return Measured(failure=OUT_OF_MEMORY)
    return Measured(seconds=tuple(seconds for seconds, _ in answers[1:]), gigabytes=answers[-1][1])


def _line(one: Measured, base: Measured, unit: str) -> str:
    if one.failure:
        return one.failure
    rate = f"{1 / median(one.seconds):9.3f} {unit}/s"
    if base.failure:
        return f"{rate}  {one.gigabytes:.1f} GB"
    ratios = [theirs / own for own, theirs in zip(one.seconds, base.seconds, strict=True)]
    return f"{rate}  x{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]  {one.gigabytes:.1f} GB"
