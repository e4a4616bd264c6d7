"""The update of a round of preference optimisation: log-probabilities of all candidates, pairs, steps.

A batch holds whole products. Each prompt, right or corrupted, is read once and its cache repeated for the product's
candidates, so that N candidates and all their pairs cost one prompt, where a trainer of pairs reads it N (N - 1) times.
In an update each picture is seen once, since the vision tower is not adapted, and the reference reads each text once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from caig.artifacts import published_folder, to_json
from caig.errors import InputError
from caig.models.adapters import (
    CONFIG,
    adapter_weights,
    add_adapter,
    base_of,
    load_adapted,
    reference,
    save_adapter,
    train_adapter,
)
from caig.models.describing import write_request
from caig.models.hub import resolve
from caig.models.mllm import TrainingBatch, answer_log_probs, encode_training, see, with_features
from caig.models.prompt_model import PromptModel
from caig.pipeline import as_seen
from caig.preference.corruption import corruptions, strangers
from caig.preference.policy import LOSSES, Pairs, objective
from caig.recipes.pcpo import Config
from caig.recipes.processes import add_gradients, is_sharded, join_processes, own_rows, whole
from caig.recipes.sharding import Shards, clip_gradients, read_to, save_whole, shard_of, shards_of
from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint
from caig.seeding import seed_for
from caig.types import Product

CHECKPOINT_EVERY = 20  # steps
MEASURED = "measured.json"  # beside an adapter
NEGATIVES = {"corrupted": corruptions, "stranger": strangers}


class InUnison(PromptModel):
    """Writes in all processes the tokens of the main one, so that they go through a sharded model in step."""

    def _draw(self, logits: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        return broadcast(super()._draw(logits, generators))


@dataclass(frozen=True)
class Policy:
    """The model that is trained, its adapter on, and where what happens to it is told."""

    config: Config
    model: Any
    processor: Any
    accelerator: Accelerator
    log: Log
    board: SummaryWriter | None
    shards: Shards
    goes_on: bool = False
    """Whether it began with an adapter that had learned already."""

    @classmethod
    def start(cls, config: Config) -> Policy:
        """The model by its name with a fresh adapter, or with the one that it or `start_from` is, on this process's
        device. What is under the adapter is the reference. InputError when `start_from` is an adapter of another."""
        _check_start(config)
        accelerator = join_processes(config.device, shards=True)
        (device, dtype), name = read_to(accelerator), config.start_from or config.prompt_model
        model, processor, _ = load_adapted(name, "prompt", device, dtype=dtype, checkpointing=config.checkpointing)
        goes_on = bool(adapter_weights(model))
        if goes_on:
            train_adapter(model)
        else:
            seed = seed_for(config.seed, "adapter")
            size = {"rank": config.rank, "alpha": config.alpha, "dropout": config.dropout}
            add_adapter(model, **size, base=config.prompt_model, seed=seed)
        main = accelerator.is_main_process
        log = Log(config.out / "log.jsonl", silent=not main)
        board = SummaryWriter(str(config.out / "tensorboard")) if main else None
        shards = Shards(model.eval(), accelerator)
        return cls(config, model, processor, accelerator, log, board, shards, goes_on)

    @property
    def writer(self) -> PromptModel:
        """The model as it writes descriptions now."""
        kind = InUnison if is_sharded() else PromptModel
        return kind(self.model, self.processor, name=self.config.prompt_model)

    @property
    def weights(self) -> dict[str, Tensor]:
        """A copy of the adapter as it is now; this process's share of it."""
        return {name: value.detach().clone() for name, value in adapter_weights(self.model).items()}

    @torch.no_grad()
    def step_back(self, before: Mapping[str, Tensor]) -> None:
        """Go half of the way back to the adapter `before`."""
        for name, value in adapter_weights(self.model).items():
            value.copy_((value + before[name]) / 2)

    def tell(self, step: int, **values: Any) -> None:
        """Write to log.jsonl and, what are numbers, to TensorBoard, unless it was told before the run was cut."""
        if not self.log.write_once(step=step, **values):
            return
        numbers = {name: value for name, value in values.items() if self.board and isinstance(value, float)}
        for name, value in numbers.items():
            assert self.board
            self.board.add_scalar(name, value, step)

    @torch.no_grad()
    def distance(self, products: Sequence[Product], texts: Sequence[Sequence[str]], r: int | str) -> float:
        """Mean of log pi(y|x) - log ref(y|x) over texts that the policy wrote in round `r`: an estimate of its KL from
        the reference in nats a description. (A nucleus cut the texts' draws, so it leaves the rare ones out.)"""
        gaps = []
        for product, own in zip(products, texts, strict=True):
            batch = self.encode([product], [own], prompt_seed(self.config, r))
            mine = self.log_probs(batch)
            with reference(self.model):
                gaps.append((mine - self.log_probs(batch)).mean().item())
        return float(np.mean(gaps))

    def encode(self, products: Sequence[Product], texts: Sequence[Sequence[str]], seed: int) -> TrainingBatch:
        """Prompts and answers of products as they are shown, every picture seen already."""
        prompts = [write_request(product, 1, seed=seed) for product in products]
        images = [product.image if isinstance(product.image, np.ndarray) else None for product in products]
        batch = encode_training(self.processor, prompts, images, texts, self.model.device)
        return replace(batch, inputs=with_features(batch.inputs, see(self.model, batch.inputs)))

    def log_probs(self, batch: TrainingBatch, of: int | None = None) -> Tensor:
        """log pi of each answer, summed over its tokens, f32[B, N]; `of` B products, of which all processes hold rows,
        or of the batch alone."""
        tokens = answer_log_probs(self.model, batch.inputs, batch.answers, batch.mask, batch.repeats)
        own = tokens.sum(1).view(-1, batch.repeats)
        return own if of is None else whole(self.accelerator, own, of)


