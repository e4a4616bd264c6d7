"""The whole loop where the truth is known: shoppers click through the service, and caig learns (`caig shop loop`).

Three policies start with the same ads of the same products and see the same shoppers:

    uniform    every ad with the same share
    thompson   Thompson sampling among the first ads
    loop       Thompson sampling, and after each cycle `caig learn`: fresh ads by models that learned from its clicks

Every decision, impression and click is a request to the service, with its tokens, ledger and bots' marks. Measured is
the true CTR of what was shown: per product and cycle the mean over its impressions. Intervals resample worlds, then
products. Regret: clicks lost against always showing the best ad that any of the three had of a product by the end.

Cheap, to fit one core: small models, `coarse` pictures (not refined; plates as they are), pictures that were painted
once are kept, and the heads of the reward model alone learn. The service names impressions at random, so that two
runs of the same seed differ a little.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caig.artifacts import published_folder, to_json, write_atomic
from caig.errors import CatalogError, InputError
from caig.types import Estimate, Product

if TYPE_CHECKING:
    from caig.models.protocols import BackgroundModel

POLICIES = {"uniform": "uniform", "thompson": "thompson", "loop": "thompson"}  # name -> the service's
FLOOR = 0.01  # of every arm, the original photo's among them, so that uniform is uniform
WINDOW = 10  # seconds after a decision that a click counts


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of `caig shop loop`."""

    scenes: Path
    """Folder with products.tar."""
    out: Path
    """Run folder; the same command goes on where it was cut, from the start of the cycle under way."""
    cycles: int = 6
    world_seed: int = 0
    """Of the first world; the others follow."""
    worlds: int = 3
    products: int = 18
    """Two thirds of them train models, a third is held out."""
    shoppers: int = 1300
    """Of each product, in each cycle."""
    ads: int = 4
    """Of each product, to begin with, beside its photo."""
    side: int = 256
    """Of the pictures."""
    coarse: bool = True
    """Paint at half the side without refining; plates are left as they are. A tenth of the price."""
    candidates: int = 20
    """Ads that are painted of each product after each cycle."""
    fresh: int = 2
    """Of these, how many are launched."""
    arms: int = 4
    """Ads of a product that are shown at most."""
    rounds: int = 1
    """Rounds of preference optimisation after each cycle that lets a reward model pass; with 0 the prompt model stays
    as it is, worlds share their paintings, and a cycle takes a minute less."""
    steps: int = 400
    """Steps of the reward model's heads after each cycle."""
    prompt_model: str = "embedded-pretrained"
    """Not `embedded`, which was tuned to the shoppers of world 0."""
    background_model: str = "embedded"
    reward_model: str = "embedded"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in {"cycles": 1, "worlds": 1, "products": 6, "shoppers": 1, "ads": 1}.items():
            if getattr(self, name) < least:
                got = str(getattr(self, name))
                raise InputError(f"--{name}", expected=f"at least {least}", got=got, next_step="Raise it.")


def run(config: Config) -> list[Estimate]:
    """Every world under every policy; estimates, `out/results.json` and `out/index.html` with the curves."""
    import torch

    from caig.service.serve import check_extra
    from caig.studies.loop_report import Results, write_page
    from caig.studies.paint import load_painter
    from caig.studies.preference_parts import Bank

    check_extra()
    torch.set_num_threads(config.threads)
    _check_settings(config)
    bank = Bank(load_painter(config.background_model, config.coarse), config.out / "bank")
    shelf = choose(config)
    first = open_first(config, shelf, bank)
    rows = [
        row
        for world in range(config.world_seed, config.world_seed + config.worlds)
        for policy in POLICIES
        for row in play(config, world, policy, first, shelf, bank)
    ]
    results = Results.of(rows)
    estimates = results.estimates()
    write_atomic(config.out / "results.json", to_json({"estimates": estimates, "rows": rows}, indent=1).encode())
    write_page(config, results, estimates)
    return estimates


def choose(config: Config) -> dict[str, Product]:
    """The study's products: a sixth that training holds out for calibration, a sixth for testing, the rest trains."""
    from caig.studies.preference import held_out
    from caig.studies.preference_parts import write_photos

    shelf, part = write_photos(config.scenes, config.out / "photos"), config.products // 6
    sizes = {"train": config.products - 2 * part, "validation": part, "test": part}
    chosen = [product for share, count in sizes.items() for product in held_out(shelf, share, count, config.seed)]
    if len(chosen) < config.products:
        got, hint = str(len(chosen)), "Ask for fewer, or render more."
        raise InputError("--products", expected=f"{config.products} on the shelf", got=got, next_step=hint)
    return {product.id: product for product in chosen}


def open_first(config: Config, shelf: Mapping[str, Product], background: BackgroundModel) -> Path:
    """A service's folder with the products and their first ads, the same for every world and policy; made once."""
    from caig.models.hub import load_model
    from caig.online.schema import open_database
    from caig.pipeline import AdPipeline
    from caig.service import store
    from caig.service.painter import Painter
    from caig.service.uploads import Files

    target = config.out / "first"
    if target.is_dir():
        return target
    models = {role: load_model(getattr(config, f"{role}_model"), role) for role in ("prompt", "reward")}  # type: ignore[arg-type]
    pipeline = AdPipeline(prompt_model=models["prompt"], background_model=background, reward_model=models["reward"])
    with published_folder(target) as work:
        engine, files = open_database(f"sqlite:///{work / 'ledger.db'}"), Files(work)
        painter = Painter(engine=engine, files=files, pipeline=pipeline, parent=0)
        for product in shelf.values():
            photo, _ = files.take(Path(str(product.image)).read_bytes(), None, 10_000_000)
            row = {"id": product.id, "title": product.title, "category": product.category, "photo": photo}
            stored = painter.product(store.add_product(engine, row)["id"])
            ads = pipeline.generate(stored, n=config.ads, size=(config.side, config.side), seed=config.seed, rolls=1)
            request = {"width": config.side, "height": config.side, "description": None, "parent": None}
            painter.keep(stored, request, [ad.creative for ad in ads])
        engine.dispose()
    return target


