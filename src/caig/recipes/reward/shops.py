"""Second leg of a reward model: it learns what shoppers look at, from the clicks of other shops.

One shop's clicks are few beside what a network could make of them. Many shops differ in what their shoppers like, far
less in what of a picture they see at all. So the whole backbone learns from the logs of all of them at once, each shop
with a `Utility` of its own over shared tastes (multi-task learning, Caruana 1997). A new shop then starts with what
they usually like, knows how much they differ, and needs fewer clicks. Not in the paper, which has one shop. Tastes
differ by category, and clicks are a slow way to learn to read: so the last token also learns to name the category. And
it goes on to describe scenes beside, as in the first leg, so that what it measured there stays measured. A reward model
that has been taught before goes on from there at a smaller rate, for new shops and pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from caig.artifacts import write_json_lines
from caig.data.clicks import Rejection
from caig.data.comparisons import split
from caig.data.scanning import table_files
from caig.errors import CatalogError, InputError
from caig.models.mllm import encode
from caig.models.reward_model import RewardNetwork, category_key, width_of
from caig.models.utility import Utility
from caig.preference.losses import click_share_error
from caig.recipes.processes import copy_first, join_processes
from caig.recipes.reward import keep_to
from caig.recipes.reward.samples import read_part, read_titles
from caig.recipes.reward.showing import perhaps_mirrored, withheld, words
from caig.recipes.reward.tower import Seen, describing, description_losses, read_views, see_views, weighed
from caig.recipes.store import settle
from caig.recipes.training import Log, cosine_with_warmup, drawn_ahead, load_checkpoint, mean_loss, save_checkpoint
from caig.seeding import seed_for
from caig.types import Pixels, Product

if TYPE_CHECKING:
    from caig.recipes.reward import Config

PICTURES = 8  # of a product and step
LR, VALIDATION_BATCHES = 1e-3, 8
KNOWN_LR, NEW_LR = 3e-4, 3e-3  # going on: of what was taught before, and of what new shops like
NAMING_WEIGHT = 0.1  # of the cross-entropy of the category
LIKES = ("network.heads.utility.linear", "network.heads.utility.pairwise")  # of each shop


@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """N pictures, sorted by product, and what K shops counted: clicks and impressions f32[N, K]."""

    products: list[Product]  # of each picture
    pictures: list[Pixels]
    clicks: Tensor
    impressions: Tensor
    category: Tensor  # i64[N], in the order of the categories' names
    rows: list[list[int]]  # of each product with two pictures or more


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """B pictures drawn from a shelf for one step."""

    inputs: Any  # encoded with their texts
    picked: Tensor  # i64[B], rows of the shelf
    owner: Tensor  # i64[B], which of the drawn products


class Lesson(nn.Module):
    """What learns in this leg: the network, what names the category from its hidden state, and what describes scenes,
    if anything does."""

    def __init__(self, config: Config, network: RewardNetwork, logs: int) -> None:
        super().__init__()
        width, device = width_of(network.backbone), network.backbone.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(config.seed, "shops"))
            known = network.heads["utility"]
            network.heads["utility"] = known.of_shops(logs) if network.knows_tastes else Utility(width, logs).to(device)
            self.naming = nn.Linear(width, len(categories_of(read_titles(config.data, config.catalog)))).to(device)
        self.network, self.config = network, config
        beside = config.backbone == "fresh" and config.tower_steps and config.describing_weight
        self.describer = describing(config, network) if beside else None

    def learning(self) -> list[dict[str, Any]]:
        """The optimizer's groups: all but `log_slope`, since utilities keep their scale."""
        known, new = list[nn.Parameter](), list[nn.Parameter]()
        for name, weight in self.named_parameters():
            if name != "network.log_slope":
                (new if name.startswith(("naming", *LIKES)) else known).append(weight)
        rates = (KNOWN_LR, NEW_LR) if self.network.knows_tastes else (LR, LR)
        return [{"params": own, "initial_lr": rate} for own, rate in zip((known, new), rates, strict=True)]

    def losses(self, shelf: Shelf, shown: Shown, seen: Seen | None) -> tuple[Tensor, Tensor, Tensor]:
        """(what is to fall, L_Point, cross-entropy of the category), scalars."""
        loss, named = shop_losses(self.network, self.naming, shelf, shown)
        whole = self.config.point_weight * loss + NAMING_WEIGHT * named
        if self.describer is not None and seen is not None:
            described = description_losses(self.describer, self.network, seen)
            whole = whole + self.config.describing_weight * weighed(described)
        return whole, loss, named