def _check_start(config: Config) -> None:
    """InputError unless `start_from` is an adapter of the same checkpoint as the prompt model is, or is of."""
    if not config.start_from:
        return
    folder, own = resolve(config.start_from, "prompt"), resolve(config.prompt_model, "prompt")
    wanted = base_of(own) if (own / CONFIG).is_file() else config.prompt_model
    got = f"an adapter of {base_of(folder)!r}" if (folder / CONFIG).is_file() else "a whole checkpoint"
    if got != f"an adapter of {wanted!r}":
        hint = "Name the checkpoint under it as the prompt model, or leave start_from out."
        raise InputError(
            f"start_from {config.start_from!r}", expected=f"an adapter of {wanted!r}", got=got, next_step=hint
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """What round `number` trains on; `others` lend their words and photos to the negatives."""

    number: int
    products: Sequence[Product]
    others: Sequence[Product]
    drafts: Mapping[str, Sequence[str]]
    utilities: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """B products of a round: their candidates under the right information (view 0) and under each negative."""

    views: Sequence[TrainingBatch]
    """Of this process's rows."""
    references: Sequence[Tensor]
    """f32[B, N] per view."""
    lengths: Tensor
    """i64[B, N] of the candidates, in tokens."""
    utilities: Tensor
    """f32[B, N]."""
    texts: Sequence[Sequence[str]]


def prompt_seed(config: Config, r: int | str) -> int:
    """Of the instructions that round `r`'s texts answer: whoever asks for their log-probabilities asks with these."""
    return seed_for(config.seed, "describe", r)


def update(policy: Policy, round: Round) -> None:
    """Train the adapter on the round's pairs, from its last checkpoint; does nothing where the round is done."""
    config, model, r = policy.config, policy.model, round.number
    path = config.out / f"rounds/{r}/update.pt"
    weights = list(adapter_weights(model).values())
    optimizer = torch.optim.AdamW(weights, lr=config.lr, weight_decay=0.0)
    state, steps, processes = load_checkpoint(path), steps_of(config, len(round.products)), policy.accelerator
    start = state["step"] if state else 0
    if state:
        restore(policy, state["adapter"])
        optimizer.load_state_dict(shards_of(state["optimizer"], weights))
    if start == steps:
        return
    groups = encode_groups(policy, round)
    for step in range(start, steps):
        epoch, place = divmod(step, len(groups))
        group = groups[order(config, r, epoch, len(groups))[place]]
        for settings in optimizer.param_groups:
            settings["lr"] = config.lr * cosine_with_warmup(step, steps, config.warmup)
        seed = seed_for(config.seed, "dropout", r, step) + processes.process_index
        loss, pairs = group_loss(policy, group, epoch, seed)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        add_gradients(weights, processes)
        clip_gradients(weights)
        optimizer.step()
        policy.tell(r * steps + step + 1, loss=loss.item(), pairs=len(pairs.chosen), **margins(pairs))
        if step + 1 == steps:  # told before it is saved: a round that is found whole is not gone into again
            policy.tell((r + 1) * steps, stranger_margin=stranger_margin(policy, round))
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == steps:
            save_whole(path, state_of(policy, optimizer, step + 1), processes)
    processes.wait_for_everyone()


def steps_of(config: Config, products: int) -> int:
    """Optimizer steps of a round: passes over its batches."""
    return config.epochs * -(-products // config.batch)


def order(config: Config, r: int, epoch: int, count: int) -> list[int]:
    """The order of batches in one pass."""
    return np.random.default_rng(seed_for(config.seed, "order", r, epoch)).permutation(count).tolist()


def encode_groups(policy: Policy, round: Round) -> list[Group]:
    """The round in batches, with every picture seen and every reference computed: under the right information, and
    under those of the K negatives that the round's passes take; each pass of the run takes the next one."""
    config, size = policy.config, policy.config.batch
    batches = [round.products[i : i + size] for i in range(0, len(round.products), size)]
    passes = range(round.number * config.epochs, (round.number + 1) * config.epochs)
    ks = list(dict.fromkeys(k % config.corruptions for k in passes))
    return [_group(policy, round, batch, NEGATIVES[config.negative], ks) for batch in batches]


def _group(policy: Policy, round: Round, products: Sequence[Product], negatives: Any, ks: Sequence[int]) -> Group:
    seed = prompt_seed(policy.config, round.number)
    texts = [round.drafts[product.id] for product in products]
    rows = own_rows(policy.accelerator, len(products))
    own = products[rows]
    wrong = [_negatives(negatives, product, round.others, ks, policy.config.seed) for product in own]
    shown = [[as_seen(product) for product in own], *([one[i] for one in wrong] for i in range(len(ks)))]
    views = [policy.encode(view, texts[rows], seed) for view in shown]
    with torch.no_grad(), reference(policy.model):
        references = [policy.log_probs(view, of=len(products)) for view in views]
    scores = torch.tensor([round.utilities[product.id] for product in products], device=policy.model.device)
    lengths = whole(policy.accelerator, views[0].mask.sum(1).view(-1, views[0].repeats), len(products))
    return Group(views=views, references=references, lengths=lengths, utilities=scores, texts=texts)


def _negatives(make: Any, product: Product, others: Sequence[Product], ks: Sequence[int], seed: int) -> list[Product]:
    """The `ks`-th negatives of a product as it is shown; only the strangers' photos that are needed are read."""
    if make is corruptions:
        found = corruptions(as_seen(product), others, max(ks) + 1, seed=seed)
        return [found[k] for k in ks]
    found = strangers(product, others, max(ks) + 1, seed=seed)
    return [as_seen(found[k]) for k in ks]


def pairs_of(group: Group, clean: Tensor, corrupted: Tensor, view: int, ties: bool = True) -> tuple[Pairs, Tensor]:
    """All pairs of different texts of a product, with or without those of equal utility, and the chance of each that
    the rejected one is better, f32[P].

    That is s(u_rejected - u_chosen) of log CTRs, whose calibration draws them together the more often a model is wrong.
    The spread of an ensemble adds nothing: it is 0.003 of the variance of the embedded model's log CTRs within a
    product (docs/LOG.md).
    """
    count = clean.shape[1]
    found = [
        (b, i, j) if group.utilities[b, i] >= group.utilities[b, j] else (b, j, i)
        for b, texts in enumerate(group.texts)
        for i in range(count)
        for j in range(i + 1, count)
        if texts[i] != texts[j] and (ties or group.utilities[b, i] != group.utilities[b, j])
    ]
    b, chosen, rejected = torch.tensor(found, dtype=torch.long, device=clean.device).view(-1, 3).T
    right, wrong = group.references[0], group.references[view]
    gap = group.utilities[b, chosen] - group.utilities[b, rejected]
    pairs = Pairs(
        chosen=clean[b, chosen],
        rejected=clean[b, rejected],
        corrupted=corrupted[b, chosen],
        ref_chosen=right[b, chosen],
        ref_rejected=right[b, rejected],
        ref_corrupted=wrong[b, chosen],
        chosen_length=group.lengths[b, chosen],
        rejected_length=group.lengths[b, rejected],
    )
    return pairs, (-gap).sigmoid()


def group_loss(policy: Policy, group: Group, epoch: int, seed: int) -> tuple[Tensor, Pairs]:
    """The objective on a batch's pairs in the round's pass `epoch`, which decides its negative; dropout comes from
    `seed`."""
    config, view = policy.config, 1 + epoch % (len(group.views) - 1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy.model.train()
        clean = policy.log_probs(group.views[0], of=len(group.texts))
        with torch.set_grad_enabled(config.product_weight > 0):
            corrupted = policy.log_probs(group.views[view], of=len(group.texts))
        policy.model.eval()
    pairs, doubt = pairs_of(group, clean, corrupted, view, ties=config.labels == "soft")
    doubt = doubt if config.labels == "soft" else torch.zeros_like(doubt)
    loss = objective(
        pairs,
        loss=LOSSES[config.loss],
        beta=config.beta,
        product_weight=config.product_weight,
        product_beta=config.product_beta,
        anchor=config.anchor,
        smoothing=config.smoothing + (1 - 2 * config.smoothing) * doubt,
        per_token=config.per_token,
    )
    return loss, pairs


def margins(pairs: Pairs) -> dict[str, float]:
    """What a step tells: mean margins in nats, and the share of pairs ordered as the reward model has them."""
    if not len(pairs.chosen):
        return {"margin": 0.0, "product_margin": 0.0, "ordered": 0.5}
    return {
        "margin": pairs.margin.mean().item(),
        "product_margin": pairs.product_margin.mean().item(),
        "ordered": (pairs.margin > 0).float().mean().item(),
    }


@torch.no_grad()
def stranger_margin(policy: Policy, round: Round) -> float:
    """Mean product margin in nats of the round's first batch against another product's clean photo and words, which no
    mask gives away."""
    group = _group(policy, round, round.products[: policy.config.batch], strangers, [0])
    clean, strange = (policy.log_probs(view, of=len(group.texts)) for view in group.views)
    pairs, _ = pairs_of(group, clean, strange, 1)
    return margins(pairs)["product_margin"]


def state_of(policy: Policy, optimizer: torch.optim.Optimizer, step: int) -> dict[str, Any]:
    """What a checkpoint holds: the adapter in full precision, the optimizer, the step."""
    return {"adapter": policy.weights, "optimizer": optimizer.state_dict(), "step": step}


@torch.no_grad()
def restore(policy: Policy, adapter: Mapping[str, Tensor]) -> None:
    """Put a stored adapter in place."""
    for name, value in adapter_weights(policy.model).items():
        value.copy_(shard_of(adapter[name], value))


def keep(policy: Policy, r: int) -> None:
    """Store the adapter that goes on after round `r`, once."""
    path = policy.config.out / f"rounds/{r}/adapter.pt"
    found = path.is_file()
    policy.accelerator.wait_for_everyone()  # all have looked before anyone writes
    if not found:
        save_whole(path, {"adapter": policy.weights}, policy.accelerator)


def export(policy: Policy, best: int, metrics: Mapping[str, float]) -> Path:
    """Write `out/best`: the adapter as it was before round `best` (0: as it began; a fresh one changes nothing), and
    what was measured of it on the watched products."""
    config, folder = policy.config, policy.config.out / "best"
    earlier = resolve(config.start_from or config.prompt_model, "prompt")
    policy.shards.join()
    if policy.accelerator.is_main_process:
        state = load_checkpoint(config.out / f"rounds/{best - 1}/adapter.pt")
        if state:
            restore(policy, state["adapter"])
        else:
            with torch.no_grad():
                [value.zero_() for name, value in adapter_weights(policy.model).items() if "lora_B" in name]
        with published_folder(folder) as work:
            if (earlier / CONFIG).is_file() and not state:
                shutil.copytree(earlier, work, dirs_exist_ok=True)
            else:
                save_adapter(policy.model, work)
            (work / MEASURED).write_text(to_json({"round": best, **metrics}, indent=1))
    policy.accelerator.wait_for_everyone()
    return folder
