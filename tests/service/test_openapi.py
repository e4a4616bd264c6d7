"""schemathesis over the service's own description: whatever is sent, never a 5xx, and answers are as described."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from caig.service.app import create_app
from caig.service.config import Config
from tests.service.conftest import Service

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture
def url(tmp_path: Path, database: str) -> Iterator[str]:
    """A real server on a port of this machine, with a campaign to talk about."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = {"changes_per_minute": 10**6, "events_per_second": 10**6}
    config = Config(folder=tmp_path / "service", database=database, port=port, insecure=True, painter=False, **limits)
    app = create_app(config)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    client = TestClient(app, base_url="http://localhost")  # not entered: the server runs the app's life
    Service(client, app.state.caig).campaign()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.mark.slow
def test_no_request_makes_it_fail(url: str) -> None:
    """Every operation with generated requests, good and bad ones, on SQLite and PostgreSQL."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    tried: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        tried[operation.label] = 0
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():  # nothing to spoil
                _try(operation, mode, tried)
    print(f"{sum(tried.values())} requests to {len(tried)} operations")
    assert len(tried) >= 25 and sum(tried.values()) > 500


def _try(operation, mode, tried: dict[str, int]) -> None:  # type: ignore[no-untyped-def]
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case) -> None:  # type: ignore[no-untyped-def]
        tried[operation.label] += 1
        case.call_and_validate(checks=CHECKS)

    one()
