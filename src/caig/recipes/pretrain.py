"""Train the prompt model: from a product's photo and words to descriptions of settings that suit it.

The three task families of the paper's e-commerce pre-training, from rendered products and scenes and from everyday
nouns (`data/instructions.py`, `pretrain_samples.py`). It differs from the paper: CAIG starts from a ready LLaVA-1.6 7B;
the embedded model starts from nothing (`start_from` takes any checkpoint instead). So it first learns what is on
pictures (`pretrain_pictures.py`), then names settings only, then writes whole descriptions. One prompt is read once and
continued by several suitable descriptions, which share its cache: three times the answers in the same time, and the
model sees that one product goes with several settings.
Every random draw comes from (seed, step), so a resumed run equals an uncut one, and several processes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from caig.errors import InputError
from caig.seeding import seed_for

if TYPE_CHECKING:
    from caig.recipes.pretrain_samples import Sample, Sources


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig train prompt`."""

    out: Path
    """Run folder: checkpoint, log and, in `model`, the exported checkpoint."""
    data: Path | None = None
    """Folder of scene tars and products.tar."""
    catalog: Path | None = None
    """Catalogue with images and titles, better with categories; a row with a `caption` is a scene and its background's
    words, and with a `mask` a product alone, too."""
    start_from: str = ""
    """Name of the image-text checkpoint to go on from; empty: a small one from nothing, of the sizes below."""
    lora_rank: int = 0
    """Train a low-rank adapter of this rank on the language model; 0: train every weight."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    steps: int = 3000
    picture_steps: int = 400
    """First steps, in which pictures learn to lie near their words; 0 for a checkpoint that knows pictures."""
    setting_steps: int = 1400
    """The steps after them, whose answers only name a setting: what goes with what is learned at half the price."""
    batch: int = 16
    """Prompts a step, shared among the processes of `accelerate launch`."""
    answers: int = 3
    """Descriptions per prompt, of different suitable settings."""
    lr: float = 2e-3
    warmup: int = 60
    """Steps of linear warm-up; a cosine down to 0 follows."""
    weight_decay: float = 0.05
    photo_steps: float = 0.3
    """Share of the prompt generation steps that show photos."""
    understanding: float = 0.1
    """Weight of the first task family: product or background described from the picture alone."""
    comprehension: float = 0.1
    """Weight of the second: title or background from picture and words."""
    generation: float = 0.8
    """Weight of the third: descriptions of suitable backgrounds, and poor ones rewritten."""
    image: int = 128
    """Side of the photo that the model sees, in pixels; a multiple of 16."""
    vision_width: int = 128
    vision_layers: int = 3
    width: int = 192
    layers: int = 3
    initializer: float = 0.05
    """Standard deviation of the language model's first weights; Llama's 0.02 starts slowly at this width."""
    vocabulary: int = 3000
    """Tokens of the byte-level BPE."""
    seed: int = 0
    device: str | None = None
    """cpu, cuda, cuda:1 …; None: a GPU when there is one."""
    threads: int = 1
    checkpoint_every: int = 100
    """Steps between checkpoints, each with a validation loss per task in the log."""
    validation_prompts: int = 32
    """Per task."""
    evaluate: int = 100
    """Products and nouns per condition in the final report; 0 leaves it out."""

    def __post_init__(self) -> None:
        if self.lora_rank and self.picture_steps:
            hint = "An adapter leaves the vision tower as it is: train it from a checkpoint that knows pictures."
            got = f"{self.picture_steps} with lora_rank {self.lora_rank}"
            raise InputError("picture_steps", expected="0 for an adapter", got=got, next_step=hint)

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each task family."""
        return {name: getattr(self, name) for name in ("understanding", "comprehension", "generation")}


