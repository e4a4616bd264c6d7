"""One step of the reward recipe: what learns, how a batch's sequences are read, and their two losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from caig.errors import InputError
from caig.models.mllm import PictureFeatures, encode, see_alone, with_features
from caig.models.reward_model import RewardNetwork, together
from caig.preference.losses import centred_log_ctr_error, click_share_error, pairwise_cross_entropy
from caig.recipes.processes import is_sharded, own_rows, whole
from caig.recipes.reward.samples import Batch
from caig.seeding import seed_for
from caig.types import Pixels

if TYPE_CHECKING:
    from caig.recipes.reward import Config

LORA_RANK, LORA_ALPHA = 128, 256  # of the paper


def freeze(network: RewardNetwork, config: Config) -> None:
    """Freeze what `config.tune` leaves alone; puts the LoRA in, if it is not there yet, and checkpointing."""
    backbone = network.backbone
    adapted = bool(getattr(backbone, "peft_config", None))
    if adapted and config.tune != "lora":
        hint = "Its adapter alone is kept."
        raise InputError("tune", expected="lora, to go on with an adapter", got=config.tune, next_step=hint)
    if adapted:
        from caig.models.adapters import train_adapter

        train_adapter(backbone)
    elif config.tune == "lora":
        from caig.models.adapters import add_adapter

        if config.backbone == "fresh":
            hint = "Name one with --backbone, or tune the language model whole."
            raise InputError("tune", expected="a checkpoint under the LoRA", got="a fresh one", next_step=hint)
        seed = seed_for(config.seed, "adapter")
        add_adapter(backbone, rank=LORA_RANK, alpha=LORA_ALPHA, dropout=0.0, base=config.backbone, seed=seed)
    if config.tune in ("language", "heads"):
        backbone.requires_grad_(False)
    if config.tune == "heads" and config.form == "siamese" and network.knows_tastes:
        network.heads["utility"].tastes.requires_grad_(False)
    if config.tune == "language":
        backbone.model.language_model.requires_grad_(True)
    if config.checkpointing:
        backbone.activation_checkpointing_enable()


def trainable(network: RewardNetwork, config: Config) -> list[dict[str, Any]]:
    """The optimizer's groups of what learns, backbone and heads."""
    own = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    new = [parameter for parameter in network.heads.parameters() if parameter.requires_grad] + [network.log_slope]
    return [{"params": own, "initial_lr": config.lr}, {"params": new, "initial_lr": config.rate_of_heads}]


class Eyes:
    """Encodes sequences. Unless the vision tower learns, each picture is seen once, alone, and its features kept, so
    that they depend on nothing but the picture; where the heads alone learn, the hidden states that they read."""

    def __init__(self, network: RewardNetwork, processor: Any, config: Config, accelerator: Any = None) -> None:
        self.network, self.processor, self.accelerator = network, processor, accelerator
        self.layout = config.layout
        self.knows = config.tune == "heads" and not is_sharded()  # else each process has to run the layers as often
        self.keeps = config.tune != "full" and not self.knows
        self.seen: dict[tuple[int, ...], PictureFeatures] = {}
        self.known: dict[tuple[object, ...], Tensor] = {}

    def ask(
        self,
        heads: Callable[[Tensor], tuple[Tensor, ...]],
        texts: Sequence[str],
        rows: Sequence[Sequence[Pixels]],
        *,
        dropout: float = 0.0,
        seed: int = 0,
    ) -> list[Tensor]:
        """What `heads` make of the hidden state of each text with its row of one picture or two, each process reading
        its own.

        `dropout` is the share of kept image tokens that are blanked, drawn from `seed`; none where pictures are not
        kept.
        """
        own = own_rows(self.accelerator, len(rows))
        seeds = [seed_for(seed, row) for row in range(len(rows))][own]
        if self.knows:
            hidden = torch.stack([self._hidden(*one) for one in zip(texts[own], rows[own], strict=True)])
        else:
            hidden = self.network.hidden(self._read(texts[own], rows[own], dropout, seeds))
        return [whole(self.accelerator, one, len(rows)) for one in heads(hidden)]

    def _read(
        self, texts: Sequence[str], rows: Sequence[Sequence[Pixels]], dropout: float, seeds: Sequence[int]
    ) -> Any:
        rows = [row if len(row) == 1 else together(*row, self.layout) for row in rows]
        inputs = encode(self.processor, texts, rows, self.network.backbone.device)
        if not self.keeps:
            return inputs
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        seen = [blanked(self._see(one), dropout, draw) for row, draw in zip(rows, draws, strict=True) for one in row]
        return with_features(inputs, seen)

    @torch.no_grad()
    def _hidden(self, text: str, row: Sequence[Pixels]) -> Tensor:
        """f32[d], read once, without dropout."""
        key = text, *map(key_of, row)
        if key not in self.known:
            was = self.network.training
            self.known[key] = self.network.eval().hidden(self._read([text], [row], 0.0, [0]))[0]
            self.network.train(was)
        return self.known[key]

    def _see(self, picture: Pixels) -> PictureFeatures:
        key = key_of(picture)
        if key not in self.seen:
            backbone = self.network.backbone
            was = backbone.training
            self.seen[key] = see_alone(backbone.eval(), self.processor, picture)
            backbone.train(was)
        return self.seen[key]


