"""A service in an empty folder, and its painter with small fake models, run by hand in the test's own process."""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from PIL import Image

from caig.models.protocols import BackgroundModel
from caig.pipeline import AdPipeline
from caig.service import store
from caig.service.app import create_app
from caig.service.config import Config
from caig.service.painter import Painter
from caig.service.state import State
from caig.types import Canvas, Description, Pixels
from tests.cli.cli_fakes import Backgrounds, Prompts, Rewards


@dataclass(frozen=True)
class Service:
    """The service with an admin's client."""

    client: TestClient
    state: State

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The JSON of an answer that must have this status."""
        answer = self.client.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def paint_all(self) -> None:
        """What the painter's process does, once."""
        paint_all(self.state)

    def product(self, id: str = "oat", photo: bytes | None = None) -> dict[str, Any]:
        files = {"photo": ("../../etc/passwd", photo or picture())}
        return self.call("POST", "/v1/products", 201, data={"id": id, "title": "Oat milk"}, files=files)

    def creatives(self, id: str = "oat", n: int = 2) -> list[dict[str, Any]]:
        """The ads of a new product, the original last."""
        self.product(id)
        body = {"n": n, "width": 64, "height": 64, "seed": 1}
        self.call("POST", f"/v1/products/{id}/creatives", 202, json=body)
        self.paint_all()
        found = self.call("GET", f"/v1/products/{id}/creatives")["items"]
        return sorted(found, key=lambda ad: ad["kind"] == "original")

    def campaign(self, id: str = "oat", **more: Any) -> str:
        """A running campaign of a new product with two ads."""
        self.creatives(id)
        body = {"product_id": id, "floor": 0.1, "control": 0.2, **more}
        return str(self.call("POST", "/v1/campaigns", 201, json=body)["campaign"])


class Colours(Backgrounds):
    """One colour for each of 5.8 million seeds, so that hardly two ads are the same."""

    def paint(self, canvas: Canvas, descriptions: Sequence[Description], *, seeds: Sequence[int]) -> list[Pixels]:
        return [np.full_like(canvas.image, [30 + seed // 180**k % 180 for k in range(3)]) for seed in seeds]


def paint_all(state: State, backgrounds: BackgroundModel | None = None) -> None:
    """Do every job that waits, with small fake models."""
    model = backgrounds or Backgrounds()
    pipeline = AdPipeline(prompt_model=Prompts(), background_model=model, reward_model=Rewards())
    painter = Painter(engine=state.engine, files=state.files, pipeline=pipeline, parent=os.getppid())
    while (job := store.claim_job(state.engine)) is not None:
        painter.work(job)


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[tuple[str, State]]:
    """(URL, state) of a real server on a port of this machine, without a painter."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = {"changes_per_minute": 10**6, "events_per_second": 10**6}
    app = create_app(Config(folder=folder, port=port, painter=False, **{**limits, **settings}))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}", app.state.caig
    finally:
        server.should_exit = True
        thread.join()


def picture(size: tuple[int, int] = (80, 100), kind: str = "png", color: Any = (160, 20, 40)) -> bytes:
    """A photo of a box on white."""
    photo = Image.new("RGB", size, "white")
    photo.paste(color, (size[0] // 3, size[1] // 4, size[0] * 2 // 3, size[1] * 3 // 4))
    buffer = io.BytesIO()
    photo.save(buffer, kind)
    return buffer.getvalue()


def box_mask(size: tuple[int, int] = (80, 100)) -> bytes:
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[size[1] // 4 : size[1] * 3 // 4, size[0] // 3 : size[0] * 2 // 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a service with the given settings, on SQLite unless a database is named."""
    running: list[TestClient] = []

    def begin(role: str | None = "admin", **settings: Any) -> Service:
        config = Config(folder=tmp_path / "service", painter=False, **{"refresh_seconds": 3600, **settings})
        app = create_app(config)
        state: State = app.state.caig
        headers = {} if role is None else {"Authorization": f"Bearer {state.keys.make(role, 'tester')}"}  # type: ignore[arg-type]
        client = TestClient(app, base_url="http://localhost", headers=headers, raise_server_exceptions=False)
        client.__enter__()
        running.append(client)
        return Service(client, state)

    yield begin
    for client in running:
        client.__exit__(None, None, None)


@pytest.fixture
def service(start: Start) -> Service:
    return start()


@pytest.fixture
def on_both(start: Start, database: str) -> Service:
    """The service on SQLite, and on PostgreSQL."""
    return start(database=database)
