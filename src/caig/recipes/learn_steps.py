"""The steps of a cycle of `caig learn`: the reward model goes on, passes its gate or not, teaches the prompt model, and
chooses fresh ads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caig.artifacts import write_atomic
from caig.data.catalog import folder_name, read_catalog
from caig.data.clicks import CreativeClicks
from caig.errors import CaigError, CheckpointError, InputError
from caig.evaluation.metrics import agreement, mean
from caig.imaging.writing import encode
from caig.models.hub import fingerprint, load_model, resolve
from caig.models.protocols import BackgroundModel
from caig.online.decisions import ERROR
from caig.pipeline import AdPipeline, read_cutout
from caig.recipes import pcpo, reward
from caig.recipes.learn import Config
from caig.recipes.learn_data import Cycle, Source, Taken
from caig.recipes.pcpo_steps import Shelf
from caig.recipes.reward.report import Judged, judge
from caig.recipes.reward.samples import read_log, read_pictures
from caig.seeding import seed_for
from caig.types import Estimate, Pixels, Product, RankedAd, Size

Record = dict[str, Any]
CHANCE = 0.5  # accuracy of a coin
ROUNDING = 1e-4  # logits by which one picture, scored twice, may differ: an ad does not rank above itself


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A cycle at work: its settings, where clicks and products come from, who paints, and the models that were in use
    when it began (role -> name, of a folder of this run relative to `out`)."""

    config: Config
    cycle: Cycle
    source: Source
    taken: Taken
    catalog: Path
    background: BackgroundModel
    before: Mapping[str, str]

    def load(self, role: Any, name: str) -> Any:
        """The model called `name`."""
        return load_model(self.located(name), role)

    def located(self, name: str) -> str:
        """`name` as a model is loaded by: a folder of this run by its absolute path."""
        own = self.config.out / name
        return str(own.resolve()) if name and own.is_dir() else name

    def own(self, folder: Path) -> str:
        """The name of a folder of this run."""
        return str(folder.relative_to(self.config.out))


def in_use(config: Config, cycle: Cycle) -> dict[str, str]:
    """Names of the models that the last cycle left in use; before the first, those of the settings."""
    manifests = cycle.earlier()
    return manifests[-1]["in_use"] if manifests else {"reward": config.reward_model, "prompt": config.prompt_model}


def train_reward(turn: Turn) -> Record:
    """Go on with a reward model, on every click taken so far; returns the new one's name and what made it.

    CatalogError when no training product has two pictures with clicks in one window.
    """
    config, (name, parent, tune) = turn.config, starting_point(turn)
    calibration = parent.calibration
    from_others = config.heads == "new" and name == config.reward_model and tune != "lora"  # an adapter goes on
    training = reward.Config(
        data=turn.source.pictures,
        clicks=config.out / "clicks",
        catalog=turn.catalog,
        out=turn.cycle.folder / "reward",
        calibrated_on=config.calibrated_on,
        backbone=turn.located(name),
        heads="new" if from_others else "kept",
        windows=True,
        form=calibration.form,
        layout=calibration.layout,
        members=parent.network.members,
        tune=tune,
        steps=config.steps,
        lr=config.lr,
        head_lr=config.head_lr,
        seed=seed_for(config.seed, "reward", turn.cycle.number),
        threads=config.threads,
    )
    folder = reward.run(training)
    logs = [manifest["log"]["hash"] for manifest in turn.cycle.earlier()] + [turn.taken.hash]
    return {"name": turn.own(folder), "fingerprint": fingerprint(folder), "parent": parent.fingerprint, "logs": logs}


def starting_point(turn: Turn) -> tuple[str, Any, Any]:
    """Name and model that training goes on from, and what of it learns: the one in use; or, where the heads alone
    learn, the one of the first cycle, since all clicks are there to learn from and more steps harm (docs/LOG.md).

    CheckpointError when it can't learn.
    """
    name, tune = turn.before["reward"], turn.config.tune
    model = turn.load("reward", name)
    if getattr(model, "calibration", None) is None:
        hint = "Name a folder that caig train reward made, or embedded."
        raise CheckpointError("reward model", expected="a checkpoint that can learn", got=model.name, next_step=hint)
    if getattr(model.network.backbone, "peft_config", None):
        return name, model, "lora"
    if tune == "heads" and name != turn.config.reward_model:
        name = turn.config.reward_model
        model = turn.load("reward", name)
    return name, model, tune


