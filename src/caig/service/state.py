"""What the app works with: made at its start, reached by every request."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, NoReturn

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter, Gauge
from sqlalchemy import Engine
from starlette.exceptions import HTTPException

from caig.online import campaigns
from caig.online.campaigns import Allocation, Campaign
from caig.online.ledger import Event, Ledger, Status, Writer
from caig.online.schema import open_database
from caig.online.tokens import derive
from caig.service import store
from caig.service.bots import Suspicions
from caig.service.config import Config
from caig.service.guard import Rates
from caig.service.keys import Keys, Role
from caig.service.uploads import Files

TRUST_SECONDS = 600.0  # between two looks at the whole ledger for what the reward model has earned


@dataclass(kw_only=True, eq=False)
class State:
    """The service's parts. `known` are all campaigns, `live` the newest allocation of each that runs: `decide` asks
    nothing else."""

    config: Config
    engine: Engine
    ledger: Ledger
    writer: Writer
    files: Files
    keys: Keys
    token_key: bytes
    known: dict[str, Campaign] = field(default_factory=dict)
    live: dict[str, Allocation] = field(default_factory=dict)
    suspicions: Suspicions = field(default_factory=Suspicions)
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))  # one picture at a time in memory
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    painter: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        per_second, per_minute = self.config.events_per_second, self.config.changes_per_minute
        self.rates = {"events": Rates(per_second, per_second * 10), "changes": Rates(per_minute / 60, per_minute)}
        self.events = Counter("caig_events", "Events by kind and status", ["kind", "status"], registry=self.registry)
        self.decisions = Counter("caig_decisions", "Decisions", registry=self.registry)
        self.waiting = Gauge("caig_jobs_waiting", "Jobs that wait or run", registry=self.registry)
        self.waiting.set_function(lambda: store.queue_length(self.engine))
        Gauge("caig_campaigns", "Running campaigns", registry=self.registry).set_function(lambda: len(self.live))

    @classmethod
    def open(cls, config: Config) -> State:
        """Everything ready but the painter. InputError or OSError where folder or database can't be used."""
        keys = Keys(config.folder)
        engine = open_database(config.url)
        ledger = Ledger(engine)
        state = cls(
            config=config,
            engine=engine,
            ledger=ledger,
            writer=Writer(ledger),
            files=Files(config.folder),
            keys=keys,
            token_key=derive(keys.secret, "tokens"),
        )
        for campaign in campaigns.read_campaigns(engine):
            state.known[campaign.id] = campaign
            if campaign.running:
                state.live[campaign.id] = campaigns.refresh(engine, campaign, store.now())
        return state

    def start_painter(self) -> None:
        """Run `caig.service.painter` until this process ends."""
        c = self.config
        names = (c.prompt_model, c.background_model, c.reward_model)
        program = (sys.executable, "-m", "caig.service.painter")
        command: Sequence[str | Path] = (*program, str(os.getpid()), c.url, c.folder, *names)
        self.painter = subprocess.Popen(command)

    def close(self) -> None:
        """Write what waits, end the painter."""
        self.writer.close()
        if self.painter is not None:
            self.painter.terminate()
            self.painter.wait()
        self.engine.dispose()

    async def record(self, event: Event) -> Status:
        """Wait until `event` is on disk; what became of it."""
        status = await asyncio.wrap_future(self.writer.submit(event))
        self.events.labels(event.kind, status).inc()
        return status

    async def keep_shares_fresh(self) -> None:
        """The loop's last arrow: clicks become the next shares, again and again."""
        trust, measured = 0.0, -TRUST_SECONDS
        while True:
            await asyncio.sleep(self.config.refresh_seconds)
            try:
                if time.monotonic() - measured >= TRUST_SECONDS:
                    trust, measured = await asyncio.to_thread(campaigns.reward_skill, self.engine), time.monotonic()
                for allocation in list(self.live.values()):
                    await self.refresh(allocation.campaign, trust)
            except Exception as error:  # the database may answer again next time
                print(f"service: shares stay as they are: {error!r}", file=sys.stderr, flush=True)

    async def refresh(self, campaign: Campaign, trust: float) -> None:
        """Make the campaign's next allocation and show it from now on; `trust` in the reward model, 0 to 1."""
        fresh = await asyncio.to_thread(campaigns.refresh, self.engine, campaign, store.now(), trust)
        self.show(fresh)

    def show(self, fresh: Allocation) -> None:
        """Decide by `fresh` from now on, unless a newer version is in force or the campaign was stopped meanwhile."""
        shown = self.live.get(fresh.campaign.id)
        if shown is not None and fresh.version >= shown.version:
            self.live[fresh.campaign.id] = fresh

    def allocation(self, campaign_id: str) -> Allocation:
        """The shares in force; HTTPException 404 where no such campaign runs."""
        return self.live.get(campaign_id) or missing("campaign", campaign_id)


def missing(kind: str, id: str) -> NoReturn:
    """Raise 404."""
    raise HTTPException(404, f"{kind}: expected one that there is, got '{id}'.")


# Dependencies are coroutines: FastAPI would send plain functions to a thread, four times a request.
async def state_of(request: Request) -> State:
    return request.app.state.caig  # type: ignore[no-any-return]


Here = Annotated[State, Depends(state_of)]


def _sender(state: State, request: Request, allowed: tuple[Role, ...], kind: str) -> None:
    """Let the request pass, or raise 401, 403 or 429."""
    if state.config.insecure:
        state.rates[kind].take("anyone")
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    found = state.keys.read(key) if scheme.lower() == "bearer" else None
    if found is None:
        hint = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "key: expected Authorization: Bearer and a key of this service.", hint)
    role, name = found
    if role not in allowed:
        raise HTTPException(403, f"key: expected one of role {' or '.join(allowed)}, got one of role {role}.")
    if request.method not in ("GET", "HEAD") or kind == "events":
        state.rates[kind].take(name)


async def admin(state: Here, request: Request) -> None:
    """Only admins from here on; changes are rated."""
    _sender(state, request, ("admin",), "changes")


async def reporter(state: Here, request: Request) -> None:
    """Admins and event-only keys; every request is rated."""
    _sender(state, request, ("admin", "events"), "events")
