"""The ledger on SQLite and on PostgreSQL: each event once, kept and marked; what is acknowledged is on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, select, text

from caig.data.clicks import read_clicks
from caig.errors import InputError
from caig.online import campaigns
from caig.online.allocation import Rules
from caig.online.campaigns import (
    Campaign,
    add_arms,
    latest,
    read_campaigns,
    refresh,
    retire,
    reward_skill,
    start,
    tally,
)
from caig.online.decisions import difference, sample_ratio
from caig.online.export import policy_of, write_clicks
from caig.online.ledger import Event, Kind, Ledger, Writer, _settle
from caig.online.schema import creatives, impressions, metadata, models, open_database, products, upgrade
from caig.online.tokens import Decision
from caig.recipes import learn
from caig.recipes.learn_ledger import LedgerSource
from tests.online.conftest import creative, product

CAMPAIGN = Campaign(
    id="c1", product_id="oat", rules=Rules(floor=0.1, control=0.2), click_window=1000, order_window=5000
)
ARMS = ("original", "ad-1", "ad-2")


@pytest.fixture
def ledger(engine: Engine) -> Ledger:
    start(engine, CAMPAIGN, ARMS, now=0)
    return Ledger(engine)


def decision(ledger: Ledger, now: int = 0, **changes: object) -> Decision:
    allocation = latest(ledger.engine, CAMPAIGN)
    assert allocation is not None
    return replace(allocation.decide(now), **changes)  # type: ignore[arg-type]


def event(kind: Kind, of: Decision | None, at: int, **more: object) -> Event:
    return Event(kind=kind, at=at, decision=of, **more)  # type: ignore[arg-type]


def only_row(ledger: Ledger) -> dict:
    with ledger.engine.connect() as connection:
        return dict(connection.execute(select(impressions)).mappings().one())


def test_migrations_give_the_tables_of_the_code(database: str) -> None:
    engine = open_database(database)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    upgrade(engine)  # nothing left to do
    engine.dispose()


def test_a_mistyped_path_makes_no_ledger(tmp_path: Path) -> None:
    for ask in (
        lambda url: policy_of(url, "c1"),
        lambda url: write_clicks(url, tmp_path / "log.csv"),
        lambda url: LedgerSource(learn.Config(database=url, folder=tmp_path)),
    ):
        with pytest.raises(InputError, match="ledgr.db: expected sqlite:///FILE .* got no such file"):
            ask(f"sqlite:///{tmp_path / 'ledgr.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_the_first_version_is_brought_up_to_date(database: str) -> None:
    """Its creatives have no reasons."""
    engine = open_database(database)
    with engine.begin() as connection:
        connection.execute(insert(products), [product("oat")])
        connection.execute(insert(creatives), [creative("ad-1", 0.03)])
        for column in ("reasons", "broken"):
            connection.execute(text(f"ALTER TABLE creatives DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(select(creatives.c.reasons, creatives.c.broken)).all() == [([], [])]
    engine.dispose()


def test_each_event_counts_once(ledger: Ledger) -> None:
    d = decision(ledger)
    batch = [event("impression", d, 10), event("click", d, 20), event("click", d, 21), event("impression", d, 30)]
    assert ledger.record(batch) == ["counted", "counted", "repeated", "repeated"]
    assert ledger.record([event("click", d, 40), event("conversion", d, 4000, value=7.5)]) == ["repeated", "counted"]
    row = only_row(ledger)
    assert (row["at"], row["shown_at"], row["clicked_at"], row["converted_at"]) == (10, 10, 20, 4000)
    assert (row["value"], row["bot"], row["propensity"]) == (7.5, False, d.propensity)
    assert ledger.counts("c1") == {
        "impression": Counter(counted=1, repeated=1),
        "click": Counter(counted=1, repeated=2),
        "conversion": Counter(counted=1),
    }


def test_late_events_are_kept_and_not_counted(ledger: Ledger) -> None:
    d = decision(ledger)
    assert ledger.record([event("impression", d, 1001)]) == ["late"]
    assert ledger.export().is_empty()
    assert ledger.record([event("impression", d, 1000), event("click", d, 1001), event("conversion", d, 5000)]) == [
        "counted",
        "late",
        "counted",
    ]
    assert ledger.record([event("conversion", decision(ledger), 5001)]) == ["late"]
    assert only_row(ledger)["clicked_at"] is None
    assert ledger.counts("c1")["impression"] == Counter(late=1, counted=1)


def test_a_click_that_overtakes_its_impression_counts_with_it(ledger: Ledger) -> None:
    d = decision(ledger)
    assert ledger.record([event("click", d, 5)]) == ["counted"]
    assert ledger.record([event("impression", d, 9)]) == ["counted"]
    assert (only_row(ledger)["at"], only_row(ledger)["shown_at"]) == (5, 9)


def test_bots_are_counted_marked_and_left_out(ledger: Ledger) -> None:
    seen, robot = decision(ledger), decision(ledger)
    assert ledger.record([event("impression", seen, 1), event("impression", robot, 1)]) == ["counted", "counted"]
    assert ledger.record([event("click", robot, 2, bot=True)]) == ["bot"]
    assert ledger.export()["impression_id"].to_list() == [seen.impression_id]
    assert tally(ledger.engine, CAMPAIGN, now=5000).shown.sum() == 1
    assert ledger.counts("c1")["click"] == Counter(bot=1)


def test_unknown_events_are_kept(ledger: Ledger) -> None:
    assert ledger.record([event("click", None, 3, campaign_id="c1")]) == ["unknown"]
    assert ledger.counts("c1") == {"click": Counter(unknown=1)} and ledger.export().is_empty()


def test_a_batch_is_whole_or_absent(ledger: Ledger) -> None:
    d = decision(ledger)
    broken = replace(decision(ledger), campaign_id="no such campaign")
    with pytest.raises(Exception, match="(?i)foreign key"):
        ledger.record([event("impression", d, 1), event("impression", broken, 1)])
    assert ledger.export().is_empty() and ledger.counts("c1") == {}


def test_many_threads_at_one_writer(ledger: Ledger) -> None:
    """8 threads report the same 40 clicks: each counts once, whoever comes first."""
    decisions = [decision(ledger) for _ in range(40)]
    writer, found = Writer(ledger), []

    def report() -> None:
        futures = [writer.submit(event("click", d, 7)) for d in decisions]
        found.extend(future.result() for future in futures)

    threads = [threading.Thread(target=report) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert Counter(found) == Counter(counted=40, repeated=280)
    assert len(ledger.export()) == 40


def test_two_writers_on_one_database(ledger: Ledger, database: str) -> None:
    other = Ledger(open_database(database))
    decisions = [decision(ledger) for _ in range(100)]
    statuses: list[str] = []

    def report(one: Ledger, order: int) -> None:
        for k in range(0, 100, 10):
            statuses.extend(one.record([event("click", d, 7) for d in decisions[k : k + 10][::order]]))

    threads = [threading.Thread(target=report, args=pair) for pair in ((ledger, 1), (other, -1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.engine.dispose()
    assert Counter(statuses) == Counter(counted=100, repeated=100)


def test_the_writer_hands_on_errors_and_goes_on(ledger: Ledger) -> None:
    writer = Writer(ledger)
    broken = replace(decision(ledger), campaign_id="no such campaign")
    with pytest.raises(Exception, match="(?i)foreign key"):
        writer.submit(event("impression", broken, 1)).result()
    assert writer.submit(event("impression", decision(ledger), 1)).result() == "counted"
    writer.close()


@pytest.mark.parametrize("campaign", ["c1", "no such campaign"])
def test_the_writer_outlives_those_who_gave_up(ledger: Ledger, campaign: str) -> None:
    """Whether their event can be recorded or not; the next one's is."""
    gone: Future[Any] = Future()
    gone.cancel()
    waiting: Future[Any] = Future()
    batch = [event("impression", replace(decision(ledger), campaign_id=campaign), 1) for _ in range(2)]
    _settle(list(zip(batch, (gone, waiting), strict=True)), ledger.record)
    assert (waiting.exception() is None) == (campaign == "c1") and not waiting.cancel()
    assert len(ledger.export()) == (2 if campaign == "c1" else 0)


