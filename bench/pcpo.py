"""Pairs trained per second and peak memory of preference optimisation: python bench/pcpo.py

`llava-1.6-7b` and `qwen3-vl-4b` are full-size architectures with random weights (with them, --batch 1 --checkpointing);
anything else is a name that caig loads. Both ways train the same rank-128 adapter on the same products, texts and
corrupted products, over as many epochs, and all they need counts: reading, the reference, the steps. caig sees each
picture and asks the reference once a round, and reads a product once for all its candidates; the published way keeps a
second, whole reference model and reads everything anew for every pair.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import published
import torch
from full_size import language_model
from turns import Run, compare, opening, parser

from caig.data.captions import sample_description
from caig.data.catalog import read_catalog
from caig.data.everyday import training_categories
from caig.models.adapters import adapter_weights, add_adapter
from caig.models.hub import place
from caig.pipeline import as_seen
from caig.preference.corruption import corruptions
from caig.recipes.pcpo import Config
from caig.recipes.pcpo_update import Policy, Round, encode_groups, group_loss
from caig.recipes.processes import join_processes
from caig.recipes.sharding import Shards
from caig.recipes.training import Log
from caig.types import Product

CATALOG = Path(__file__).parents[1] / "examples/real_products/products.csv"
RANK, ALPHA, CORRUPTIONS = 128, 256.0, 4


def ours(name: str, args: Namespace, device: str, dtype: str) -> Run:
    """A round's steps as `caig train pcpo` makes them."""
    model, processor = tuned(name, args, device, dtype)
    sizes = {"candidates": args.candidates, "batch": args.batch, "corruptions": CORRUPTIONS, "epochs": args.epochs}
    config = Config(catalog=CATALOG, out=Path(tempfile.mkdtemp()), labels="hard", beta=published.BETA, **sizes)
    log = Log(config.out / "log.jsonl", silent=True)
    accelerator = join_processes(device)
    policy = Policy(config, model, processor, accelerator, log, None, Shards(model, accelerator))
    optimizer, (shelf, drafts) = torch.optim.AdamW(adapter_weights(model).values(), lr=2e-5), goods(args)
    utilities = {product.id: [float(-k) for k in range(args.candidates)] for product in shelf}

    def run(turn: int) -> int:
        round = Round(number=turn, products=shelf, others=shelf, drafts=drafts, utilities=utilities)
        groups = encode_groups(policy, round)
        for epoch in range(args.epochs):
            for group in groups:
                optimizer.zero_grad()
                group_loss(policy, group, epoch, seed=epoch)[0].backward()
                optimizer.step()
        return pairs_in(args)

    return run


def theirs(name: str, args: Namespace, device: str, dtype: str) -> Run:
    """The same pairs, each read by both models; gradients add up to the same steps."""
    model, processor = tuned(name, args, device, dtype)
    second, _ = language_model(name, "prompt", device, dtype)
    optimizer, (shelf, drafts) = torch.optim.AdamW(adapter_weights(model).values(), lr=2e-5), goods(args)
    seen = [as_seen(product) for product in shelf]

    def run(turn: int) -> int:
        model.train()
        for epoch in range(args.epochs):
            for k, product in enumerate(seen):
                wrong = corruptions(product, shelf, CORRUPTIONS, seed=0)[epoch % CORRUPTIONS]
                for chosen, rejected in combinations(drafts[product.id], 2):
                    published.preference_loss(model, second, processor, product, wrong, chosen, rejected).backward()
                if (k + 1) % args.batch == 0 or k + 1 == len(seen):
                    optimizer.step()
                    optimizer.zero_grad()
        return pairs_in(args)

    return run


def tuned(name: str, args: Namespace, device: str, dtype: str) -> tuple[Any, Any]:
    """(model with a fresh adapter, processor)."""
    model, processor = language_model(name, "prompt", device, dtype)
    add_adapter(model, rank=RANK, alpha=ALPHA, dropout=0.05, base=name, seed=0)
    if args.checkpointing:
        model.activation_checkpointing_enable()
    return model, processor


def goods(args: Namespace) -> tuple[Sequence[Product], Mapping[str, list[str]]]:
    """Products with their candidates' texts, all different, best first."""
    rng, shelf = Random(0), read_catalog(CATALOG).products[: args.products]
    settings = sorted({setting for row in training_categories() for setting in row.settings})
    chosen = {product.id: rng.sample(settings, args.candidates) for product in shelf}
    return shelf, {id: [sample_description(setting, rng) for setting in own] for id, own in chosen.items()}


def pairs_in(args: Namespace) -> int:
    """Pairs that a run trains."""
    return args.epochs * args.products * args.candidates * (args.candidates - 1) // 2


def main() -> None:
    options = parser(__doc__, models="embedded-pretrained")
    options.add_argument("--products", type=int, default=8, help="of the real ones in examples/, 20 at most")
    options.add_argument("--candidates", type=int, default=4, help="of which all pairs train; 2 is as published")
    options.add_argument("--epochs", type=int, default=4, help="passes over the pairs")
    options.add_argument("--batch", type=int, default=4, help="products a step")
    options.add_argument("--checkpointing", action="store_true", help="recompute activations: less memory")
    args = options.parse_args()
    device, dtype = place("prompt", args.device, args.dtype)
    print(opening(device, dtype, args.turns))
    for name in args.models.split(","):
        given = (name, args, device, dtype)
        ways = {"caig": partial(ours, *given), "published way": partial(theirs, *given)}
        compare(f"{name} {args.candidates} candidates", "pairs", ways, args.turns)


if __name__ == "__main__":
    main()