def watch(turn: Turn) -> Record:
    """Hold the ads that the reward model in use chose in earlier cycles against those they joined: `harmed` names the
    guard metrics in which they are credibly worse.

    Models share the error as arms do in `caig.online.decisions`: the k-th to choose gets 0.05 / (k (k + 1)).
    """
    earlier, name = turn.cycle.earlier(), turn.before["reward"]
    order = list(dict.fromkeys(one["chosen_by"] for one in earlier if one["chosen_by"]))
    if name not in order or barred(turn):
        return {"estimates": [], "harmed": []}
    k, chosen = order.index(name) + 1, dict[str, set[str]]()
    for fresh in (fresh for one in earlier if one["chosen_by"] == name for fresh in one["fresh"]):
        chosen.setdefault(fresh["campaign"], set()).update(ad["id"] for ad in fresh["creatives"])
    found = turn.source.guards(turn, chosen, ERROR / (k * (k + 1)))
    return {"estimates": [asdict(one) for one in found], "harmed": [one.name for one in found if one.high < 0]}


def barred(turn: Turn) -> bool:
    """Whether the ads that the reward model in use chose were found to harm in an earlier cycle: it chooses no more."""
    found = (one for one in turn.cycle.earlier() if one["guards"]["harmed"])
    return any(one["before"]["reward"] == turn.before["reward"] for one in found)


def pass_gate(turn: Turn, trained: Record, harmed: Sequence[str]) -> Record:
    """Hold the new reward model against the one in use and against chance, on recent clicks of products that no cycle
    trains on; `proved` says whether the one in use from now on is better than chance. Where the one in use `harmed`,
    none follows it, and none has proved itself.

    Each pair scores the chance that the model orders it rightly, given its clicks. Calibration was fitted on some of
    these products; it changes no order.
    """
    models = {"before": turn.load("reward", turn.before["reward"]), "new": turn.load("reward", trained["name"])}
    side = models["new"].calibration.image_side
    recent = turn.cycle.windows(turn.config.recent)
    held = [one for one in read_log(turn.source.pictures, recent, turn.catalog, side).held_out if one.comparable]
    if not held:
        reason = "no held-out product had two ads in one window"
        return {"passed": False, "proved": False, "estimates": [], "reason": reason}
    scores = {name: [rightly(one) for one in judge(model, held)] for name, model in models.items()}
    owner = [product.product.id for product, row in zip(held, scores["new"], strict=True) for _ in row]
    before, new = (np.concatenate(scores[name]) for name in ("before", "new"))
    gain = mean("gain", new - before, owner)
    was, now = mean("accuracy before", before, owner), mean("accuracy now", new, owner)
    passed, proved = decide(was, now, gain, turn.config.gate, harmed=bool(harmed), barred=barred(turn))
    reason = f"{gain}, {now} (chance {CHANCE}) of held-out pairs of {len(set(owner))} products"
    if harmed:
        reason = f"the ads that the last one chose are credibly worse: {', '.join(harmed)}"
    estimates = [asdict(one) for one in (was, now, gain)]
    return {"passed": passed, "proved": proved, "estimates": estimates, "reason": reason}


def decide(was: Estimate, now: Estimate, gain: Estimate, gate: str, *, harmed: bool, barred: bool) -> tuple[bool, bool]:
    """(whether the new model passes, whether the one in use from then on may choose), see `pass_gate`."""
    passed = not harmed and opened(gain, gate) and opened(now, gate, CHANCE)
    return passed, passed or not (harmed or barred) and opened(was, gate, CHANCE)


def opened(found: Estimate, gate: str, above: float = 0.0) -> bool:
    """Whether held-out accuracy, or the gain in it, lies `above`: by its value, or by its interval's lower end."""
    return (found.low if gate == "credible" else found.value) > above


def rightly(judged: Judged) -> np.ndarray[Any, np.dtype[np.float64]]:
    """f64[P]: of each pair of a product's ads the chance that the model's order is the true one, given the clicks."""
    first, second = np.triu_indices(len(judged.scores), 1)
    label = judged.clicks.better[first, second]
    sides = agreement(judged.utility[first] - judged.utility[second], np.ones(len(label)))
    return sides * label + (1 - sides) * (1 - label)