CRASH = """
import sys
from caig.online.campaigns import latest, read_campaigns
from caig.online.ledger import Event, Ledger, Writer
from caig.online.schema import open_database
ledger = Ledger(open_database(sys.argv[1]))
allocation, writer = latest(ledger.engine, read_campaigns(ledger.engine)[0]), Writer(ledger)
while True:
    batch = [allocation.decide(0) for _ in range(20)]
    for future, d in [(writer.submit(Event(kind="click", at=1, decision=d)), d) for d in batch]:
        future.result()
        print(d.impression_id, flush=True)
"""


@pytest.mark.slow  # starts an interpreter of its own
def test_what_was_acknowledged_survives_a_kill(ledger: Ledger, database: str) -> None:
    writer = subprocess.Popen([sys.executable, "-c", CRASH, database], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    acknowledged = [writer.stdout.readline().strip() for _ in range(200)]
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    writer.wait()
    kept = set(Ledger(open_database(database)).export()["impression_id"])
    print(f"{len(acknowledged)} acknowledged, {len(kept)} kept")
    assert set(acknowledged) <= kept


def test_the_export_is_a_click_log(ledger: Ledger, tmp_path: Path) -> None:
    one = decision(ledger, position=1, group="=browsers")
    two = decision(ledger)
    ledger.record([event("impression", one, 1), event("click", one, 2), event("conversion", one, 3, value=2.5)])
    ledger.record([event("impression", two, 900)])
    log = ledger.export()
    assert log.columns[:5] == ["impression_id", "product_id", "creative_id", "at", "clicked"]
    assert log.row(0, named=True)["group"] == "=browsers" and log["value"].to_list() == [2.5, 0.0]
    assert log["conversion"].to_list() == [True, False] == log["clicked"].to_list()
    log.write_parquet(tmp_path / "log.parquet")
    found = read_clicks(tmp_path / "log.parquet")
    assert sum(c.counts.impressions for c in found.creatives) == 2
    assert sum(c.counts.clicks for c in found.creatives) == 1
    assert found.rejected == ()
    assert ledger.export(since=2)["impression_id"].to_list() == [two.impression_id]
    assert ledger.export(until=900)["impression_id"].to_list() == [one.impression_id]


def test_an_empty_ledger_exports_the_same_columns(ledger: Ledger) -> None:
    empty = ledger.export().schema
    ledger.record([event("impression", decision(ledger), 1)])
    assert ledger.export().schema == empty
    assert empty["clicked"] == pl.Boolean


def play(ledger: Ledger, ctr: dict[str, float], n: int, seed: int = 0, now: int = 0) -> None:
    """`n` impressions of the newest version, clicked with each creative's true CTR."""
    rng, batch = np.random.default_rng(seed), []
    allocation = latest(ledger.engine, CAMPAIGN)
    assert allocation is not None
    for _ in range(n):
        d = allocation.decide(now)
        batch.append(event("impression", d, now))
        if rng.random() < ctr[d.creative_id]:
            batch.append(event("click", d, now + 1))
    ledger.record(batch)


def test_the_loop_closes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares start even, move to the arm that is clicked, and stay above the floors; the tally is the ledger's."""
    rng = Random(0)  # an impression's id decides what is shown: the same ones in every run
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=rng.getrandbits(128)))
    first = latest(ledger.engine, CAMPAIGN)
    assert first is not None and first.version == 1
    assert first.shares == pytest.approx([0.2 + 0.6 / 3, 0.1 + 0.6 / 3, 0.1 + 0.6 / 3])
    play(ledger, {"original": 0.05, "ad-1": 0.05, "ad-2": 0.4}, 600)
    second = refresh(ledger.engine, CAMPAIGN, now=10)
    assert second.version == 2 and second.shares == pytest.approx([0.2, 0.1, 0.7], abs=1e-3)
    play(ledger, {"original": 0.05, "ad-1": 0.05, "ad-2": 0.4}, 400, seed=1, now=20)
    assert tally(ledger.engine, CAMPAIGN, now=1005).shown.sum() == 600  # the others may still be clicked
    counts = tally(ledger.engine, CAMPAIGN, now=5000)
    assert counts.shown.sum(axis=1).tolist() == [600, 400] and sample_ratio(counts).fits
    assert counts.least.tolist() == [0.2, 0.1, 0.1]
    assert difference(counts, "click", 2).low > 0.1


