"""Product-centric preference optimisation (CAIG, stage c): describe, paint, judge, update, round after round.

What differs from the paper, with docs/LOG.md for the numbers:

- N candidates in place of 2, of which all pairs train, with soft labels: hard ones ask for ever larger margins;
- candidates that name the product are drawn again: a small model tells right from wrong product information by copying
  the title;
- an anchor keeps chosen texts as likely as they were: differences alone are also met by texts that fall to pieces;
- a candidate trains with what its words are worth to such products by the pictures of all candidates so far (`credit`);
- what settings are worth to all products of a category counts for less where they lose variety (`min_entropy`), and
  those that do not suit a product come off worse (`misfit_margin`);
- one low-rank adapter goes on through all rounds, and the reference is that adapter switched off;
- the candidates of a product are painted from one seed of its own, not every picture from seed 42;
- guards are watched on products that never train: a round to which one objects is taken in part, or stops the run.

Preset `caig-published` sets N, the labels, the losses' weights, the adapter and the learning rate as published.

    out/settings.json            what decides the run
    out/pictures/<id>.webp       every painted picture, named by its pixels
    out/rounds/<r>/*.json        descriptions, pictures, utilities and measurements of a round, each written once
    out/rounds/<r>/update.pt     adapter and optimizer within and after the round's update
    out/rounds/<r>/adapter.pt    the adapter that went on, all or part of the way there
    out/best                     the adapter of the best round that no guard objects to: `--prompt-model out/best`
    out/log.jsonl, tensorboard/  every step and round; out/index.html the run on one page
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caig.errors import InputError
from caig.recipes.presets import with_preset
from caig.types import Product

if TYPE_CHECKING:
    from caig.models.protocols import BackgroundModel, RewardModel
    from caig.recipes.pcpo_steps import Refresh

FREE = ("out", "catalog", "device", "threads", "checkpointing")  # one run may go on under another of these
MOST_ENTROPY = 0.9


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train pcpo`."""

    catalog: Path
    """Catalogue of the products to write for."""
    out: Path
    """Run folder; a run that was cut goes on where it stopped."""
    preset: Literal["", "caig-published"] = ""
    """caig-published: 2 candidates, hard labels, beta 0.5, product weight 1 without anchor, no credit by words, guard
    of entropy, misfit margin or halvings, rank 128, alpha 256, dropout 0.05, learning rate 2e-5, one pass, 3,200
    products, 512 pixels. A setting that is given, and is not the default, stays as given."""
    prompt_model: str = "embedded-pretrained"
    start_from: str = ""
    """Adapter of an earlier run on the same prompt model, to go on with, of the rank, alpha and dropout that it has;
    the reference, from which guards count, stays the prompt model under it."""
    background_model: str = "embedded"
    reward_model: str = "embedded"
    guard_model: str = ""
    """A second reward model, of another seed and split, which never trains anything and tells the best round. Empty:
    none; then the judge that a run was trained by tells it, which may have been learned by heart."""
    rounds: int = 5
    products: int = 144
    """Per round; all there are, where there are fewer."""
    candidates: int = 8
    """Descriptions per product, each painted."""
    side: int = 256
    """Of the square pictures, in pixels."""
    loss: Literal["dpo", "ipo", "kto", "simpo"] = "dpo"
    """The weights below suit dpo, ipo and kto. simpo counts means over tokens: give it a beta of about 2."""
    beta: float = 0.015
    """How dear it is to leave the reference. With soft labels it has a unit: pairs whose log CTRs differ by 0.015 are
    to differ by one nat."""
    product_weight: float = 0.03
    """Lambda, weight of the product-centric term; 0 leaves it out. 1 in the paper, whose hard labels pull ten times
    as hard as soft ones. At 0.1 preferences held less on products that were not seen (docs/LOG.md)."""
    product_beta: float = 0.5
    """Beta of that term, as published: it lets go at a margin of a few nats, since a wider one costs fluency."""
    anchor: float = 0.05
    """Weight of the term that keeps chosen descriptions as likely as they were; without it, texts fall to pieces."""
    negative: Literal["corrupted", "stranger"] = "corrupted"
    """The product-centric negative: masked photo and another's words, or another's clean photo and words."""
    corruptions: int = 2
    """Fixed negatives per product (K)."""
    smoothing: float = 0.0
    """Chance, 0 to 0.5, that a label is wrong."""
    per_token: bool = False
    """Log-probabilities as means over tokens."""
    labels: Literal["soft", "hard"] = "soft"
    """soft: sigmoid(u_chosen - u_rejected) of log CTRs, so that pairs move the policy as far as these differ and no
    further; hard: the better one is chosen for sure, as published. A reward model's log CTRs are what its calibration
    leaves of its utilities: of one that is often wrong they hardly differ."""
    credit: Literal["words", "picture"] = "words"
    """What a candidate trains with: words: what its words are worth by all pictures so far; picture: the log CTR of its
    own picture, as published. In both, less what `min_entropy` and `misfit_margin` take off."""
    misfit_margin: float = 0.03
    """By how much, in log CTR, texts that name no setting that suits the product's category come off worse than those
    that do, on average over a round's pairs, where what suits is known (caig.data.everyday): they pay whatever price
    that takes. More where match rate was lost, twice as much at 0.04, and less where some was gained. 0: no price, as
    published."""
    rank: int = 16
    """Of a fresh adapter, as are alpha and dropout; one that goes on keeps its own."""
    alpha: float = 32.0
    dropout: float = 0.0
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    lr: float = 3e-3
    epochs: int = 2
    """Passes over a round's pairs, each with another negative. Many products seen seldom teach what holds for others;
    few seen often are learned by heart (docs/LOG.md)."""
    batch: int = 4
    """Products a step, shared among the processes of `accelerate launch`."""
    warmup: int = 4
    """Steps of linear warm-up in each round; a cosine down to 0 follows."""
    watch: int = 64
    """Products, kept out of training, on which every round is measured; of too few the entropy of settings, which
    guides a run, is a noisy measure."""
    max_kl: float = 30.0
    """Guard: nats that a description may lie from the reference, on average."""
    min_entropy: float = 0.8
    """Guard: share of the pre-trained model's entropy of settings within a category that must be left. The nearer the
    entropy comes to it, the less counts what a setting is worth to all products of a category: nothing at 0.05 above
    it, and below that the opposite; 0 leaves it free, as published. At most 0.9."""
    min_distinct: float = 0.4
    """Guard: share of its distinct-2 that must be left. Half of it goes where shoppers agree on a few lights, and
    texts may still be as they should (docs/LOG.md)."""
    max_match_drop: float = 0.1
    """Guard: how far the match rate may fall."""
    max_guard_drop: float = 0.1
    """Guard: how far the mean log CTR by the guard model may fall."""
    halvings: int = 2
    """How often a round's step is halved while a guard objects to it, before the run stops; 0, as published."""
    seed: int = 0
    device: str | None = None
    """Of all models: cpu, cuda, cuda:1 …; None: a GPU when there is one."""
    threads: int = 1

    def __post_init__(self) -> None:
        if self.candidates < 2:
            hint = "Ask for 2 or more."
            raise InputError("candidates", expected="at least 2 to compare", got=str(self.candidates), next_step=hint)
        for name in ("rounds", "products", "corruptions", "epochs", "batch", "watch"):
            if (value := getattr(self, name)) < 1:
                raise InputError(name, expected="at least 1", got=str(value), next_step="Give 1 or more.")
        if not 0 <= self.min_entropy <= MOST_ENTROPY:
            hint = "What is asked of a run has to leave it room: 0.8 is the default."
            got = str(self.min_entropy)
            raise InputError("min_entropy", expected=f"0 to {MOST_ENTROPY}", got=got, next_step=hint)


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "caig-published": {
        "candidates": 2, "products": 3200, "labels": "hard", "credit": "picture", "beta": 0.5, "product_weight": 1.0,
        "anchor": 0.0, "min_entropy": 0.0, "misfit_margin": 0.0, "halvings": 0, "rank": 128, "alpha": 256.0,
        "dropout": 0.05, "lr": 2e-5, "epochs": 1, "side": 512,
    },
}  # fmt: skip
"""What the paper and its code set."""


