"""`caig learn` on a service's ledger: impressions out, models on record and fresh ads as arms of its campaigns in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import select

from caig.artifacts import content_hash, published_folder, write_atomic, write_json_lines
from caig.errors import InputError
from caig.imaging.reading import read_photo
from caig.online import campaigns, learned
from caig.online.allocation import best_chances, posterior
from caig.online.campaigns import Campaign
from caig.online.decisions import GUARDS, Tally, joint_difference
from caig.online.ledger import Ledger
from caig.online.schema import creatives, open_database, products
from caig.recipes.learn import Config
from caig.recipes.learn_data import Cycle, Taken, counted, window_start
from caig.recipes.learn_steps import Record, Studio, Turn, told
from caig.recipes.store import Store
from caig.service import store as shelf
from caig.service.painter import Painter, creative_id
from caig.service.uploads import Files
from caig.types import Estimate, Product


class LedgerSource:
    """A service's ledger. Impressions whose time for clicks is over are taken; suspected bots never."""

    def __init__(self, config: Config) -> None:
        self.config, self.engine = config, open_database(config.database, create=False)
        if not (config.folder / "files").is_dir():
            expected, hint = "the service's folder, with its pictures in files", "Name the folder of caig serve."
            raise InputError("--folder", expected=expected, got=str(config.folder), next_step=hint)
        self.files = Files(config.folder)
        self.campaigns = campaigns.read_campaigns(self.engine)
        self.pictures = self.files.folder

    def take(self, cycle: Cycle) -> Taken | None:
        """Copy the impressions since the last cycle; None when there are none."""
        since = max((manifest["log"]["until"] for manifest in cycle.earlier()), default=0)
        until = shelf.now() - max((campaign.click_window for campaign in self.campaigns), default=0)
        rows = Ledger(self.engine).export(since, until)
        if rows.is_empty():
            return None
        with published_folder(cycle.clicks) as work:
            for (start,), part in self._windows(rows):
                (work / str(start)).mkdir()
                part.drop("window").write_parquet(work / str(start) / "impressions.parquet")
        names = sorted(str(file.relative_to(cycle.clicks)) for file in cycle.clicks.rglob("*.parquet"))
        marks = {f"{cycle.name}/{name}": content_hash((cycle.clicks / name).read_bytes()) for name in names}
        return counted(cycle, marks, first=rows["at"].min().date(), until=until)  # type: ignore[union-attr]

    def _windows(self, rows: pl.DataFrame) -> Iterable[tuple[Any, pl.DataFrame]]:
        days = rows["at"].dt.date()
        starts = [window_start(day, self.config.window) for day in days]
        return rows.with_columns(window=pl.Series(starts, dtype=pl.Date)).group_by("window", maintain_order=True)

    def products(self, cycle: Cycle) -> Path:
        """A catalogue of the ledger's products beside copies of their photos and masks, in the run folder."""
        if not cycle.products.is_file():  # a cycle that was cut goes on with the products that it knew
            with self.engine.connect() as connection:
                rows = connection.execute(select(products).order_by(products.c.id)).mappings().all()
            write_json_lines(cycle.products, [self._row(row) for row in rows])
        return cycle.products

    def _row(self, row: Mapping[str, Any]) -> dict[str, str]:
        named = {"image": row["photo"], "mask": row["mask"] or ""}
        copies = {field: self._copied(name) if name else "" for field, name in named.items()}
        return {"id": row["id"], "title": row["title"], "category": row["category"], **copies}

    def _copied(self, name: str) -> str:
        target = self.config.out / "photos" / name
        if not target.is_file():
            write_atomic(target, self.files.path(name).read_bytes())
        return f"photos/{name}"

    def adopt(self, turn: Turn, role: str, model: Mapping[str, Any], passed: bool) -> None:
        """Put the model on record; a reward model in use judges the running ads anew, for their allocation's prior."""
        entry = learned.Learned(
            role=role,
            fingerprint=model["fingerprint"],
            name=turn.located(model["name"]),
            parent=model["parent"],
            learned_from={"cycle": turn.cycle.number, "logs": model.get("logs", []), "judge": model.get("judge")},
            learned_until=turn.taken.until,
        )
        if role == "reward" and passed:
            self._judge_anew(turn.load("reward", model["name"]))
        learned.register(self.engine, entry, shelf.now(), in_use=passed)

    def _judge_anew(self, model: Any) -> None:
        for campaign in self.running():
            row = shelf.get(self.engine, products, campaign.product_id)
            assert row is not None  # a campaign's product is there: the database sees to it
            product = Product(id=row["id"], title=row["title"], category=row["category"])
            ads = self.creatives([arm for arm, _ in campaigns.arm_rows(self.engine, campaign.id)])
            images = [read_photo(self.files.path(ad["file"])).image for ad in ads.values()]
            learned.judge_anew(self.engine, model.score(product, images, ids=list(ads)))

    def withdraw(self, turn: Turn, name: str) -> None:
        """Take the reward model out of use; `name` judges the running ads anew."""
        self._judge_anew(turn.load("reward", name))
        learned.withdraw(self.engine, "reward")

    def guards(self, turn: Turn, chosen: Mapping[str, set[str]], error: float) -> list[Estimate]:
        """Lead of the chosen ads (campaign -> creatives) in each guard metric, by confidence sequences on the
        impressions taken so far."""
        shown = [one for one in self.campaigns if chosen.get(one.id)]
        parts = [(tallied(self, one, turn.taken.until), chosen[one.id]) for one in shown]
        return [joint_difference(parts, metric, error) for metric in GUARDS] if parts else []

    def launch(self, studio: Studio, store: Store) -> list[Record]:
        """Give every running campaign its fresh ads."""
        running = self.running()
        had = store.once("arms", lambda: {one.id: dict(campaigns.arm_rows(self.engine, one.id)) for one in running})
        return [store.once(f"fresh/{one.id}", self._launch, studio, store, one, had[one.id]) for one in running]

    def _launch(self, studio: Studio, store: Store, campaign: Campaign, had: Mapping[str, bool]) -> Record:
        """Fresh ads for one campaign, none of the arms that it `had` (id -> retired): the weakest make room, and
        as many join as find some. Doing it again changes nothing."""
        control = self.creatives(list(had)[:1]).popitem()[1]
        painter = Painter(engine=self.engine, files=self.files, pipeline=studio.pipeline, parent=0)
        product, size = painter.product(campaign.product_id), (control["width"], control["height"])
        live = [arm for arm, retired in had.items() if not retired][1:]  # the photo is none of them
        running = [read_photo(self.files.path(row["file"])).image for row in self.creatives(live).values()]
        best = studio.best(product, size, lambda picture: creative_id(product, picture) in had, running)
        ads = {creative_id(product, ad.creative.image): ad for ad in best}
        most = min(self.config.arms, campaign.rules.most - 1)
        count = len(live) + len(ads) - most
        gone = store.once(f"retired/{campaign.id}", weakest, self, campaign, count, studio.turn.taken.until)
        known = dict(campaigns.arm_rows(self.engine, campaign.id))
        if going := [id for id in gone if not known[id]]:
            campaigns.retire(self.engine, campaign, going, shelf.now())
        stay = [id for id, retired in known.items() if not (retired or id in gone or id in ads)][1:]
        joined = dict(list(ads.items())[: max(0, most - len(stay))])  # those that can't go may leave less room
        request = {"width": size[0], "height": size[1], "description": None, "parent": None}
        if new := [ad.creative for id, ad in joined.items() if id not in known]:
            campaigns.add_arms(self.engine, campaign, painter.keep(product, request, new), shelf.now())
        rows = [told(ad) | {"id": id} for id, ad in joined.items()]
        return {"campaign": campaign.id, "creatives": rows, "retired": gone}

    def running(self) -> list[Campaign]:
        """The campaigns that run."""
        return [campaign for campaign in self.campaigns if campaign.running]

    def creatives(self, ids: Sequence[str]) -> dict[str, Record]:
        """Rows of these creatives by id."""
        query = select(creatives).where(creatives.c.id.in_(ids)).order_by(creatives.c.id)
        with self.engine.connect() as connection:
            return {row["id"]: dict(row) for row in connection.execute(query).mappings()}


def tallied(source: LedgerSource, campaign: Campaign, until: int) -> Tally:
    """Counts of the impressions before `until` (ms)."""
    return campaigns.tally(source.engine, campaign, until - 1 + campaign.click_window)


def weakest(source: LedgerSource, campaign: Campaign, count: int, until: int) -> list[str]:
    """The `count` running ads that, by their own clicks before `until` (ms), have the least chance to be the best;
    never the original or a locked one, and one ad always stays. Later clicks are the next cycle's."""
    live = [arm for arm, retired in campaigns.arm_rows(source.engine, campaign.id) if not retired]
    counts = tallied(source, campaign, until)
    columns = [counts.arms.index(arm) for arm in live]
    shown, clicked = counts.shown.sum(0)[columns], counts.total["click"].sum(0)[columns]
    chance = dict(zip(live, best_chances(*posterior(clicked, shown)).tolist(), strict=True))
    locked = {id for id, row in source.creatives(live).items() if row["locked"]}
    free = sorted((arm for arm in live[1:] if arm not in locked), key=lambda arm: chance[arm])
    return free[: max(0, min(count, len(live) - 2))]
