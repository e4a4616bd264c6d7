"""Two CPU processes as `accelerate launch` starts them, and what tests let them do."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import PrepareForLaunch, patch_environment
from torch.multiprocessing import start_processes
from torch.optim import AdamW


def in_two(function: Callable[..., Any], *arguments: Any, shards: bool = False) -> None:
    """Run `function` in two fresh processes; forked ones would inherit the threads of earlier tests."""
    with tempfile.TemporaryDirectory() as folder:
        rendezvous = {"accelerate_debug_rdv_file": f"{folder}/rendezvous", "gloo_socket_ifname": "lo"}
        where = {"world_size": 2, "master_addr": "127.0.0.1", "master_port": "29500"}
        kind = {"accelerate_use_fsdp": "true", "fsdp_version": "2"} if shards else {}
        kind |= {"accelerate_use_cpu": "yes", "accelerate_mixed_precision": "no"}
        with patch_environment(**where, **rendezvous, **kind):
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


def cut_after(steps: int, module: str, run: Callable[..., Any], *arguments: Any) -> None:
    """`run` until the gradients of step `steps`, counted from 0 and from where it goes on, are to be added up in
    `module`, by name."""
    room: Any = importlib.import_module(module)

    def add_gradients(*gradients: Any) -> None:
        nonlocal steps
        steps -= 1
        if steps < 0:
            raise KeyboardInterrupt
        plain(*gradients)

    plain, room.add_gradients = room.add_gradients, add_gradients
    try:
        run(*arguments)
    except KeyboardInterrupt:
        pass
    finally:
        room.add_gradients = plain


def tune(base: Path, out: Path, shelf: Path) -> None:
    """Optimise preferences at toy size, as `train` does; writes each process's last adapter beside `out`."""
    from caig.recipes import pcpo, pcpo_update
    from caig.recipes.sharding import gathered
    from tests.recipes.pcpo_toys import models, toy, write_shelf

    plain = pcpo_update.export

    def export(policy: Any, best: int, metrics: Any) -> Path:
        mine = gathered(pcpo_update.adapter_weights(policy.model), policy.accelerator)
        torch.save(mine, out.parent / f"{out.name}-{policy.accelerator.process_index}.pt")
        return plain(policy, best, metrics)

    pcpo_update.export, torch.optim.AdamW = export, partial(AdamW, eps=1e-2)  # type: ignore[misc]
    try:
        pcpo.optimise(toy(base, out, rounds=2, products=5, batch=3), write_shelf(shelf), models())
    finally:
        pcpo_update.export, torch.optim.AdamW = plain, AdamW


def cut_and_join(out: Path) -> None:
    """Cut a small model up, one layer's weights frozen but for an adapter's; write what each process holds of each
    weight, the whole model as checkpoints have it, a gradient of ones after clipping, the model joined again, and what
    the two say who draw from other logits."""
    from caig.models.adapters import add_adapter
    from caig.models.mllm import build_backbone, core
    from caig.models.prompt_model import PromptModel
    from caig.recipes.pcpo_update import InUnison
    from caig.recipes.processes import join_processes
    from caig.recipes.sharding import Shards, clip_gradients, gathered
    from tests.recipes.pcpo_toys import TEXTS, TINY

    accelerator = join_processes("cpu", shards=True)
    model, _ = build_backbone(TEXTS, seed=0, size=TINY)
    add_adapter(model, rank=3, alpha=6, dropout=0.0, base="embedded-pretrained", seed=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shards = Shards(model, accelerator)
    held = {name: getattr(weight, "_local_tensor", weight).numel() for name, weight in model.named_parameters()}
    whole = gathered(model.state_dict(), accelerator)
    table = model.get_input_embeddings().weight.requires_grad_(True)
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight) if weight.requires_grad else None
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    clip_gradients(learning)
    scale = table.grad.flatten()[0].item()
    shards.join()
    kinds = {type(layer).__name__ for layer in core(model).language_model.layers}
    joined = model.state_dict() if accelerator.is_main_process else {}
    logits = torch.full((2, 5), -1e9).index_fill(1, torch.tensor([1 + accelerator.process_index]), 0.0)
    draws = [torch.Generator().manual_seed(k) for k in range(2)]
    said = [object.__new__(kind)._draw(logits, draws) for kind in (PromptModel, InUnison)]
    found = {
        "said": said,
        "before": before,
        "held": held,
        "whole": whole,
        "scale": scale,
        "joined": joined,
        "kinds": kinds,
    }
    torch.save(found, out / f"{accelerator.process_index}.pt")


def step_in_shards(folders: Mapping[str, Path], out: Path) -> None:
    """A step of each checkpoint, whole in each process with all rows and in shards with own rows; write the largest gap
    between gradients over the largest gradient, and the same of logits after joining."""
    from caig.models.mllm import answer_log_probs, encode_training, load_mllm
    from caig.recipes.processes import add_gradients, join_processes, own_rows, whole
    from caig.recipes.sharding import Shards, gathered
    from caig.testing import sample_product

    accelerator, image, found = join_processes("cpu", shards=True), sample_product().image, {}

    def told(model: Any, processor: Any, shared: Any) -> torch.Tensor:
        rows = own_rows(shared, 2)
        texts, answers = ["mug", "a navy mug for coffee"][rows], [["wooden desk", "sea"], ["soft light", "beach"]][rows]
        b = encode_training(processor, texts, [image, image[:90]][rows], answers)
        own = answer_log_probs(model, b.inputs, b.answers, b.mask, b.repeats).sum(1).view(-1, 2)
        return whole(shared, own, 2)

    for name, folder in folders.items():
        for checkpointing in (False, True):
            plain, cut = (load_mllm(folder, "cpu", checkpointing=checkpointing)[0].train() for _ in range(2))
            processor = load_mllm(folder, "cpu")[1]
            shards = Shards(cut, accelerator)
            told(plain, processor, None).square().mean().backward()
            told(cut, processor, accelerator).square().mean().backward()
            add_gradients(cut.parameters(), accelerator)
            gradients = gathered({k: v.grad for k, v in cut.named_parameters()}, accelerator)
            shards.join()
            if accelerator.is_main_process:
                pairs = [(v.grad, gradients[k]) for k, v in plain.named_parameters() if v.grad is not None]
                most = max(one.abs().max() for one, _ in pairs)
                gap = max((one - two).abs().max() for one, two in pairs) / most
                with torch.no_grad():
                    joined = (told(plain, processor, None) - told(cut, processor, None)).abs().max()
                found[f"{name}, {'checkpointing' if checkpointing else 'cache'}"] = (gap.item(), joined.item())
    if accelerator.is_main_process:
        torch.save(found, out)