@dataclass(frozen=True, kw_only=True)
class Models:
    """Everything that takes part beside the prompt model, which is trained; a judge sees pictures and words only."""

    background: BackgroundModel
    reward: RewardModel
    guard: RewardModel | None = None
    refresh: Refresh | None = None
    """Given each round's pictures, returns the reward model to go on with: where clicks come from is the caller's. A
    run that goes on asks again for the rounds it has, so the same pictures have to give the same model."""


def run(config: Config) -> Path:
    """Read the catalogue, load the models by name and optimise; returns `out/best`.

    Raises:
        CatalogError: the catalogue cannot be used.
        InputError: it holds fewer than 2 products to train on and 1 to watch or rows that cannot be used, `start_from`
            is no adapter of the prompt model, or `out` holds a run of other settings.
    """
    import torch

    from caig.data.catalog import read_products_of
    from caig.models.hub import load_model
    from caig.recipes.processes import join_processes

    config = with_preset(config, PRESETS)
    torch.set_num_threads(config.threads)
    products = read_products_of(config.catalog)
    device = str(join_processes(config.device, shards=True).device)
    models = Models(
        background=load_model(config.background_model, "background", device=device),
        reward=load_model(config.reward_model, "reward", device=device),
        guard=load_model(config.guard_model, "reward", device=device) if config.guard_model else None,
    )
    return optimise(config, products, models)


