"""Train the reward model from a click log: which picture of a product is clicked more, and how often.

Differs from the paper: pictures are judged one at a time (siamese) in place of two in one sequence; labels are soft,
P(first truly better | counts) with a prior fitted to the log, in place of a filter on impressions and ratio; CTR is
regressed as the likelihood of which of a product's pictures each click fell on. A fresh tower learns to see first
(`tower.py`). Learns from the log and its pictures alone: true CTRs of a simulation serve to judge it afterwards. And
other shops' logs, where there are any, teach it what shoppers look at (`shops.py`). Every random draw comes from (seed,
step), so a resumed run equals an uncut one, and the processes of `accelerate launch` share each step's sequences.

Preset `caig-published` has the paper's form, labels, filter and weights of the losses. It still differs in that L_Point
is the squared error of log CTRs, centred within the pair and weighted by their precision, not that of CTRs; in that two
pictures enter in two slots (`--layout left-right`: in one picture, as published); and in that a trained model judges
each pair in both orders.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caig.errors import InputError
from caig.recipes.presets import with_preset
from caig.seeding import seed_for

if TYPE_CHECKING:
    from caig.models.reward_model import RewardNetwork
    from caig.recipes.reward.samples import ProductClicks

VALIDATION_BATCHES = 8
WARMUP = 40  # steps
# What changes no weight: one run may go on under another of these.
FREE = {"out", "preset", "truth", "device", "threads", "workers", "checkpointing", "checkpoint_every"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train reward`."""

    data: Path
    """Folder with the log's pictures, and with products.tar unless --catalog is given; a fresh tower needs scene
    archives there too."""
    clicks: Path
    """Click log, a file or folder in any shape that caig.data.clicks reads."""
    out: Path
    """Run folder: checkpoints, logs, rejected rows and, in `model`, the exported checkpoint."""
    preset: Literal["", "caig-published"] = ""
    """caig-published: joint, each pair in one order, at random; hard labels of pairs with more than 1,000 impressions
    each and CTRs 1.05 to 1.2 times as high; 16 products a step, 2 pictures of each; point weight 0.5. A setting that is
    given, and is not the default, stays as given."""
    catalog: Path | None = None
    """Catalogue with the products' titles and attributes."""
    truth: Path | None = None
    """True CTRs of a simulation (product_id, creative_id, ctr): judged against afterwards, never learned from."""
    calibrated_on: Literal["simulated", "click log"] = "simulated"
    """What the log is. Say "click log" only if real people clicked: every CTR predicted later carries this word."""
    backbone: str = "fresh"
    """fresh, or a checkpoint to start from: embedded (the reward model that ships), a folder or owner/name; any
    image-text-to-text model of transformers. It sees squares of its vision tower's side, 128 pixels if fresh or
    embedded, and of 448 where that takes any size: finer detail is not judged."""
    heads: Literal["new", "kept"] = "new"
    """kept: go on with the heads of the backbone, which is a reward model of this form and as many members. new: of a
    siamese reward model's heads only the tastes are kept."""
    windows: bool = False
    """Each folder of the log's files is a time window: pictures are compared with those of the same window only."""
    form: Literal["siamese", "joint"] = "siamese"
    """One picture a sequence, or two as published."""
    layout: Literal["slots", "left-right"] = "slots"
    """How two pictures enter one sequence; only joint."""
    both_orders: bool = True
    """Joint: read each pair in both orders and train the antisymmetric half; else in one order, at random."""
    tune: Literal["heads", "language", "lora", "full"] = "language"
    """What learns beside the heads: nothing, the language model whole, LoRA on it, or everything. Only `full` changes
    the vision tower; otherwise each picture is seen once. `heads`, for few clicks: each picture is read once too, as it
    is scored, neither mirrored nor in other words, so that steps cost next to nothing."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    labels: Literal["soft", "hard"] = "soft"
    """hard: the observed order, 0 or 1."""
    more_than: int = -1
    """Impressions that each side of a pair must exceed; -1: any number will do."""
    ratio: tuple[float, float] = (1.0, float("inf"))
    """The higher observed CTR of a pair over the lower one must lie within."""
    tower_steps: int = 1000
    """Steps in which a fresh tower learns to see, before any click; another backbone takes none."""
    tower_batch: int = 32
    """Pictures of such a step."""
    shops: Path | None = None
    """Folder with a click log of each of two or more other shops, a file or a folder each, whose pictures lie in `data`
    too: a siamese backbone learns from them what shoppers look at, a fresh one after the tower, a reward model on top
    of what it knows."""
    shop_steps: int = 3000
    shop_products: int = 6
    """Products of such a step, eight pictures each."""
    describing_weight: float = 0.2
    """Of the tower's losses, on `tower_batch` pictures beside, where a fresh tower learned by them; 0: it only judges
    from then on. Doubles the price."""
    steps: int = 500
    products: int | None = None
    """Products a step. None: 8; 16 where the heads alone learn."""
    pictures: int | None = None
    """Pictures per product and step; every pair of them is compared. None: 4; 8 where the heads alone learn."""
    members: int = 5
    """Siamese: heads of the ensemble. The mean of their probabilities tells how sure a pair's order is."""
    lr: float = 1e-4
    """Of the backbone. Larger ones learn the training pictures by heart (docs/LOG.md)."""
    head_lr: float | None = None
    """Of the heads. None: 1e-3; 1e-2 where they alone learn (docs/LOG.md)."""
    warmup: int | None = None
    """Steps of linear warm-up of each leg; a cosine down to 0 follows. None: 40, a tenth of a leg of less than 400."""
    weight_decay: float = 0.05
    pair_weight: float = 1.0
    """lambda 1: weight of the pairs' cross-entropy."""
    point_weight: float = 20.0
    """lambda 2: weight of the CTR regression. Siamese, its unit is nats a click, which are small."""
    prior_weight: float = 20.0
    """Weight of how unlike other shops' tastes the heads are, where those are known, in nats a click too: as large as
    `point_weight`, the two are minus the log posterior."""
    attribute_dropout: float = 0.2
    """Share of a product's attributes left out of its words; 1: neither they nor the category are told, in this run's
    calibration and metrics either, so that CTRs go by the global base rate. With tune heads nothing but 1 counts."""
    patch_dropout: float = 0.0
    """Share of a picture's tokens that a step does without; not with tune full or heads."""
    without: tuple[Literal["title", "image"], ...] = ()
    """What the model is not to see, in this run's calibration and metrics either: the product's title, or the picture
    (all grey). A fresh tower is shown everything wherever it learns to see. For ablations: whoever loads the model
    later shows it everything."""
    seed: int = 0
    device: str | None = None
    """cpu, cuda, cuda:1 …; None: a GPU when there is one."""
    threads: int = 1
    workers: int = 0
    """Processes that draw and encode the pictures of a fresh backbone's steps ahead of it: worth it beside a GPU; not
    on Windows."""
    checkpoint_every: int = 100
    """Steps between checkpoints, each with a validation loss in the log."""

    def __post_init__(self) -> None:
        if self.shops and (self.form, self.heads) != ("siamese", "new"):
            hint = "Leave out --shops, or train a siamese model with new heads."
            got = f"{self.form} with {self.heads} heads"
            raise InputError("shops", expected="siamese with new heads", got=got, next_step=hint)
        legs = {"steps": self.steps, "shop_steps": self.shop_steps if self.shops else 0}
        if self.backbone == "fresh":
            legs["tower_steps"] = self.tower_steps
        for name, steps in legs.items():
            if 0 < steps <= self.warmup_of(steps):
                hint = "Lower it, or no step reaches the rate."
                raise InputError("warmup", expected=f"fewer than {name}, {steps}", got=str(self.warmup), next_step=hint)

    @property
    def drawn(self) -> tuple[int, int]:
        """Products a step, and pictures of each."""
        products, pictures, _ = self._usual
        asked, of_each = self.products, self.pictures
        return products if asked is None else asked, pictures if of_each is None else of_each

    @property
    def rate_of_heads(self) -> float:
        """Their learning rate."""
        return self._usual[2] if self.head_lr is None else self.head_lr

    @property
    def _usual(self) -> tuple[int, int, float]:
        return (16, 8, 1e-2) if self.tune == "heads" else (8, 4, 1e-3)

    def warmup_of(self, steps: int) -> int:
        """Steps of warm-up of a leg of `steps`."""
        return min(WARMUP, steps // 10) if self.warmup is None else self.warmup


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "caig-published": {  # labels and loss weights from the paper's public code
        "form": "joint",
        "both_orders": False,
        "labels": "hard",
        "more_than": 1000,
        "ratio": (1.05, 1.20),
        "products": 16,
        "pictures": 2,
        "point_weight": 0.5,
    },
}