def run(config: Config) -> Path:
    """Train from the last checkpoint to `config.steps`, export and evaluate; returns the exported folder."""
    import torch

    from caig.recipes.pretrain_pictures import names_of
    from caig.recipes.pretrain_report import write_report
    from caig.recipes.pretrain_samples import read_sources
    from caig.recipes.processes import add_gradients, join_processes
    from caig.recipes.sharding import Shards, clip_gradients, read_to, save_whole, shards_of
    from caig.recipes.training import Log, cosine_with_warmup, load_checkpoint

    torch.set_num_threads(config.threads)
    accelerator = join_processes(config.device, shards=True)
    sources = read_sources(config.data, "train", config.image, config.catalog)
    held_out = read_sources(config.data, "validation", config.image, config.catalog)
    names = names_of(sources)
    _check(config, sources, held_out, names)
    model, processor = build(config, sources.captions, *read_to(accelerator))
    log, path = Log(config.out / "log.jsonl", silent=not accelerator.is_main_process), config.out / "checkpoint.pt"
    state, start = load_checkpoint(path), 0
    if state:
        model.load_state_dict(state["model"])
    shards = Shards(model.train(), accelerator)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    if state:
        optimizer.load_state_dict(shards_of(state["optimizer"], trained))
        start = state["step"]

    for step in range(start, config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_with_warmup(step, config.steps, config.warmup)
        loss = step_loss(config, model, processor, sources, names, step, accelerator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        add_gradients(trained, accelerator)
        clip_gradients(trained)
        optimizer.step()
        if (step + 1) % 20 == 0:
            log.write(step=step + 1, loss=loss.item())
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            log.write(step=step + 1, **validation_losses(model, processor, held_out, config, accelerator))
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            save_whole(path, state, accelerator)

    shards.join()
    if accelerator.is_main_process:
        export(config, model, processor)
        write_report(config, config.out / "model", log)
    accelerator.wait_for_everyone()
    return config.out / "model"


def _check(config: Config, sources: Sources, held_out: Sources, names: Mapping[str, Any]) -> None:
    """InputError when there is too little to learn from, before anything is trained."""
    if not (sources.photos and held_out.photos):
        got = f"{len(sources.photos)} and {len(held_out.photos)}"
        hint = "Products are split by a hash of their ids: give some 20 or more, alone on their photos or with a mask."
        raise InputError("photos", expected="products to train and to validate on", got=got, next_step=hint)
    if config.picture_steps and not names:
        hint = "Set it to 0, or give products of several categories or colors."
        raise InputError("picture_steps", expected="pictures to tell apart", got="all alike", next_step=hint)


def step_loss(
    config: Config, model: Any, processor: Any, sources: Sources, names: Mapping[str, Any], step: int, accelerator: Any
) -> Any:
    """The loss of one step: pictures, then settings, then whole answers of one task."""
    from caig.recipes.pretrain_pictures import draw_photos, picture_loss

    rng = Random(seed_for(config.seed, "step", step))
    if step < config.picture_steps:
        return picture_loss(model, processor, draw_photos(sources, 2 * config.batch, rng), names, accelerator)
    return answer_loss(model, processor, draw_step(config, sources, step, rng), accelerator)


def draw_step(config: Config, sources: Sources, step: int, rng: Random) -> list[Sample]:
    """The samples of one step, of one task: settings alone at first, whole descriptions later."""
    from caig.recipes.pretrain_samples import draw_samples, draw_task, only_settings

    family, task = draw_task(config.weights, rng, scenes=bool(sources.scenes))
    photos = rng.random() < config.photo_steps
    samples = draw_samples(sources, task, family, config.batch, config.answers, photos=photos, rng=rng)
    brief = step < config.picture_steps + config.setting_steps and task not in ("product", "title")
    return [only_settings(sample) for sample in samples] if brief else samples


def build(config: Config, captions: Any, device: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """The model to train and its processor: `start_from`, as `device` and `dtype` say, or a fresh one that depends on
    config and captions alone. InputError for an adapter, whose product with another would be no checkpoint."""
    from caig.models.adapters import adapter_weights, add_adapter, load_adapted
    from caig.models.mllm import BackboneSize, build_backbone
    from caig.recipes.pretrain_samples import tokenizer_texts

    if config.start_from:
        model, processor, _ = load_adapted(config.start_from, "prompt", device, dtype=dtype)
        if adapter_weights(model):
            hint = "Name the checkpoint under it: embedded-pretrained for embedded."
            raise InputError("start_from", expected="a whole checkpoint", got="an adapter", next_step=hint)
    else:
        fields = ("image", "vision_width", "vision_layers", "width", "layers", "initializer", "vocabulary")
        size = BackboneSize(**{name: value for name, value in asdict(config).items() if name in fields})
        texts = tokenizer_texts(captions, seed_for(config.seed, "tokenizer"))
        model, processor = build_backbone(texts, seed=seed_for(config.seed, "weights"), size=size)
    if config.lora_rank:
        seed, rank = seed_for(config.seed, "adapter"), config.lora_rank
        add_adapter(model, rank=rank, alpha=2 * rank, dropout=0.0, base=config.start_from, seed=seed)
    if config.checkpointing:
        model.activation_checkpointing_enable()
    return model, processor


def export(config: Config, model: Any, processor: Any) -> None:
    """Write `out/model`: a whole checkpoint, or the adapter alone."""
    from caig.models.adapters import save_adapter
    from caig.models.mllm import save_mllm

    if config.lora_rank:
        save_adapter(model, config.out / "model")
    else:
        save_mllm(model, processor, config.out / "model")


def answer_loss(model: Any, processor: Any, samples: Any, accelerator: Any = None) -> Any:
    """Mean cross-entropy over the tokens of the samples' answers, in nats; prompts carry no loss."""
    from caig.models.mllm import answer_log_probs
    from caig.recipes.pretrain_samples import collate
    from caig.recipes.processes import own_rows, whole

    count = len(samples)
    batch = collate(processor, samples[own_rows(accelerator, count)], model.device)
    log_probs = answer_log_probs(model, batch.inputs, batch.answers, batch.mask, batch.repeats)
    told, tokens = (whole(accelerator, x.sum(1).view(-1, batch.repeats), count) for x in (log_probs, batch.mask))
    return -told.sum() / tokens.sum()


def validation_losses(
    model: Any, processor: Any, held_out: Sources, config: Config, accelerator: Any = None
) -> dict[str, float]:
    """Loss in nats a token on validation products, by task; the same prompts every time."""
    import torch

    from caig.recipes.pretrain_samples import draw_samples

    losses: dict[str, float] = {}
    for name, (family, task, photos) in askable(held_out).items():
        rng = Random(seed_for(config.seed, "validation", name))
        count = config.validation_prompts
        samples = draw_samples(held_out, task, family, count, config.answers, photos=photos, rng=rng)
        with torch.no_grad():
            losses[name] = answer_loss(model, processor, samples, accelerator).item()
    return losses


def askable(sources: Sources) -> dict[str, tuple[str, str, bool]]:
    """The rows of `VALIDATED` that can be asked of a share: backgrounds need scenes, all else needs products."""
    return {
        name: row for name, row in VALIDATED.items() if (sources.scenes if row[1] == "background" else sources.photos)
    }


VALIDATED = {
    "product": ("understanding", "product", True),
    "background": ("understanding", "background", True),
    "background, told the product": ("comprehension", "background", True),
    "title": ("comprehension", "title", True),
    "prompt generation": ("generation", "prompt generation", True),
    "prompt generation, words only": ("generation", "prompt generation", False),
    "rewrite": ("generation", "rewrite", False),
}
"""Task as it stands in the log -> family, task, with photos."""
