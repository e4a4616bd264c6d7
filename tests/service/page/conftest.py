"""The page in a headless Chromium, on a real server with a painter of fakes beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from caig.service.state import State
from tests.service.conftest import Colours, paint_all, picture, served
from tests.service.page.browser import Watched, chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@contextmanager
def painted(folder: Path, **settings: Any) -> Iterator[tuple[str, State]]:
    """The service with a painter beside it, in a thread."""
    over = threading.Event()
    with served(folder, **settings) as (url, state):
        painter = threading.Thread(
            target=lambda: [paint_all(state, Colours()) for _ in iter(lambda: over.wait(0.1), True)]
        )
        painter.start()
        try:
            yield url, state
        finally:
            over.set()
            painter.join()


def paint_until(state: State, over: threading.Event) -> None:
    while not over.wait(0.1):
        paint_all(state, Colours())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, State]]:
    with painted(tmp_path / "service", insecure=True) as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: tuple[str, State]) -> Iterator[Watched]:
    """The page; at the end nothing may have been complained of."""
    watched = Watched(browser, site[0])
    yield watched
    watched.context.close()
    assert watched.complaints == []


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)


def ads_of_a_product(page: Watched, site: tuple[str, State], n: int = 2) -> Page:
    """The view of a product with `n` ads, made over HTTP."""
    with httpx2.Client(base_url=site[0], timeout=60) as client:
        files = {"photo": picture()}
        client.post("/v1/products", data={"id": "box", "title": "Box"}, files=files).raise_for_status()
        body = {"n": n, "width": 300, "height": 250, "seed": 11}
        client.post("/v1/products/box/creatives", json=body).raise_for_status()
    page.page.goto("/#/products/box")
    expect(page.page.get_by_role("article")).to_have_count(n + 1)
    return page.page