def optimise(config: Config, products: Sequence[Product], models: Models) -> Path:
    """The loop. Every step is stored once, so a run that was cut reads what it has and goes on; steps are shared among
    the processes of `accelerate launch`."""
    from caig.pipeline import Clock
    from caig.recipes import pcpo_credit as credit
    from caig.recipes import pcpo_steps as steps
    from caig.recipes.pcpo_report import write_page
    from caig.recipes.pcpo_update import Policy, Round, export, keep, update
    from caig.recipes.store import Store

    shelf = steps.Shelf.of(config, products)
    policy = Policy.start(config)
    settings = {**asdict(config), **dict.fromkeys(FREE, ""), "ids": [product.id for product in products]}
    store = Store(config.out, settings, policy.accelerator)
    studio = steps.Studio(config, models)
    watched, judged, share = [steps.watch(store, 0, policy, studio, shelf.watched)], [], 0.0
    base = steps.watched_base(store, policy, studio, shelf.watched, watched[0])
    for r in range(config.rounds):
        window, clock = shelf.window(r), Clock()
        with clock.measure("seconds_describe"):
            drafts = steps.write(store, f"rounds/{r}/drafts", window, policy, config.candidates, r)
        with clock.measure("seconds_paint"):
            pictures = store.shared(f"rounds/{r}/pictures", studio.paint, window, drafts, r)
        with clock.measure("seconds_judge"):
            utilities = store.shared(f"rounds/{r}/utilities", studio.judge, window, pictures)
        with clock.measure("seconds_update"):
            before = policy.weights
            share = credit.setting_share(config, share, base.metrics, watched[-1].metrics)
            judged.append(credit.Judged(window, drafts, utilities))
            margin = credit.misfit_margin(config, base.metrics, watched[-1].metrics)
            aims = credit.Aims(**store.by_one(f"rounds/{r}/aims", credit.aims, config, judged, share, margin))
            found = Round(number=r, products=window, others=shelf.train, drafts=drafts, utilities=aims.utilities)
            update(policy, found)
        studio.refresh(window, pictures)
        with clock.measure("seconds_watch"):
            seen, part = steps.within_guards(store, r + 1, policy, studio, shelf.watched, base, before)
            watched.append(seen)
        keep(policy, r)
        alarms = steps.alarms(config, base.metrics, watched[-1].metrics)
        chosen = {"setting_share": share, "misfit_price": aims.price, "part": part}
        policy.tell(r + 1, alarm="; ".join(alarms), **chosen, **watched[-1].metrics, **clock.seconds)
        if alarms:
            break
    best = steps.best_round(config, base, watched)
    if policy.accelerator.is_main_process:  # which wrote the log that is shown
        write_page(config, base, watched, best)
    return export(policy, best, watched[best].metrics)