def test_unchanged_shares_stay_the_same_version(ledger: Ledger) -> None:
    assert refresh(ledger.engine, CAMPAIGN, now=10).version == 1
    assert latest(ledger.engine, CAMPAIGN).at == 0  # type: ignore[union-attr]


def test_two_make_the_next_version_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one counts, the other retires an arm and makes version 2: the slower one's is 2 as well, of those arms."""
    play(ledger, {"original": 0.05, "ad-1": 0.05, "ad-2": 0.4}, 600)
    counting = campaigns._counts

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert retire(ledger.engine, CAMPAIGN, ["ad-1"], now=11).version == 2
        return counting(*arguments)

    monkeypatch.setattr(campaigns, "_counts", interrupted)
    slower = refresh(ledger.engine, CAMPAIGN, now=12)
    assert (slower.version, slower.arms) == (2, ("original", "ad-2"))


def test_arms_come_and_go(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(insert(creatives), [creative("ad-3", 0.05)])
    assert add_arms(ledger.engine, CAMPAIGN, ["ad-3", "ad-1"], now=1).arms == (*ARMS, "ad-3")
    assert retire(ledger.engine, CAMPAIGN, ["ad-1"], now=2).arms == ("original", "ad-2", "ad-3")
    counts = tally(ledger.engine, CAMPAIGN, now=5000)
    assert counts.arms == (*ARMS, "ad-3")
    assert (counts.shares > 0).tolist() == [[True, True, True, False], [True] * 4, [True, False, True, True]]
    for gone in ("original", "ad-1", "nobody"):
        with pytest.raises(InputError, match="arm: expected one that can go"):
            retire(ledger.engine, CAMPAIGN, [gone], now=3)
    with pytest.raises(InputError, match="arm: expected one that was not retired, got 'ad-1'"):
        add_arms(ledger.engine, CAMPAIGN, ["ad-2", "ad-1"], now=4)


def test_a_campaign_comes_back_as_it_was(ledger: Ledger) -> None:
    assert read_campaigns(ledger.engine) == [CAMPAIGN]
    policy = latest(ledger.engine, CAMPAIGN).as_policy()  # type: ignore[union-attr]
    assert (policy["version"], policy["control"], sum(policy["probabilities"].values())) == (1, "original", 1.0)


def test_too_few_arms(engine: Engine) -> None:
    with pytest.raises(InputError, match="arms: expected the original and others"):
        start(engine, CAMPAIGN, ["original"], now=0)
    assert read_campaigns(engine) == []


def test_the_reward_model_earns_its_say_on_held_out_clicks(ledger: Ledger) -> None:
    """12 products whose clicks agree with the predictions; a model that learned from those clicks earns nothing."""
    engine = ledger.engine
    assert reward_skill(engine) == 0
    with engine.begin() as connection:
        for k in range(12):
            connection.execute(insert(products), [product(f"p{k}")])
            ads = [creative(f"p{k}-{n}", 0.02 * n, f"p{k}") for n in (1, 2)]
            connection.execute(insert(creatives), ads)
    template = decision(ledger)
    batch = []
    for k in range(12):
        for n in (1, 2):
            for shown in range(100):
                id = f"{k}-{n}-{shown}"
                d = replace(template, impression_id=id, product_id=f"p{k}", creative_id=f"p{k}-{n}")
                batch.append(event("click" if shown < 20 * n else "impression", d, 500))
    ledger.record(batch)
    assert 0.3 < reward_skill(engine) < 1
    play(ledger, {"original": 0.3, "ad-1": 0.1, "ad-2": 0.1}, 300, now=500)
    assert refresh(engine, CAMPAIGN, now=600).strength == CAMPAIGN.rules.prior * reward_skill(engine) > 0
    model = {"fingerprint": "f", "role": "reward", "name": "m", "parent": None, "learned_from": {}, "created_at": 0}
    with engine.begin() as connection:
        connection.execute(insert(models), [{**model, "learned_until": 501, "in_use": True}])
    assert reward_skill(engine) == 0


@pytest.mark.parametrize(
    ("url", "got"),
    [("mysql://x/y", "another URL"), ("sqlite:////nowhere/at/all.db", "unable to open"), ("caig.db", "another URL")],
)
def test_bad_urls(url: str, got: str) -> None:
    with pytest.raises(InputError, match=f"^database .*: expected sqlite:///FILE or .*{got}"):
        open_database(url)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(InputError) as caught:
        open_database("postgresql://user:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)