def key_of(picture: Pixels) -> tuple[int, ...]:
    """Under which a picture is known while a run lasts."""
    return (hash(picture.tobytes()), *picture.shape)


def blanked(features: PictureFeatures, dropout: float, draw: torch.Generator) -> PictureFeatures:
    """Set each token to 0 with chance `dropout`: what is left must do (PatchDropout, Liu et al. 2022)."""
    if not dropout:
        return features
    left = (torch.rand(len(features.tokens), 1, generator=draw) >= dropout).to(features.tokens)
    return replace(features, tokens=features.tokens * left, deep=tuple(layer * left for layer in features.deep))


def losses(network: RewardNetwork, eyes: Eyes, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """(L_CE over the batch's pairs, L_Point), scalars."""
    return (siamese_losses if config.form == "siamese" else joint_losses)(network, eyes, batch, config)


def siamese_losses(network: RewardNetwork, eyes: Eyes, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Each picture once. Every member of the ensemble has losses of its own, products weighted by its `votes`."""
    dropout = config.patch_dropout if network.training else 0.0
    rows = [[picture] for picture in batch.pictures]
    utility, relative = eyes.ask(partial(_utilities, network), batch.texts, rows, dropout=dropout, seed=batch.seed)
    b = batch.to(utility.device)
    pairs, points = [], []
    for own, log_ctr, votes in zip(utility.unbind(1), relative.unbind(1), b.votes.unbind(1), strict=True):
        weight = votes[b.product[b.first]]
        pairs.append(pairwise_cross_entropy(own[b.first], own[b.second], b.label, weight=weight))
        points.append(click_share_error(log_ctr, b.clicks, b.impressions, b.product, weight=votes))
    return torch.stack(pairs).mean(), torch.stack(points).mean()


def _utilities(network: RewardNetwork, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Utilities, and the relative log CTRs that they stand for, f32[B, members] each."""
    (utility,) = network.told(hidden)
    return utility, utility * network.log_slope.exp()


def joint_losses(network: RewardNetwork, eyes: Eyes, batch: Batch, config: Config) -> tuple[Tensor, Tensor]:
    """Each pair in one sequence, in the order given (which is random), or in both with the logit antisymmetrised.

    L_Point is the squared error of the two log CTRs, centred within the sequence. The published code regresses CTRs.
    """
    orders = [(batch.first, batch.second), (batch.second, batch.first)][: 1 + config.both_orders]
    left, right = (torch.cat(side) for side in zip(*orders, strict=True))
    rows = [[batch.pictures[a], batch.pictures[b]] for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    dropout = config.patch_dropout if network.training else 0.0
    texts = [batch.texts[a] for a in left.tolist()]
    logits, regressed = eyes.ask(network.told, texts, rows, dropout=dropout, seed=batch.seed)
    b = batch.to(logits.device)
    margin = (logits[:, 0] - logits[:, 1]).unflatten(0, (len(orders), -1))
    margin = (margin[0] - margin[1]) / 2 if config.both_orders else margin[0]
    pairs = pairwise_cross_entropy(margin, torch.zeros_like(margin), b.label)
    shown = torch.stack([left, right], 1).to(logits.device).flatten()
    sequence = torch.arange(len(left), device=logits.device).repeat_interleave(2)
    return pairs, centred_log_ctr_error(regressed.flatten(), b.log_ctr[shown], sequence, weight=b.weight[shown])