def logs_of(shops: Path) -> list[Path]:
    """A log a shop, in order of their names: the tables in `shops`, and each folder in it that holds some, dated ones
    too. InputError below two: one says nothing of how shops differ, and a new shop's heads could not move."""
    logs = sorted({shops / file.relative_to(shops).parts[0] for file in table_files(shops)})
    if len(logs) < 2:
        hint = "Name a folder with a file or folder of each, or leave out --shops."
        raise InputError(str(shops), expected="click logs of two shops or more", got=str(len(logs)), next_step=hint)
    return logs


def train_on_shops(config: Config, logs: Sequence[Path], network: RewardNetwork, processor: Any, side: int) -> None:
    """Train backbone and tastes for `config.shop_steps` on other shops' `logs`; goes on where it was cut.

    Of several processes each trains the whole, as with the tower. CatalogError when the logs cannot be used.
    """
    accelerator, path = join_processes(config.device, shards=True), config.out / "shops.pt"
    log = Log(config.out / "shops.jsonl", silent=not accelerator.is_main_process)
    keep_to(config, accelerator)
    own = {"shops": [one.name for one in logs]}  # each has weights of its own
    settle(config.out / "shops.json", own, write=accelerator.is_main_process)
    lesson = Lesson(config, network, len(logs))
    optimizer = torch.optim.AdamW(lesson.learning(), weight_decay=config.weight_decay)
    learning = [weight for group in optimizer.param_groups for weight in group["params"]]
    start = 0
    if state := load_checkpoint(path):
        lesson.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    left, parts = range(start, config.shop_steps), read_shelves(config, logs, side) if start < config.shop_steps else {}
    views = read_views(config, side) if left and lesson.describer is not None else None

    def draw(step: int) -> tuple[Shown, Seen | None]:
        shown = draw_shown(processor, parts["train"], config, seed_for(config.seed, "shop", step))
        if views is None:
            return shown, None
        return shown, see_views(processor, views, config.tower_batch, seed_for(config.seed, "view beside", step))

    for step, (shown, seen) in zip(left, drawn_ahead(draw, left, config.workers), strict=True):
        lesson.train()
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * cosine_with_warmup(
                step, config.shop_steps, config.warmup_of(config.shop_steps)
            )
        whole, loss, named = lesson.losses(parts["train"], shown, seen)
        optimizer.zero_grad(set_to_none=True)
        whole.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.shop_steps:
            held_out = validation_loss(network, lesson.naming, processor, parts["validation"], config)
            log.write(step=step + 1, loss=loss.item(), naming_loss=named.item(), validation_loss=held_out)
            state = {"weights": lesson.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            if accelerator.is_main_process:
                save_checkpoint(path, state)
    copy_first(network, accelerator)
    network.heads["utility"] = network.heads["utility"].taught(config.members)  # type: ignore[operator]
    network.knows_tastes = True


def draw_shown(processor: Any, shelf: Shelf, config: Config, seed: int) -> Shown:
    """PICTURES of each of `config.shop_products`, mirrored at random, and their products in other words each time."""
    rng = Random(seed)
    drawn = [rng.sample(rows, min(PICTURES, len(rows))) for rows in rng.choices(shelf.rows, k=config.shop_products)]
    texts = [text for rows in drawn for text in [words(shelf.products[rows[0]], config, rng)] * len(rows)]
    pictures = [perhaps_mirrored(shelf.pictures[row], rng) for rows in drawn for row in rows]
    return Shown(
        inputs=encode(processor, texts, pictures),
        picked=torch.tensor([row for rows in drawn for row in rows]),
        owner=torch.tensor([k for k, rows in enumerate(drawn) for _ in rows]),
    )


def shop_losses(network: RewardNetwork, naming: nn.Module, shelf: Shelf, shown: Shown) -> tuple[Tensor, Tensor]:
    """(mean over shops of L_Point, `click_share_error`; cross-entropy of the category by `naming`), scalars."""
    device = network.backbone.device
    hidden = network.hidden(shown.inputs.to(device))
    (utility,) = network.told(hidden)
    relative, owner = utility * network.log_slope.exp(), shown.owner.to(device)
    clicks, impressions, category = (
        of_all[shown.picked].to(device) for of_all in (shelf.clicks, shelf.impressions, shelf.category)
    )
    each = zip(relative.unbind(1), clicks.unbind(1), impressions.unbind(1), strict=True)
    loss = torch.stack([click_share_error(r, c, n, owner) for r, c, n in each]).mean()
    return loss, F.cross_entropy(naming(hidden), category)


@torch.inference_mode()
def validation_loss(network: RewardNetwork, naming: nn.Module, processor: Any, shelf: Shelf, config: Config) -> float:
    """L_Point on the same batches of products that no leg trains on; 0 when there are none."""
    if not shelf.rows:
        return 0.0
    network.eval()
    seeds = [seed_for("shop validation", k) for k in range(VALIDATION_BATCHES)]
    drawn = (draw_shown(processor, shelf, config, seed) for seed in seeds)
    return mean_loss(shop_losses(network, naming, shelf, shown)[0] for shown in drawn)


def categories_of(titles: Mapping[str, Product]) -> list[str]:
    """The catalogue's categories, in lower case and sorted."""
    return sorted({category_key(product.category) for product in titles.values()})


def read_shelves(config: Config, logs: Sequence[Path], side: int) -> dict[str, Shelf]:
    """The pictures of training and of validation products with all logs' counts; a picture shown nowhere counts 0. What
    cannot be used is listed in `out`/shops-rejected.jsonl.

    Raises:
        CatalogError: a log is broken, or no training product has two pictures that can be read.
    """
    titles, pictures, found = read_titles(config.data, config.catalog), dict[str, Pixels](), []
    rejected: list[Rejection] = []
    for path in logs:
        log = read_part(path, config.data, titles, side, pictures)
        # With the picture's name, since shops may give one id to unlike pictures.
        found.append({(c.product_id, c.creative_id, c.image): c.counts for c in log.creatives})
        rejected += log.rejected
    write_json_lines(config.out / "shops-rejected.jsonl", rejected)
    keys = sorted({key for shop in found for key in shop})
    counts = np.zeros((2, len(keys), len(logs)), np.float32)
    for k, shop in enumerate(found):
        own = [(row, shop[key]) for row, key in enumerate(keys) if key in shop]
        rows = [row for row, _ in own]
        counts[:, rows, k] = np.array([(one.clicks, one.impressions) for _, one in own]).T
    kinds = {name: k for k, name in enumerate(categories_of(titles))}
    category = np.array([kinds[category_key(titles[product].category)] for product, *_ in keys])
    seen = [withheld(titles[product], [pictures[image]], config) for product, _, image in keys]
    shelves = {part: _shelf(keys, counts, category, seen, part) for part in ("train", "validation")}
    if not shelves["train"].rows:
        hint = "Name logs whose pictures lie in --data."
        expected, got = "a training product with two pictures that can be read", f"{len(pictures)} pictures in all"
        raise CatalogError(str(config.shops), expected=expected, got=got, next_step=hint)
    return shelves


def _shelf(
    keys: Sequence[tuple[str, str, str]],
    counts: Any,
    category: Any,
    seen: Sequence[tuple[Product, tuple[Pixels, ...]]],
    part: str,
) -> Shelf:
    kept = [row for row, (product, *_) in enumerate(keys) if split(product) == part]
    groups: dict[str, list[int]] = {}
    for row, own in enumerate(kept):
        groups.setdefault(keys[own][0], []).append(row)
    return Shelf(
        products=[seen[row][0] for row in kept],
        pictures=[picture for row in kept for picture in seen[row][1]],
        clicks=torch.from_numpy(counts[0, kept]),
        impressions=torch.from_numpy(counts[1, kept]),
        category=torch.from_numpy(category[kept]),
        rows=[rows for rows in groups.values() if len(rows) > 1],
    )