def tune(turn: Turn, judge_name: str) -> Record:
    """Teach the prompt model what the reward model that has just passed likes: its adapter goes on, round by round."""
    config, name = turn.config, turn.before["prompt"]
    catalog = read_catalog(turn.catalog)
    products = [product for product in catalog.products if can_be_cut_out(product)]
    unusable = len(catalog.rejected) + len(catalog.products) - len(products)
    training = pcpo.Config(
        catalog=turn.catalog,
        out=turn.cycle.folder / "pcpo",
        prompt_model=config.prompt_model,
        start_from=turn.located(name) if name != config.prompt_model else "",
        rounds=config.rounds,
        products=config.products,
        side=config.side,
        seed=seed_for(config.seed, "pcpo", turn.cycle.number),
        threads=config.threads,
    )
    try:
        Shelf.of(training, products)
    except InputError as error:
        return {"name": name, "remark": f"the prompt model was not tuned: {error}", "unusable_rows": unusable}
    judge = turn.load("reward", judge_name)
    folder = pcpo.optimise(training, products, pcpo.Models(background=turn.background, reward=judge))
    made = {"name": turn.own(folder), "fingerprint": fingerprint(folder), "parent": fingerprint_of(turn, name)}
    return made | {"judge": judge.fingerprint, "unusable_rows": unusable}


def can_be_cut_out(product: Product) -> bool:
    """Whether the product's photo can be read and cut out: one that can't would end the whole run."""
    try:
        read_cutout(product)
    except CaigError:
        return False
    return True


def fingerprint_of(turn: Turn, name: str) -> str | None:
    """Fingerprint of a prompt model's folder; None for one that has none here."""
    try:
        return fingerprint(resolve(turn.located(name), "prompt"))
    except CheckpointError:
        return None


@dataclass(frozen=True, kw_only=True)
class Studio:
    """Fresh ads: many are painted, and the best by the reward model are launched where it ranks them above all that
    run."""

    turn: Turn
    pipeline: AdPipeline

    @classmethod
    def open(cls, turn: Turn, in_use: Mapping[str, str]) -> Studio:
        """With the models that are in use now, role -> name."""
        prompt, judge = turn.load("prompt", in_use["prompt"]), turn.load("reward", in_use["reward"])
        pipeline = AdPipeline(prompt_model=prompt, background_model=turn.background, reward_model=judge)
        return cls(turn=turn, pipeline=pipeline)

    def best(
        self, product: Product, size: Size, had: Callable[[Pixels], bool], running: Sequence[Pixels] = ()
    ) -> list[RankedAd]:
        """At most `fresh` of `candidates` ads of `size`, no two alike and none that was `had` before, that keep their
        promises: the best of those that are ranked above all `running` ones."""
        config = self.turn.config
        seed = seed_for(config.seed, "fresh", self.turn.cycle.number)
        made = self.pipeline.generate(product, n=config.candidates, size=size, seed=seed, rolls=config.rolls)
        ads = [ad for ad in {ad.creative.id: ad for ad in made}.values() if not had(ad.creative.image)]
        kept = [ad for ad in ads if not ad.creative.fidelity.broken] or ads
        ids = [str(k) for k in range(len(running))]
        scores = self.pipeline.reward_model.score(product, running, ids=ids)
        bar = max((score.utility for score in scores), default=-math.inf)
        return [ad for ad in kept if ad.score.utility > bar + ROUNDING][: config.fresh]

    def write(self, product: Product, size: Size, shown: Sequence[CreativeClicks]) -> Record:
        """Fresh ads as files below the cycle's folder, ranked above all that the cycle's log has `shown`."""
        folder = self.turn.cycle.folder / "fresh" / folder_name(product.id)
        judge: Any = self.pipeline.reward_model
        running: dict[str, Pixels] = {}
        read_pictures(shown, [self.turn.source.pictures], judge.calibration.image_side, running)
        ads = self.best(product, size, lambda picture: False, list(running.values()))
        for ad in ads:
            write_atomic(folder / f"{ad.creative.id}.png", encode(ad.creative.image))
        return {"campaign": None, "creatives": [told(ad) for ad in ads], "retired": []}


def told(ad: RankedAd) -> Record:
    """What a manifest keeps of a fresh ad."""
    creative, score = ad.creative, ad.score
    return {
        "id": creative.id,
        "product_id": creative.product_id,
        "description": creative.description.text,
        "seed": creative.seed,
        "utility": float(score.utility),
        "ctr": float(score.ctr),
        "broken": list(creative.fidelity.broken),
    }
