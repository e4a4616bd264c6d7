"""The ledger: what was seen, clicked and bought, each once, on disk before it is acknowledged.

Events are recorded in batches, one transaction each: the cost of making a commit durable is shared by all that came in
while the last one was made (`Writer`). Whatever arrives is kept in `events` with what became of it:

    counted   the first of its kind for its impression, in time
    repeated  one of its kind was counted before: nothing changes
    late      after the token's time: not counted
    bot       counted like any other, but its impression is marked and no estimate or model learns from it
    unknown   the token is none of ours, or another campaign's: not counted
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl
from sqlalchemy import Engine, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite

from caig.online.schema import creatives, events, impressions
from caig.online.tokens import Decision

Kind = Literal["impression", "click", "conversion"]
Status = Literal["counted", "repeated", "late", "unknown", "bot"]
MOMENT: dict[Kind, str] = {"impression": "shown_at", "click": "clicked_at", "conversion": "converted_at"}
BATCH = 500  # events in one transaction
MARKED = ("shown_at", "clicked_at", "converted_at", "value", "bot")


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a decision at `at` (ms); without one it is unknown. `value` is a conversion's."""

    kind: Kind
    at: int
    decision: Decision | None
    campaign_id: str | None = None
    bot: bool = False
    value: float = 0.0

    @property
    def late(self) -> bool:
        d = self.decision
        return d is not None and self.at > (d.order_until if self.kind == "conversion" else d.click_until)


class Ledger:
    """Events in, counts and logs out; `engine` is that of `caig.online.schema.open_database`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert
        self._first = insert(impressions).on_conflict_do_nothing()
        self._mark = impressions.update().where(impressions.c.id == bindparam("row"))
        self._mark = self._mark.values({name: bindparam(f"new_{name}") for name in MARKED})

    def record(self, batch: Sequence[Event]) -> list[Status]:
        """Write every event of `batch`, in order, in one transaction; what became of each."""
        timely = [(e.decision, e.at) for e in batch if e.decision and not e.late]
        fresh = {decision.impression_id: _row(decision, at) for decision, at in reversed(timely)}
        with self.engine.begin() as connection:
            rows: dict[str, dict[str, Any]] = {}
            if fresh:
                ids = sorted(fresh)  # in one order everywhere: two writers can't lock each other out
                connection.execute(self._first, [fresh[id] for id in ids])
                columns = [impressions.c.id, *(impressions.c[name] for name in MARKED)]
                found = select(*columns).where(impressions.c.id.in_(ids)).order_by(impressions.c.id).with_for_update()
                rows = {row["id"]: dict(row) for row in connection.execute(found).mappings()}
            found_status = [_apply(event, rows) for event in batch]
            if rows:
                connection.execute(self._mark, [_marks(row) for row in rows.values()])
            connection.execute(events.insert(), [_kept(e, s) for e, s in zip(batch, found_status, strict=True)])
        return found_status

    def counts(self, campaign_id: str) -> dict[str, Counter[str]]:
        """Kind of event -> how many had which status."""
        columns = (events.c.kind, events.c.status, func.count())
        query = select(*columns).where(events.c.campaign_id == campaign_id).group_by(*columns[:2])
        found: dict[str, Counter[str]] = {}
        with self.engine.connect() as connection:
            for kind, status, count in connection.execute(query):
                found.setdefault(kind, Counter())[status] = count
        return found

    def export(self, since: int = 0, until: int | None = None) -> pl.DataFrame:
        """Impressions first seen in since <= ms < until, suspected bots left out, in the columns that
        `caig.data.clicks.read_clicks` reads: one row each, in order of time."""
        i, moment = impressions.c, pl.Datetime("ms")
        columns = [i.id.label("impression_id"), i.product_id, i.creative_id, i.at, i.clicked_at, i.position]
        columns += [i.propensity, i.group, creatives.c.file.label("image"), i.converted_at, i.value]
        query = select(*columns).join(creatives, creatives.c.id == i.creative_id)
        query = query.where(i.bot.is_(False), i.at >= since).order_by(i.at, i.id)
        if until is not None:
            query = query.where(i.at < until)
        names = [column.name for column in columns]
        times = {"at", "clicked_at", "converted_at", "position"}
        kinds = {name: pl.Int64 if name in times else pl.String for name in names}
        kinds |= {"propensity": pl.Float64, "value": pl.Float64}
        with self.engine.connect() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        log = pl.DataFrame(rows, schema=kinds, orient="row")
        clicked, bought = pl.col("clicked_at").is_not_null(), pl.col("converted_at").is_not_null()
        log = log.with_columns(at=pl.col("at").cast(moment), clicked_at=clicked, converted_at=bought)
        return log.rename({"clicked_at": "clicked", "converted_at": "conversion"})


def _row(decision: Decision, at: int) -> dict[str, Any]:
    names = ("campaign_id", "product_id", "creative_id", "policy", "version", "propensity", "position", "group")
    row = {name: getattr(decision, name) for name in names}
    return {"id": decision.impression_id, **row, "at": at, "value": 0.0, "bot": False}


def _apply(event: Event, rows: dict[str, dict[str, Any]]) -> Status:
    """Mark the event's impression in `rows`, unless it does not count."""
    if event.decision is None:
        return "unknown"
    if event.late:
        return "late"
    row, moment = rows[event.decision.impression_id], MOMENT[event.kind]
    if row[moment] is not None:
        return "repeated"
    row[moment] = event.at
    row["value"] += event.value
    row["bot"] = row["bot"] or event.bot
    return "bot" if event.bot else "counted"


def _marks(row: dict[str, Any]) -> dict[str, Any]:
    return {"row": row["id"], **{f"new_{name}": row[name] for name in MARKED}}


def _kept(event: Event, status: Status) -> dict[str, Any]:
    decision = event.decision
    campaign_id = decision.campaign_id if decision else event.campaign_id
    impression_id = decision.impression_id if decision else None
    about = {"campaign_id": campaign_id, "impression_id": impression_id}
    return {**about, "kind": event.kind, "status": status, "at": event.at}


class Writer:
    """A thread that records events for everyone: all that wait go into one transaction."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: queue.SimpleQueue[tuple[Event, Future[Status]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, event: Event) -> Future[Status]:
        """A future that is done when the event is on disk, or holds the error that kept it from there."""
        future: Future[Status] = Future()
        self._waiting.put((event, future))
        return future

    def close(self) -> None:
        """Record what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ended = [first], False
            while len(batch) < BATCH and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    ended = True
                    break
                batch.append(item)
            _settle(batch, self._ledger.record)
            if ended:
                return


def _settle(batch: Sequence[tuple[Event, Future[Status]]], record: Callable[[Sequence[Event]], list[Status]]) -> None:
    waiting = [k for k, (_, future) in enumerate(batch) if future.set_running_or_notify_cancel()]  # the rest gave up
    try:
        found = record([event for event, _ in batch])
    except Exception as error:  # whoever waits gets it; the writer goes on with the next batch
        for k in waiting:
            batch[k][1].set_exception(error)
        return
    for k in waiting:
        batch[k][1].set_result(found[k])
