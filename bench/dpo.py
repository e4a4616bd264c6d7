"""A DPO training step against TRL's DPOTrainer: same tiny model, same pairs, dropout off, LoRA, reference included.

    python bench/dpo.py [--products 64] [--candidates 4]

Every product has N candidates and all N (N - 1) / 2 pairs train. TRL gets the pairs as text (it refuses to precompute
reference log-probabilities for pictures), reference precomputed; caig gets the candidates. Both times include all of
it: encoding, reference, one epoch of AdamW. Prints pairs per second and the peak of memory of each, one process each.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from random import Random

BATCH = 4  # products a step; TRL gets as many pairs a step as they make


def build(products: int, candidates: int):
    """(model, processor, prompts, candidates' texts): the model of the embedded size, random weights."""
    from caig.data.captions import sample_description
    from caig.data.everyday import training_categories, write_title
    from caig.models.mllm import BackboneSize, build_backbone

    rng = Random(0)
    rows = [rng.choice(training_categories()) for _ in range(products)]
    prompts = [f"Write a background for an ad of {write_title(row, rng.choice(row.training), rng)}." for row in rows]
    texts = [[sample_description(rng.choice(row.settings), rng) for _ in range(candidates)] for row in rows]
    size = BackboneSize(image=128, vision_width=128, vision_layers=3, width=192, layers=3)
    corpus = prompts + [text for own in texts for text in own]
    return *build_backbone(corpus, seed=0, size=size), prompts, texts


def ours(products: int, candidates: int) -> float:
    """Seconds of CPU for one epoch."""
    import torch

    from caig.models.adapters import adapter_weights, add_adapter, reference
    from caig.models.mllm import answer_log_probs, encode_training
    from caig.preference.policy import objective
    from caig.recipes.pcpo_update import Group, pairs_of

    model, processor, prompts, texts = build(products, candidates)
    started = time.process_time()
    add_adapter(model, rank=16, alpha=32, dropout=0.0, base="", seed=0)
    optimizer = torch.optim.AdamW(adapter_weights(model).values(), lr=1e-4)
    ranks = torch.arange(candidates, 0, -1.0).repeat(BATCH, 1)  # the first candidate is the best
    for start in range(0, products, BATCH):
        own = texts[start : start + BATCH]
        batch = encode_training(processor, prompts[start : start + BATCH], [None] * len(own), own)

        def both() -> torch.Tensor:
            tokens = answer_log_probs(model, batch.inputs, batch.answers, batch.mask, batch.repeats)  # noqa: B023
            return tokens.sum(1).view(-1, candidates)

        with torch.no_grad(), reference(model):
            before = both()
        lengths = batch.mask.sum(1).view(-1, candidates)
        group = Group(views=[batch], references=[before], lengths=lengths, utilities=ranks[: len(own)], texts=own)
        now = both()
        pairs, _ = pairs_of(group, now, now, 0)
        optimizer.zero_grad()
        objective(pairs, beta=0.1, product_weight=0.0).backward()
        optimizer.step()
    return time.process_time() - started


def theirs(products: int, candidates: int) -> float:
    """Seconds of CPU for one epoch of TRL's trainer, its precomputed reference included."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import LlamaForCausalLM
    from trl import DPOConfig, DPOTrainer

    from caig.models.mllm import chat_prompt

    llava, processor, prompts, texts = build(products, candidates)
    model = LlamaForCausalLM(llava.config.text_config)
    model.model.load_state_dict(llava.model.language_model.state_dict())
    model.tie_weights()
    rows = [
        {"prompt": chat_prompt(processor, prompt, images=0), "chosen": own[i], "rejected": own[j]}
        for prompt, own in zip(prompts, texts, strict=True)
        for i, j in combinations(range(candidates), 2)
    ]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder, beta=0.1, per_device_train_batch_size=BATCH * candidates * (candidates - 1) // 2,
            num_train_epochs=1, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
            disable_dropout=True, precompute_ref_log_probs=True, learning_rate=1e-4, save_strategy="no",
            logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        DPOTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=processor.tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=names),
        ).train()  # fmt: skip
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--products", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--only", choices=("caig", "trl"))
    chosen = parser.parse_args()
    if chosen.only:
        import torch

        torch.set_num_threads(1)
        seconds = (ours if chosen.only == "caig" else theirs)(chosen.products, chosen.candidates)
        print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    pairs = chosen.products * chosen.candidates * (chosen.candidates - 1) // 2
    for name in ("caig", "trl"):
        call = [sys.executable, str(Path(__file__)), "--only", name]
        sizes = ["--products", str(chosen.products), "--candidates", str(chosen.candidates)]
        told = json.loads(
            subprocess.run([*call, *sizes], check=True, capture_output=True, text=True).stdout.splitlines()[-1]
        )
        print(f"{name}: {pairs / told['seconds']:.1f} pairs a second of CPU, peak {told['mb']:.0f} MB")


if __name__ == "__main__":
    main()
