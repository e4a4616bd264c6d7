"""Learn from clicks: what shoppers clicked teaches the reward model, that teaches the prompt model, and fresh ads join
the campaigns (`caig learn`).

A call is one cycle. It takes the clicks that no cycle took yet; says so and ends where they are too few. Ads of one
product are compared within a window of time, impressions weighted by their inverse propensities (`caig.data`). The
reward model goes on from the one in use, or its heads from the first one's, on all clicks taken so far, and stays out
unless it is better than that one and than chance on the newest clicks of products that no cycle trains on. Tuned
prompt model and reward model then write, paint and choose fresh ads, which join where they are ranked above all that
run; until a reward model has proved itself on these clicks, none do: any ones cost more than they bring
(docs/LOG.md). A model whose ads have credibly fewer conversions, or less value, than those they joined goes out of use,
and none follows it in that cycle. Suspected bots teach nothing. A call that was cut goes on where it stopped, and comes
to the same end.

Differs from the paper: there clicks are gathered once; here the loop closes, and each model has to prove itself.

    out/clicks/<cycle>/<window>/       the rows that the cycle learned from
    out/cycles/<cycle>/reward, pcpo    the models that it made
    out/cycles/<cycle>/manifest.json   which data made which model made which picture; written last
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from caig.artifacts import to_json, write_atomic
from caig.errors import CatalogError, InputError
from caig.imaging.canvas import check_size
from caig.types import Estimate

if TYPE_CHECKING:
    from caig.models.protocols import BackgroundModel
    from caig.recipes.learn_steps import Turn


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig learn`."""

    database: str = ""
    """URL of a service's ledger; or give --log."""
    folder: Path = Path("caig-service")
    """With --database: the service's folder, where its pictures lie."""
    log: Path | None = None
    """Folder of dated partitions in any shape that caig comparisons reads, each taken once, when its day is over."""
    images: Path | None = None
    """With --log: folder of the ads' pictures, by default the log's own."""
    catalog: Path | None = None
    """With --log: catalogue of the products."""
    out: Path = Path("caig-learn")
    """Run folder; each call adds a cycle, one that was cut is finished first."""
    prompt_model: str = "embedded-pretrained"
    """Where the first cycle starts, and the reference of all tuning; `embedded` was tuned to simulated shoppers."""
    background_model: str = "embedded"
    reward_model: str = "embedded"
    """Where the first cycle starts."""
    calibrated_on: Literal["simulated", "click log"] = "click log"
    """What the clicks are: every CTR predicted later carries this word."""
    least_clicks: int = 100
    """New clicks that a cycle needs."""
    window: int = 1
    """Days, counted from 1970, within which ads are compared."""
    steps: int = 200
    """Steps of the reward model; with few clicks more harm (docs/LOG.md)."""
    tune: Literal["heads", "language", "lora", "full"] = "heads"
    """What of the reward model learns beside its heads: nothing, which is best for some thousand clicks (docs/LOG.md),
    or more; an adapter goes on as one."""
    heads: Literal["new", "kept"] = "new"
    """kept: --reward-model learned from these shoppers, so what it likes is gone on from; new: from others, as embedded
    did, so each cycle begins with what is usual (`caig.models.utility`)."""
    lr: float = 1e-4
    head_lr: float | None = None
    """None: as `caig train reward` has it."""
    gate: Literal["better", "credible"] = "better"
    """better: the new reward model must be better on held-out clicks, than the last one and than chance; credible: with
    its 95 % intervals."""
    recent: int = 3
    """Cycles, the newest first, whose clicks on held-out products the gate looks at."""
    rounds: int = 1
    """Rounds of preference optimisation when the reward model has passed; 0: none."""
    products: int = 64
    """Products a round."""
    side: int = 512
    """Of the square pictures of such rounds, and of fresh ads with --log; a campaign's ads keep their size."""
    candidates: int = 8
    """Ads painted for each campaign, or product of the log."""
    fresh: int = 2
    """Of these, how many are launched at most: those that the reward model ranks above all that run."""
    arms: int = 8
    """Ads that a campaign shows at most beside the original; for fresh ones the weakest are retired."""
    rolls: int = 3
    """Times that an ad which breaks a promise is painted."""
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        check_size((self.side, self.side))
        least = {
            "least_clicks": 1,
            "window": 1,
            "steps": 1,
            "recent": 1,
            "rounds": 0,
            "candidates": 1,
            "fresh": 0,
            "arms": 1,
        }
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                got, option = str(getattr(self, name)), f"--{name.replace('_', '-')}"
                raise InputError(option, expected=f"at least {smallest}", got=got, next_step="Raise it.")
        if self.fresh > min(self.candidates, self.arms):
            most = f"at most {min(self.candidates, self.arms)}, of so many --candidates and --arms"
            raise InputError("--fresh", expected=most, got=str(self.fresh), next_step="Lower it.")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a call did; `cycle` 0 when there was too little to learn from."""

    cycle: int
    lines: Sequence[str]
    gate: Sequence[Estimate] = ()
    passed: bool = False

    def __str__(self) -> str:
        return "\n".join(self.lines)


def run(config: Config, background: BackgroundModel | None = None) -> Report:
    """One cycle; `background` paints in place of the model that the settings name.

    Raises:
        InputError: ledger or folder cannot be used, another call is at work in `out`, or the cycle that was cut had
            other settings.
        CatalogError: the log is broken, or has no training product with two ads in one window.
        CheckpointError: a model is missing, or cannot learn.
    """
    from caig.recipes.store import held

    with held(config.out):
        return _run(config, background)


def _run(config: Config, background: BackgroundModel | None) -> Report:
    from caig.recipes import learn_data as data
    from caig.recipes import learn_steps as steps
    from caig.recipes.processes import join_processes
    from caig.recipes.store import Store

    source, cycle = data.open_source(config), data.Cycle.current(config.out)
    taken = data.take_once(source, cycle)
    if taken is None or taken.clicks < config.least_clicks:
        return nothing_yet(config, taken.clicks if taken else 0)
    turn = _begin(config, cycle, source, taken, background)
    store = Store(cycle.folder / "steps", _settings(config, taken), join_processes())

    try:
        trained = store.once("reward", steps.train_reward, turn)
    except CatalogError:  # no pair to learn from: the same rows may give some with those that follow
        cycle.discard()
        raise
    guards = store.once("guards", steps.watch, turn)
    gate = store.once("gate", steps.pass_gate, turn, trained, guards["harmed"])
    source.adopt(turn, "reward", trained, gate["passed"])
    judge = trained["name"] if gate["passed"] else turn.before["reward"]
    if guards["harmed"]:
        judge = config.reward_model
        source.withdraw(turn, judge)
    prompt = {"name": turn.before["prompt"]}
    if gate["passed"] and config.rounds:
        prompt = store.once("prompt", steps.tune, turn, judge)
    if prompt["name"] != turn.before["prompt"]:
        source.adopt(turn, "prompt", prompt, True)
    in_use = {"reward": judge, "prompt": prompt["name"]}
    fresh = []
    if config.fresh and gate["proved"]:
        fresh = source.launch(steps.Studio.open(turn, in_use), store)

    manifest = {
        "cycle": cycle.number,
        "log": asdict(taken),
        "before": turn.before,
        "trained": {"reward": trained, "prompt": prompt},
        "left_out": cycle.left_out(),
        "guards": guards,
        "gate": gate,
        "chosen_by": judge if gate["proved"] else None,
        "in_use": in_use,
        "fresh": fresh,
        "settings": _settings(config, taken),
    }
    write_atomic(cycle.folder / data.MANIFEST, to_json(manifest, indent=1).encode())
    return _report(manifest)


def nothing_yet(config: Config, clicks: int) -> Report:
    """The answer to too few clicks."""
    wanted = f"--least-clicks asks for {config.least_clicks}"
    return Report(cycle=0, lines=[f"nothing to learn from yet: {clicks} new clicks, {wanted}"])


def _begin(config: Config, cycle: Any, source: Any, taken: Any, background: Any) -> Turn:
    import torch

    from caig.models.hub import load_model
    from caig.recipes.learn_steps import Turn, in_use

    torch.set_num_threads(config.threads)
    return Turn(
        config=config,
        cycle=cycle,
        source=source,
        taken=taken,
        catalog=source.products(cycle),
        background=background or load_model(config.background_model, "background"),
        before=in_use(config, cycle),
    )


def _settings(config: Config, taken: Any) -> dict[str, Any]:
    """What decides a cycle: every setting but folders, which may move, and the data."""
    places = {"out", "folder", "database", "log", "images", "catalog"}
    return {name: value for name, value in asdict(config).items() if name not in places} | {"data": taken.hash}


def _report(manifest: Mapping[str, Any]) -> Report:
    log, gate, fresh = manifest["log"], manifest["gate"], manifest["fresh"]
    failed = [one["failed"] for one in fresh if "failed" in one]
    made = sum(len(one["creatives"]) for one in fresh)
    verdict = "passed" if gate["passed"] else "stays out"
    estimates = tuple(Estimate(**one) for one in gate["estimates"])
    lines = [
        f"cycle {manifest['cycle']}: {log['impressions']} impressions, {log['clicks']} clicks from {log['first']} on",
        f"the new reward model {verdict}: {gate['reason']}",
        *(f"{one['count']} {one['what']} left out: {one['reason']}" for one in manifest["left_out"]),
        *map(str, estimates),
        *(str(Estimate(**one)) for one in manifest["guards"]["estimates"]),
        *([] if gate["proved"] else ["no reward model has proved itself on these clicks: no fresh ads join"]),
        *filter(None, [manifest["trained"]["prompt"].get("remark")]),
        f"{made} fresh ads, {sum(len(one['retired']) for one in fresh)} retired",
        *([f"{len(failed)} products got none, the first: {failed[0]}"] if failed else []),
    ]
    return Report(cycle=manifest["cycle"], lines=lines, gate=estimates, passed=gate["passed"])
