"""schemathesis over the service's own description: whatever is sent, never a 5xx, and answers are as described."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.conftest import Service, served

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]


@pytest.fixture
def url(tmp_path: Path, database: str) -> Iterator[str]:
    """A real server on a port of this machine, with a campaign to talk about."""
    with served(tmp_path / "service", database=database, insecure=True) as (url, state):
        with httpx2.Client(base_url=url, timeout=60) as client:
            Service(client, state).campaign()
        yield url


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
