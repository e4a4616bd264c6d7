"""The app: routers, errors, guard, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import generate_latest
from sqlalchemy import text
from starlette.exceptions import HTTPException

from caig import __version__
from caig.service import catalogue, clicks, experiments
from caig.service.bodies import HealthOut
from caig.service.config import Config
from caig.service.guard import Guard
from caig.service.problems import RESPONSES, answer_with_problems
from caig.service.state import Here, State, admin

PAGE = Path(__file__).parent / "page"  # plain files: no build step, nothing from elsewhere
router = APIRouter(tags=["operation"], responses=RESPONSES)


def create_app(config: Config) -> FastAPI:
    """The service on `config.folder` and its ledger, opened at once so that faults show before it listens.

    Raises:
        InputError: folder or database can't be used.
    """
    state = State.open(config)
    app = FastAPI(
        title="caig",
        version=__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.caig = state
    for part in (clicks.router, catalogue.router, experiments.router, router):
        app.include_router(part)
    app.mount("/page", StaticFiles(directory=PAGE))
    answer_with_problems(app)
    app.add_middleware(Guard, config=config)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state: State = app.state.caig
    if state.config.painter:
        state.start_painter()
    fresh = asyncio.create_task(state.keep_shares_fresh())
    try:
        yield
    finally:
        fresh.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await fresh
        await asyncio.to_thread(state.close)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The web page; it asks for a key itself."""
    return FileResponse(PAGE / "index.html")


@router.get("/healthz")
async def healthz(state: Here) -> HealthOut:
    """503 when the ledger can't be reached; `painter`: whether the painter's process runs."""
    try:
        await asyncio.to_thread(_ask, state)
    except Exception:
        raise HTTPException(503, "ledger: expected an answer, got none.") from None
    return HealthOut(status="ok", painter=state.painter is not None and state.painter.poll() is None)


def _ask(state: State) -> None:
    with state.engine.connect() as connection:
        connection.execute(text("SELECT 1"))


@router.get("/metrics", response_class=PlainTextResponse, dependencies=[Depends(admin)])
async def metrics(state: Here) -> PlainTextResponse:
    """Counts for Prometheus."""
    content = await asyncio.to_thread(generate_latest, state.registry)
    return PlainTextResponse(content, media_type="text/plain; version=0.0.4")
