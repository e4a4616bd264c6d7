"""What every training recipe shares: schedule, moving average, checkpoints and the log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from caig.artifacts import read_json_lines

Drawn = TypeVar("Drawn")


def cosine_with_warmup(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor in 0..1: linear over `warmup` steps, then half a cosine down to 0 at `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


class MovingAverage:
    """Exponential moving average of parameters, in fp32; early steps average faster (Adam-style warm-up)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        state = module.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.shadow[name] for name in floats], [state[name] for name in floats], weight)
        for name in state.keys() - set(floats):
            self.shadow[name].copy_(state[name])

    def restore(self, shadow: Mapping[str, Tensor]) -> None:
        """Go on from the average of a checkpoint."""
        for name, value in self.shadow.items():
            value.copy_(shadow[name])


class Log:
    """One JSON object a line, appended; also printed. A silent one, of a process beside the main one, does neither."""

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self.path, self.started, self.silent = path, time.monotonic(), silent
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    @cached_property
    def _written(self) -> set[tuple[int | None, frozenset[str]]]:
        return {_kind(line) for line in read_json_lines(self.path)}

    def write_once(self, **fields: Any) -> bool:
        """`write`, unless a line with the same step and the same fields is there; returns whether it was not."""
        kind = _kind(fields)
        if new := kind not in self._written:
            self._written.add(kind)
            self.write(**fields)
        return new

    def write(self, **fields: Any) -> None:
        if self.silent:
            return
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in fields.items()}
        line = json.dumps({"seconds": round(time.monotonic() - self.started, 1), **rounded})
        with self.path.open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)


def _kind(line: Mapping[str, Any]) -> tuple[int | None, frozenset[str]]:
    return line.get("step"), frozenset(line) - {"seconds"}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a cut at any moment leaves the old or the new file, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint written by `save_checkpoint` (tensors and plain values only), None when there is none."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def drawn_ahead(draw: Callable[[int], Drawn], steps: range, workers: int) -> Iterator[Drawn]:
    """`draw(step)` of each of `steps`, in order. `workers` processes, forks of this one, draw ahead of the training;
    0: each is drawn when its turn comes. They draw the same, since `draw` depends on its step alone."""
    if not workers:
        return map(draw, steps)
    draws: Any = _Draws(draw, steps)
    ahead = {"num_workers": workers, "prefetch_factor": 4, "multiprocessing_context": "fork"}  # `draw` is a closure
    return iter(DataLoader(draws, batch_size=None, collate_fn=_as_drawn, **ahead))


class _Draws(Dataset[Any]):
    def __init__(self, draw: Callable[[int], Any], steps: range) -> None:
        self.draw, self.steps = draw, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Any:
        return self.draw(self.steps[index])


def _as_drawn(drawn: Any) -> Any:
    return drawn


def mean_loss(losses: Iterable[Tensor]) -> float:
    """Mean of scalar tensors as a float."""
    values = [float(loss) for loss in losses]
    return sum(values) / max(1, len(values))
