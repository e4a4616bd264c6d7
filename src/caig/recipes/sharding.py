"""Training in shards: each process holds a share of the language model's layers, of their gradients and of their
optimizer's state (fully_shard of torch, "FSDP2"; all that is cut up is cut, as in DeepSpeed ZeRO-3).

A layer is put together for the moment in which it works. Everything else stays whole in each process: embeddings,
heads and the vision tower, a twelfth of LLaVA-1.6 7B, a fifth of Qwen3-VL 4B. Weights are read to the CPU of each
process before they are cut, and the main process holds the model whole once more to export it. What is written,
checkpoints too, is whole, so that a sharded run goes on as any other and the other way round.
A layer works in all processes at once or not at all: they make the same passes in the same order.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, share_comm_ctx
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from caig.models.hub import Dtype, place
from caig.models.mllm import core, decoder_layers
from caig.recipes.processes import is_sharded
from caig.recipes.training import save_checkpoint


class Shards:
    """`model`'s language model, cut up in place if the launch asks for it; its weights are final in name and kind."""

    def __init__(self, model: Any, accelerator: Accelerator) -> None:
        self.core, self.accelerator = core(model), accelerator
        layers = decoder_layers(model) if is_sharded() else []
        names = [name for name, part in self.core.named_modules() if part in layers]
        self.shells = {name: _hollow(self.core.get_submodule(name)) for name in names}
        if layers:
            _cut(layers, accelerator)
        model.to(accelerator.device)

    def join(self) -> None:
        """Put the model together again in the main process; the others keep theirs cut, and are done with it."""
        for name, shell in self.shells.items():
            layer = self.core.get_submodule(name)
            whole = gathered(dict(layer.named_parameters()), self.accelerator)
            if self.accelerator.is_main_process:
                shell.load_state_dict(whole, strict=False, assign=True)
                self.core.set_submodule(name, shell.to(self.accelerator.device).train(layer.training))


def read_to(accelerator: Accelerator) -> tuple[str, Dtype]:
    """Device and dtype in which a model is read: those of the process, but for a model to cut up, the CPU."""
    device, dtype = place("prompt", str(accelerator.device))
    return ("cpu" if is_sharded() else device), dtype


def gathered(state: Any, accelerator: Accelerator) -> Any:
    """`state`, a tree of dicts, with its shards put together on the CPU of the main process; the others have None."""
    if isinstance(state, Mapping):
        return {name: gathered(value, accelerator) for name, value in state.items()}
    if not isinstance(state, DTensor):
        return state
    whole = state.detach().full_tensor()
    return whole.cpu() if accelerator.is_main_process else None


def save_whole(path: Path, state: Any, accelerator: Accelerator) -> None:
    """`save_checkpoint` of `state` with its shards put together, by the main process."""
    whole = gathered(state, accelerator)
    if accelerator.is_main_process:
        save_checkpoint(path, whole)


def shard_of(whole: Tensor, weight: Tensor) -> Tensor:
    """`whole` as `weight` of the same shape is kept here: this process's share, or all of it."""
    if not isinstance(weight, DTensor):
        return whole
    return distribute_tensor(whole.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


def shards_of(state: Mapping[str, Any], weights: Sequence[Tensor]) -> dict[str, Any]:
    """An optimizer's whole `state`, as for its `weights` in order."""
    own = {
        k: {name: shard_of(value, weights[k]) if value.ndim else value for name, value in of_weight.items()}
        for k, of_weight in state["state"].items()
    }
    return {**state, "state": own}


def clip_gradients(weights: Sequence[nn.Parameter], most: float = 1.0) -> None:
    """Scale all gradients so that their norm together is `most` or less, whatever share of them is here."""
    learning = [weight for weight in weights if weight.grad is not None]
    parts = [[weight for weight in learning if isinstance(weight, DTensor) is cut] for cut in (False, True)]
    norms = [get_total_norm([weight.grad for weight in part if weight.grad is not None]) for part in parts if part]
    plain = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in norms]
    norm = plain[0] if len(plain) == 1 else torch.stack(plain).norm()
    for part in filter(None, parts):
        clip_grads_with_norm_(part, most, norm)


def _cut(layers: Sequence[Any], accelerator: Accelerator) -> None:
    """Give each process its share of each layer; gradients are summed, as `add_gradients` does with what is whole."""
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        layer.set_gradient_divide_factor(1.0)
        layer.set_force_sum_reduction_for_comms(True)  # gloo can't scale within a sum
    share_comm_ctx(list(layers))
    for layer in layers:  # once now: in inference mode, or with an adapter off, its buffers would be of no use to train
        layer.unshard()
        layer.reshard()


def _hollow(layer: nn.Module) -> nn.Module:
    """A copy of `layer` without its weights."""
    empty = {id(w): nn.Parameter(w.detach().to("meta"), requires_grad=w.requires_grad) for w in layer.parameters()}
    return copy.deepcopy(layer, empty)
