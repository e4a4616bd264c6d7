"""The page and the painter: none, and the real one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from caig.service.keys import Keys
from tests.project import ROOT
from tests.service.conftest import Service, served
from tests.service.page.browser import Watched
from tests.service.page.conftest import button

MINUTES = 600_000  # ms


def test_a_missing_painter_is_told(browser: Browser, tmp_path: Path) -> None:
    with served(tmp_path / "service", insecure=True) as (url, state), httpx2.Client(base_url=url) as client:
        Service(client, state).product()  # type: ignore[arg-type]
        client.post("/v1/products/oat/creatives", json={"n": 1}).raise_for_status()
        watched = Watched(browser, url)
        watched.page.goto("/#/products/oat")
        expect(watched.page.get_by_role("status").first).to_contain_text("Waiting for the painter")
        expect(watched.page.get_by_role("status").first).to_contain_text("no painter runs")
        watched.context.close()
    assert watched.complaints == []


@pytest.mark.slow
def test_the_embedded_models_paint_for_the_page(browser: Browser, tmp_path: Path) -> None:
    """The command as a user starts it: keys, the painter's own process, a real photo, and a banner in a theme."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "caig", "serve", "--folder", str(tmp_path), "--port", str(port)]
    server = subprocess.Popen(command)
    try:
        watched = Watched(browser, f"http://127.0.0.1:{port}")
        watched.page.set_default_timeout(MINUTES)
        wait_for(f"http://127.0.0.1:{port}/healthz")
        view = watched.page
        view.add_init_script(f"sessionStorage.setItem('caig-key', '{Keys(tmp_path).make('admin', 'me')}')")
        view.goto("/")
        view.locator("#photo").set_input_files(ROOT / "src/caig/demo/satsumas.jpg")
        view.get_by_label("Title").fill("Satsumas, fresh")
        view.get_by_label("Theme").select_option(label="Picnic")
        view.get_by_label("How many").select_option("2")
        view.get_by_text("Medium rectangle").click()
        button(view, "Make ads").click()
        expect(view.get_by_role("article")).to_have_count(3, timeout=MINUTES)
        assert view.get_by_role("list", name="Why").count() > 0
        expect(view.locator(".generated img").first).to_have_js_property("naturalWidth", 300)
        watched.check()
        watched.context.close()
    finally:
        server.terminate()
        server.wait()
    assert watched.complaints == []


def wait_for(url: str) -> None:
    for _ in range(600):
        with suppress(httpx2.TransportError):
            if httpx2.get(url).status_code == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(url)
