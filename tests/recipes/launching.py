"""Two CPU processes as `accelerate launch --num_processes 2 --cpu` starts them, and what tests let them do."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import PrepareForLaunch, patch_environment
from torch.multiprocessing import start_processes
from torch.optim import AdamW


def in_two(function: Callable[..., Any], *arguments: Any) -> None:
    """Run `function` in two fresh processes; forked ones would inherit the threads of earlier tests."""
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = {"accelerate_debug_rdv_file": f"{folder}/rendezvous", "gloo_socket_ifname": "lo"}
        where = {"world_size": 2, "master_addr": "127.0.0.1", "master_port": "29500"}
        with patch_environment(**where, **rendezvous, accelerate_use_cpu="yes", accelerate_mixed_precision="no"):
            start_processes(PrepareForLaunch(function, debug=True), args=arguments, nprocs=2, start_method="spawn")


def square_of_a_sum(out: Path, count: int) -> None:
    """Write the gradient of (sum over rows of w x)^2, which no process could compute from its rows alone, and what is
    said of batch normalisation."""
    from caig.errors import InputError
    from caig.recipes.processes import add_gradients, check_shareable, join_processes, own_rows, whole

    accelerator = join_processes("cpu")
    weight = torch.nn.Parameter(torch.tensor(2.0))
    rows = torch.arange(1.0, count + 1)[:, None]
    found = whole(accelerator, weight * rows[own_rows(accelerator, count)], count)
    found.sum().square().backward()
    add_gradients([weight], accelerator)
    try:
        check_shareable(torch.nn.BatchNorm1d(3), accelerator)
    except InputError as error:
        told = str(error)
    torch.save({"rows": found.detach(), "gradient": weight.grad, "told": told}, out / f"{accelerator.process_index}.pt")


def train(recipe: str, config: Any) -> None:
    """Run a recipe with Adam's epsilon raised: it divides by the size of each weight's gradient, and where that is
    nothing but rounding, the plain one would magnify it to whole steps."""
    torch.optim.AdamW = partial(AdamW, eps=1e-2)  # type: ignore[misc]
    try:
        importlib.import_module(f"caig.recipes.{recipe}").run(config)
    finally:
        torch.optim.AdamW = AdamW


def tune(base: Path, out: Path, shelf: Path) -> None:
    """Optimise preferences at toy size, as `train` does; writes each process's last adapter beside `out`."""
    from caig.recipes import pcpo, pcpo_update
    from tests.recipes.pcpo_toys import models, toy, write_shelf

    plain = pcpo_update.export

    def export(policy: Any, best: int) -> Path:
        mine = {name: value.detach() for name, value in pcpo_update.adapter_weights(policy.model).items()}
        torch.save(mine, out.parent / f"{out.name}-{policy.accelerator.process_index}.pt")
        return plain(policy, best)

    pcpo_update.export, torch.optim.AdamW = export, partial(AdamW, eps=1e-2)  # type: ignore[misc]
    try:
        pcpo.optimise(toy(base, out, rounds=2, products=5, batch=3), write_shelf(shelf), models())
    finally:
        pcpo_update.export, torch.optim.AdamW = plain, AdamW