def run(config: Config) -> Path:
    """Train from the last checkpoint to `config.steps`, calibrate, export and judge; returns the exported folder."""
    import torch

    from caig.recipes.processes import add_gradients, check_shareable, join_processes
    from caig.recipes.reward.report import export, read_truth
    from caig.recipes.reward.samples import draw_batch, read_samples, tell
    from caig.recipes.reward.steps import Eyes, freeze, losses, trainable
    from caig.recipes.sharding import Shards, clip_gradients, save_whole, shards_of
    from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint

    config = with_preset(config, PRESETS)
    torch.set_num_threads(config.threads)
    accelerator = join_processes(config.device, shards=True)
    network, processor, side = build(config)
    samples = read_samples(config, side)
    truth = read_truth(config.truth, samples)
    if accelerator.is_main_process:
        tell(samples)
    freeze(network, config)
    keep_to(config, accelerator)
    log, path = Log(config.out / "log.jsonl", silent=not accelerator.is_main_process), config.out / "checkpoint.pt"
    start, seconds, started = 0, 0.0, time.monotonic()
    if state := load_checkpoint(path):
        network.load_state_dict(state["network"])
        start, seconds = state["step"], state["seconds"]
    shards = Shards(network.backbone, accelerator)
    groups = trainable(network.to(accelerator.device), config)
    learning = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    if state:
        optimizer.load_state_dict(shards_of(state["optimizer"], learning))
    eyes = Eyes(network, processor, config, accelerator)
    if config.tune == "full":
        check_shareable(network, accelerator)

    for step in range(start, config.steps):
        network.train()
        batch = draw_batch(samples.train, config, seed_for(config.seed, "step", step))
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * cosine_with_warmup(step, config.steps, config.warmup_of(config.steps))
        pairs, points = losses(network, eyes, batch, config)
        # The gradients of all processes are summed, so that one has the prior.
        prior = network.surprise() / samples.clicks if accelerator.is_main_process else 0.0
        optimizer.zero_grad(set_to_none=True)
        (config.pair_weight * pairs + config.point_weight * points + config.prior_weight * prior).backward()
        add_gradients(learning, accelerator)
        clip_gradients(learning)
        optimizer.step()
        if (step + 1) % 20 == 0:
            log.write(step=step + 1, pair_loss=pairs.item(), point_loss=points.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            log.write(step=step + 1, validation_loss=validation_loss(network, eyes, samples.validation, config))
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_whole(path, {**state, "seconds": seconds + time.monotonic() - started}, accelerator)
    shards.join()
    if accelerator.is_main_process:
        export(config, network, processor, samples, truth, seconds=seconds + time.monotonic() - started)
    accelerator.wait_for_everyone()
    return config.out / "model"


def keep_to(config: Config, accelerator: Any) -> None:
    """Hold `config.out` to these settings before anything in it is gone on from; InputError where it has others."""
    from caig.recipes.store import settle

    told = {name: str(value) if isinstance(value, tuple) else value for name, value in vars(config).items()}
    kept = {name: value for name, value in told.items() if name not in FREE}  # tuples as text: JSON knows no infinity
    settle(config.out / "settings.json", kept, write=accelerator.is_main_process)


def build(config: Config) -> tuple[Any, Any, int]:
    """The network before its first click, its processor, and the side of the square that its vision tower sees.

    Weights and tokenizer depend on the config and its data alone. Raises CheckpointError for an unknown backbone,
    InputError for too few shops or a folder that holds a leg under other settings.
    """
    import torch

    from caig.models.hub import resolve
    from caig.models.mllm import build_backbone, load_mllm
    from caig.models.reward_model import RewardNetwork, keep_tastes, width_of
    from caig.recipes.processes import join_processes
    from caig.recipes.reward.samples import SIZE, tokenizer_texts
    from caig.recipes.reward.shops import logs_of, train_on_shops
    from caig.recipes.reward.tower import read_views, train_tower
    from caig.recipes.sharding import read_to

    accelerator = join_processes(config.device, shards=True)
    learns_whole = config.backbone == "fresh" or config.shops
    device = str(accelerator.device) if learns_whole else read_to(accelerator)[0]
    if config.heads == "kept":
        return _going_on(config, device)
    logs = logs_of(config.shops) if config.shops else []
    if config.backbone == "fresh":
        backbone, processor = build_backbone(tokenizer_texts(config), seed=seed_for(config.seed, "weights"), size=SIZE)
    else:
        backbone, processor = load_mllm(resolve(config.backbone, "reward"), device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(config.seed, "heads"))
        network = RewardNetwork(backbone, width_of(backbone), form=config.form, members=config.members)
        if config.backbone != "fresh" and config.form == "siamese":
            keep_tastes(network, resolve(config.backbone, "reward"))
    network, side = network.float().to(device), side_of(backbone)
    if config.backbone == "fresh":
        train_tower(config, network, processor, side)
    if logs:
        train_on_shops(config, logs, network, processor, side)
    read_views.cache_clear()
    return network, processor, side


def _going_on(config: Config, device: str) -> tuple[Any, Any, int]:
    """`build` from a reward checkpoint: heads, and how utility becomes log CTR, are those of `config.backbone`."""
    import torch

    from caig.models.reward_model import RewardModel

    model = RewardModel.from_pretrained(config.backbone, device=device, dtype="float32")
    network, calibration = model.network, model.calibration
    found, wanted = (calibration.form, network.members), (config.form, config.members)
    if found[0] != wanted[0] or (found[0] == "siamese" and found[1] != wanted[1]):
        hint = "Give its form and members, or new heads."
        expected = f"kept heads of form {found[0]}, members {found[1]}"
        raise InputError("heads", expected=expected, got=f"form {wanted[0]}, members {wanted[1]}", next_step=hint)
    with torch.no_grad():
        network.log_slope.fill_(math.log(calibration.slope / calibration.temperature))
    return network.float(), model.processor, calibration.image_side


def side_of(backbone: Any) -> int:
    """Side in pixels of the square that a vision tower sees; 448 where it takes pictures of any size."""
    return getattr(backbone.config.vision_config, "image_size", None) or 448


def validation_loss(network: RewardNetwork, eyes: Any, products: list[ProductClicks], config: Config) -> float:
    """Mean L_CE over the same batches of validation products every time; 0 when no product has a pair."""
    import torch

    from caig.recipes.reward.samples import draw_batch
    from caig.recipes.reward.steps import losses
    from caig.recipes.training import mean_loss

    if not any(product.comparable for product in products):
        return 0.0
    network.eval()
    with torch.inference_mode():
        batches = (draw_batch(products, config, seed_for("validation", k)) for k in range(VALIDATION_BATCHES))
        return mean_loss(losses(network, eyes, batch, config)[0] for batch in batches)
