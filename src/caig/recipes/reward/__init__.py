"""Train the reward model from a click log: which picture of a product is clicked more, and how often.

Differs from the paper: pictures are judged one at a time (siamese) in place of two in one sequence; labels are soft,
P(first truly better | counts) with a prior fitted to the log, in place of a filter on impressions and ratio; CTR is
regressed as log-CTR centred within the product. Learns from the log and its pictures alone: true CTRs of a simulation
serve to judge it afterwards. Every random draw comes from (seed, step), so a resumed run equals an uncut one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caig.seeding import seed_for

if TYPE_CHECKING:
    from caig.recipes.reward.samples import Batch, ProductClicks


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train reward`."""

    data: Path
    """Folder with the log's pictures, and with products.tar unless --catalog is given."""
    clicks: Path
    """Click log, a file or folder in any shape that caig.data.clicks reads."""
    out: Path
    """Run folder: checkpoint, log, rejected rows and, in `model`, the exported checkpoint."""
    catalog: Path | None = None
    """Catalogue with the products' titles and attributes."""
    truth: Path | None = None
    """True CTRs of a simulation (product_id, creative_id, ctr): judged against afterwards, never learned from."""
    calibrated_on: Literal["simulated", "click log"] = "simulated"
    """What the log is. Say "click log" only if real people clicked: every CTR predicted later carries this word."""
    backbone: str = "fresh"
    """fresh, or a prompt model to start from: embedded, a folder or owner/name."""
    steps: int = 1100
    """All steps, those of the vision tower included."""
    tower_steps: int = 800
    """First steps, past the language model: the heads read the vision tower, gated by the words (a fifth of the price).
    A tower trained from nothing needs many pictures before its features are worth the language model's time."""
    products: int = 8
    """Products a step."""
    pictures: int = 4
    """Pictures per product and step; every pair of them is compared."""
    lr: float = 1e-3
    warmup: int = 40
    """Steps of linear warm-up; a cosine down to 0 follows; anew when the language model comes in."""
    weight_decay: float = 0.05
    point_weight: float = 0.5
    """lambda 2: weight of the log-CTR regression beside the pairs."""
    attribute_dropout: float = 0.2
    """Share of a product's attributes left out of its words."""
    seed: int = 0
    threads: int = 1
    checkpoint_every: int = 100
    """Steps between checkpoints, each with a validation loss in the log."""


def run(config: Config) -> Path:
    """Train from the last checkpoint to `config.steps`, calibrate, export and judge; returns the exported folder."""
    import torch

    from caig.recipes.reward.report import export
    from caig.recipes.reward.samples import draw_batch, read_samples
    from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint, save_checkpoint

    torch.set_num_threads(config.threads)
    network, processor, side = build(config)
    samples = read_samples(config, side)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )
    log, path, started = Log(config.out / "log.jsonl"), config.out / "checkpoint.pt", time.monotonic()
    start, seconds = 0, 0.0
    if state := load_checkpoint(path):
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        start, seconds = state["step"], state["seconds"]

    for step in range(start, config.steps):
        network.train()
        batch = draw_batch(samples.train, config, seed_for(config.seed, "step", step))
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_with_warmup(*position(step, config), config.warmup)
        pairs, points = losses(network, processor, batch, tower=step < config.tower_steps)
        optimizer.zero_grad(set_to_none=True)
        (pairs + config.point_weight * points).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 20 == 0:
            log.write(step=step + 1, pair_loss=pairs.item(), point_loss=points.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            loss = validation_loss(network, processor, samples.validation, config, step)
            log.write(step=step + 1, validation_loss=loss)
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, {**state, "seconds": seconds + time.monotonic() - started})

    return export(config, network, processor, samples, seconds=seconds + time.monotonic() - started)


def build(config: Config) -> tuple[Any, Any, int]:
    """The network before its first step, its processor, and the side of the square that its vision tower sees.

    Weights and tokenizer depend on the config and its data alone. Raises CheckpointError for an unknown backbone.
    """
    import torch

    from caig.models.hub import resolve
    from caig.models.mllm import build_backbone, load_mllm
    from caig.models.reward_model import RewardNetwork, width_of
    from caig.recipes.reward.samples import tokenizer_texts

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if config.backbone == "fresh":
        backbone, processor = build_backbone(tokenizer_texts(config), seed=seed_for(config.seed, "weights"))
    else:
        backbone, processor = load_mllm(resolve(config.backbone, "prompt"), device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "heads"))
        network = RewardNetwork(backbone, width_of(backbone)).float().to(device)
    return network, processor, backbone.config.vision_config.image_size


def position(step: int, config: Config) -> tuple[int, int]:
    """(step, steps) within the current part: vision tower first, then the whole model."""
    if step < config.tower_steps:
        return step, min(config.tower_steps, config.steps)
    return step - config.tower_steps, config.steps - config.tower_steps


def losses(network: Any, processor: Any, batch: Batch, *, tower: bool) -> tuple[Any, Any]:
    """(L_CE over all pairs within a product, L_Point) of one batch, scalars; with `tower` past the language model."""
    from caig.models.mllm import encode
    from caig.preference.losses import centred_log_ctr_error, pairwise_cross_entropy

    inputs = encode(processor, batch.texts, batch.pictures, network.backbone.device)
    utility, relative = (output.squeeze(1) for output in network(inputs))
    b = batch.to(utility.device)
    pairs = pairwise_cross_entropy(utility[b.first], utility[b.second], b.label)
    return pairs, centred_log_ctr_error(relative, b.log_ctr, b.product, weight=b.weight)


def validation_loss(network: Any, processor: Any, products: list[ProductClicks], config: Config, step: int) -> float:
    """Mean L_CE over the same eight batches of validation products every time; 0 when no product has a pair."""
    import torch

    from caig.recipes.reward.samples import draw_batch
    from caig.recipes.training import mean_loss

    if not any(product.comparable for product in products):
        return 0.0
    network.eval()
    tower = step < config.tower_steps
    with torch.inference_mode():
        batches = (draw_batch(products, config, seed_for("validation", k)) for k in range(8))
        return mean_loss(losses(network, processor, batch, tower=tower)[0] for batch in batches)
