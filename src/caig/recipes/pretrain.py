"""Train the prompt model: from a product's photo and words to descriptions of settings that suit it.

Differs from the paper: CAIG pre-trains a ready LLaVA-1.6 7B on three task families; this recipe trains a small LLaVA
from nothing on the one task that generation needs, with rendered products and everyday nouns. One prompt is read once
and continued by several suitable descriptions, which share its cache: three times the answers in the same time, and
the model sees that one product goes with several settings. The first steps answer with settings alone.
Every random draw comes from (seed, step), so a resumed run equals an uncut one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from caig.seeding import seed_for

if TYPE_CHECKING:
    from caig.recipes.pretrain_samples import Sample, Sources


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train prompt`."""

    data: Path
    """Folder of scene tars and products.tar."""
    out: Path
    """Run folder: checkpoint, log and, in `model`, the exported checkpoint."""
    steps: int = 4000
    setting_steps: int = 1200
    """First steps, whose answers only name a setting: what goes with what is learned there at half the price."""
    batch: int = 8
    """Prompts a step."""
    answers: int = 4
    """Descriptions per prompt, of different suitable settings."""
    lr: float = 2.5e-3
    warmup: int = 60
    """Steps of linear warm-up; a cosine down to 0 follows."""
    weight_decay: float = 0.05
    photo_steps: float = 0.3
    """Share of the steps that show photos."""
    image: int = 128
    """Side of the photo that the model sees, in pixels; a multiple of 16."""
    vision_width: int = 128
    vision_layers: int = 3
    width: int = 192
    layers: int = 3
    initializer: float = 0.05
    """Standard deviation of the language model's first weights; Llama's 0.02 starts slowly at this width."""
    vocabulary: int = 2000
    """Tokens of the byte-level BPE."""
    seed: int = 0
    threads: int = 1
    checkpoint_every: int = 100
    """Steps between checkpoints, each with a validation loss in the log."""
    validation_prompts: int = 32
    evaluate: int = 100
    """Products and nouns per condition in the final report; 0 leaves it out."""


def run(config: Config) -> Path:
    """Train from the last checkpoint to `config.steps`, export and evaluate; returns the exported folder."""
    import torch

    from caig.models.mllm import save_mllm
    from caig.recipes.pretrain_report import write_report
    from caig.recipes.pretrain_samples import Sources, read_captions, read_photos
    from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint, save_checkpoint

    torch.set_num_threads(config.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    captions = read_captions(config.data)
    sources = Sources(photos=read_photos(config.data, "train", config.image), captions=captions)
    held_out = Sources(photos=read_photos(config.data, "validation", config.image), captions=captions)
    model, processor = build(config, captions)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    log, path = Log(config.out / "log.jsonl"), config.out / "checkpoint.pt"
    start = 0
    if state := load_checkpoint(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]

    for step in range(start, config.steps):
        rng = Random(seed_for(config.seed, "step", step))
        samples = draw_step(config, sources, step, rng)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_with_warmup(step, config.steps, config.warmup)
        loss = answer_loss(model, processor, samples)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 20 == 0:
            log.write(step=step + 1, loss=loss.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            log.write(step=step + 1, validation_loss=validation_loss(model, processor, held_out, config))
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_checkpoint(path, state)

    save_mllm(model, processor, config.out / "model")
    write_report(config, config.out / "model", log)
    return config.out / "model"


def draw_step(config: Config, sources: Sources, step: int, rng: Random) -> list[Sample]:
    """The samples of one step: settings alone at first, whole descriptions later."""
    from caig.recipes.pretrain_samples import draw_samples, only_settings

    photos = rng.random() < config.photo_steps
    samples = draw_samples(sources, config.batch, config.answers, photos=photos, rng=rng)
    return [only_settings(sample) for sample in samples] if step < config.setting_steps else samples


def build(config: Config, captions: Any) -> tuple[Any, Any]:
    """A fresh model and processor; weights and tokenizer depend on the config and the captions alone."""
    from caig.models.mllm import BackboneSize, build_backbone
    from caig.recipes.pretrain_samples import tokenizer_texts

    fields = ("image", "vision_width", "vision_layers", "width", "layers", "initializer", "vocabulary")
    size = BackboneSize(**{name: value for name, value in asdict(config).items() if name in fields})
    texts = tokenizer_texts(captions, seed_for(config.seed, "tokenizer"))
    return build_backbone(texts, seed=seed_for(config.seed, "weights"), size=size)


def answer_loss(model: Any, processor: Any, samples: Any) -> Any:
    """Mean cross-entropy over the tokens of the samples' answers, in nats; prompts carry no loss."""
    from torch.nn import functional as F

    from caig.models.mllm import answer_logits
    from caig.recipes.pretrain_samples import IGNORED, collate, labels

    inputs, tokens, mask = collate(processor, samples, model.device)
    logits = answer_logits(model, inputs, tokens, mask, len(samples[0].answers))
    return F.cross_entropy(logits.flatten(0, 1), labels(tokens, mask).flatten(), ignore_index=IGNORED)


def validation_loss(model: Any, processor: Any, held_out: Sources, config: Config) -> float:
    """Loss in nats a token on validation products: the same prompts every time, half with photos, half without."""
    import torch

    from caig.recipes.pretrain_samples import draw_samples
    from caig.recipes.training import mean_loss

    rng = Random(seed_for(config.seed, "validation"))
    count = max(1, config.validation_prompts // 2)
    halves = [draw_samples(held_out, count, config.answers, photos=photos, rng=rng) for photos in (True, False)]
    with torch.no_grad():
        return mean_loss(answer_loss(model, processor, samples) for samples in halves)