def play(
    config: Config, world: int, policy: str, first: Path, shelf: Mapping[str, Product], background: BackgroundModel
) -> list[dict[str, Any]]:
    """All cycles of a world under a policy, each written once; rows of `cycle`."""
    folder, rows = config.out / f"{world}/{policy}", []
    service = folder / "service"
    if not service.is_dir():
        with published_folder(service) as work:
            shutil.copytree(first, work, dirs_exist_ok=True)
    for number in range(1, config.cycles + 1):
        path = folder / f"cycle-{number}.json"
        if not path.is_file():
            _start_over(service, number)
            found = asyncio.run(cycle(config, world, policy, number, service, shelf))
            write_atomic(path, to_json(found).encode())
            _backup(service, number).unlink()
        if policy == "loop" and number < config.cycles:
            told = learned(config, world, folder, number, background)
            write_atomic(folder / f"learned-{number}.txt", told.encode())
        rows += json.loads(path.read_text(encoding="utf-8"))
    return rows


async def cycle(
    config: Config, world: int, policy: str, number: int, service: Path, shelf: Mapping[str, Product]
) -> list[dict[str, Any]]:
    """Open the service for one cycle's shoppers. A row per product: impressions, clicks, true CTR of what was shown,
    and of every ad that could be shown."""
    from caig.service.app import create_app
    from caig.service.config import Config as Service
    from caig.shop.shoppers import World
    from caig.studies.loop_traffic import Client, Truth, open_doors, seed_of

    rates = {"events_per_second": 10**6, "changes_per_minute": 10**6}
    app = create_app(Service(folder=service, painter=False, **rates))  # type: ignore[arg-type]
    state = app.state.caig
    client, truth = Client(app, state.keys.make("admin", "study")), Truth(World(world), shelf, state)
    if not state.live:
        for id in shelf:
            body = {"product_id": id, "policy": POLICIES[policy], "floor": FLOOR, "control": FLOOR}
            await client.post("/v1/campaigns", {**body, "click_window": WINDOW})
    campaigns = sorted(state.live, key=lambda id: state.live[id].campaign.product_id)
    visits = await open_doors(client, state, campaigns, truth, config.shoppers, seed_of(config.seed, world, number))
    rows = []
    for id in campaigns:
        shown = visits.shown[id]
        row = {"world": world, "policy": policy, "cycle": number, "product": state.live[id].campaign.product_id}
        row |= {"shown": shown.total(), "clicked": visits.clicked[id].total()}
        row |= {"ctr": sum(n * truth.ctr(ad) for ad, n in shown.items()) / shown.total()}
        rows.append(row | {"ads": {ad: truth.ctr(ad) for ad in state.live[id].arms}, "statuses": visits.statuses})
    state.close()
    return rows


def learned(config: Config, world: int, folder: Path, number: int, background: BackgroundModel) -> str:
    """`caig learn` on the service's ledger after cycle `number`, unless it was done before."""
    from caig.recipes import learn
    from caig.recipes.learn_data import Cycle

    out = folder / "learn"
    if Cycle.current(out).number > number:
        return (folder / f"learned-{number}.txt").read_text() if (folder / f"learned-{number}.txt").is_file() else ""
    time.sleep(WINDOW)  # until the last shopper can click no more
    settings = learn.Config(
        database=f"sqlite:///{folder / 'service/ledger.db'}",
        folder=folder / "service",
        out=out,
        prompt_model=config.prompt_model,
        reward_model=config.reward_model,
        calibrated_on="simulated",
        least_clicks=1,
        steps=config.steps,
        rounds=config.rounds,
        products=config.products,
        side=config.side,
        candidates=config.candidates,
        fresh=config.fresh,
        arms=config.arms,
        rolls=1,
        seed=config.seed,
        threads=config.threads,
    )
    try:
        return str(learn.run(settings, background))
    except CatalogError as error:  # no click on a product that trains: the next cycle learns from both
        return str(error)


def _backup(service: Path, number: int) -> Path:
    return service.with_name(f"ledger-before-{number}.db")


def _start_over(service: Path, number: int) -> None:
    """Keep the ledger as it is before a cycle; where the cycle was begun already, put it back."""
    ledger, backup = service / "ledger.db", _backup(service, number)
    if backup.is_file():
        for name in ("ledger.db-wal", "ledger.db-shm"):
            (service / name).unlink(missing_ok=True)
        shutil.copyfile(backup, ledger)
    else:
        write_atomic(backup, ledger.read_bytes())


def _check_settings(config: Config) -> None:
    """InputError when `out` was begun with other settings."""
    from caig.recipes.processes import join_processes
    from caig.recipes.store import Store

    free = {"scenes": "", "out": "", "threads": 0, "worlds": 0, "cycles": 0}
    Store(config.out, {**asdict(config), **free}, join_processes())
