"""The processes of `accelerate launch`, which share the batch of every step.

Every process draws the whole batch, from the seeds that one process alone would use, and runs the network on rows of
its own. What the network says is gathered, so that each computes the loss of the whole batch; gradients go through its
own rows and are added up. An update is so that of one process up to rounding, whatever a loss compares within a batch.
(Dropout draws other masks: equal in distribution only.) By hand, since a wrapped model would hide the parts that a
shared cache and the switch of an adapter need. Each process has the whole model, or a share of it (`sharding.py`).
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from caig.errors import InputError
from caig.models.hub import place

PATIENCE = timedelta(days=2)  # a process that paints more waits for no other; half an hour is torch's default


def join_processes(device: str | None = None, *, shards: bool = False) -> Accelerator:
    """This process among those that `accelerate launch` started, or alone, on `device` or a GPU when there is one.

    InputError for a device that this machine lacks, and for a launch that is to shard the model in a way, or in a
    recipe, in which it can't be; `shards` says that the caller can.
    """
    _check_launch(shards)
    chosen, _ = place("prompt", device)
    if chosen.startswith("cuda:"):
        torch.cuda.set_device(chosen)
    return Accelerator(cpu=chosen == "cpu", kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])


@atexit.register
def _leave() -> None:
    """Leave the other processes: threads of a group that is still joined may abort a process that ends."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def is_sharded() -> bool:
    """Whether `accelerate launch` is to shard the model. (On CPUs an Accelerator does not say so.)"""
    return _flag("ACCELERATE_USE_FSDP")


def own_rows(accelerator: Accelerator | None, count: int) -> slice:
    """The rows of a batch of `count` that this process runs: neighbours, and at least one, so that none is idle.

    None is a process that works alone, here as in `whole`.
    """
    if accelerator is None:
        return slice(0, count)
    start, stop = _share(accelerator.process_index, accelerator.num_processes, count)
    return slice(start, stop) if stop > start else slice(0, 1)


def whole(accelerator: Accelerator | None, own: Tensor, count: int) -> Tensor:
    """f[count, …]: all processes' results f[rows, …] of `own_rows`, in order; gradients go to this process's rows."""
    if accelerator is None or accelerator.num_processes == 1:
        return own
    processes = accelerator.num_processes
    bounds = [_share(rank, processes, count) for rank in range(processes)]
    longest = max(stop - start for start, stop in bounds)
    padded = own.new_zeros(longest, *own.shape[1:])
    padded[: len(own)] = own.detach()
    found = accelerator.gather(padded.contiguous()).unflatten(0, (processes, longest))
    parts = [part[: stop - start] for part, (start, stop) in zip(found, bounds, strict=True)]
    start, stop = bounds[accelerator.process_index]
    parts[accelerator.process_index] = own[: stop - start]
    return torch.cat(parts)


def add_gradients(weights: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Sum of the gradients over all processes; nothing to do on one, nor for shards, whose sums are there already.

    A weight that has no gradient in any process is left without, as on one: an optimizer passes it over.
    """
    if accelerator.num_processes > 1:
        whole = [weight for weight in weights if not isinstance(weight, DTensor)]
        counts = torch.tensor([float(weight.grad is not None) for weight in whole], device=accelerator.device)
        for weight, count in zip(whole, accelerator.reduce(counts, "sum").tolist(), strict=True):
            if count:
                gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = accelerator.reduce(gradient, "sum")


def copy_first(module: nn.Module, accelerator: Accelerator) -> None:
    """Give every process the weights of the first one; nothing to do on one."""
    if accelerator.num_processes > 1:
        broadcast([value.data for value in module.state_dict().values()])


def check_shareable(module: nn.Module, accelerator: Accelerator) -> None:
    """InputError where several processes would train a network that normalises over the batch: each sees a part."""
    normalised = any("BatchNorm" in type(part).__name__ for part in module.modules())
    if accelerator.num_processes > 1 and normalised:
        raise InputError(
            "accelerate launch",
            expected="one process to train a vision tower with batch normalisation",
            got=str(accelerator.num_processes),
            next_step="Start one, or tune the language model only.",
        )


def _check_launch(shards: bool) -> None:
    """InputError for a launch that would shard in another way than FSDP2, or that this recipe can't."""
    version = os.environ.get("FSDP_VERSION", "1")
    if _flag("ACCELERATE_USE_DEEPSPEED") or _flag("ACCELERATE_USE_MEGATRON_LM"):
        got, hint = (
            "DeepSpeed or Megatron",
            "Use configs/fsdp.yaml: like ZeRO-3 it shards weights, gradients and optimizer.",
        )
    elif is_sharded() and not shards:
        got, hint = "FSDP", "Use configs/data-parallel.yaml: the models of this recipe fit each process."
    elif is_sharded() and version != "2":
        got, hint = f"FSDP {version}", "Use configs/fsdp.yaml, or set fsdp_version: 2."
    else:
        return
    kinds = "data parallelism or FSDP 2" if shards else "data parallelism"
    raise InputError("accelerate launch", expected=kinds, got=got, next_step=hint)


def _flag(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def _share(rank: int, processes: int, count: int) -> tuple[int, int]:
    """First row and the one after the last: parts of equal size, one more in the first ones."""
    each, more = divmod(count, processes)
    start = rank * each + min(rank, more)
    return start, start + each + (rank < more)
