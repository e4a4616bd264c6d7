"""`caig keys`, `caig export` and what `caig serve` refuses; a real server answers, and dies cleanly."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil
import pytest
from sqlalchemy import insert

from caig.data.clicks import read_clicks
from caig.online.allocation import Rules
from caig.online.campaigns import Campaign, start
from caig.online.ledger import Event, Ledger
from caig.online.schema import creatives, open_database, products
from caig.service.keys import Keys
from caig.service.painter import NICENESS
from tests.online.conftest import creative, product
from tests.service.conftest import picture

DATABASE = "sqlite:///ledger.db"
NOON = 1_767_268_800_000  # 2026-01-01T12:00 UTC


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger in the working folder: campaign c1, two impressions on the first of January, one clicked."""
    monkeypatch.chdir(tmp_path)
    engine = open_database(DATABASE)
    with engine.begin() as connection:
        connection.execute(insert(products), [product("oat")])
        connection.execute(insert(creatives), [creative("original", 0.02), creative("ad-1", 0.03)])
    campaign = Campaign(id="c1", product_id="oat", rules=Rules(policy="uniform"))
    allocation = start(engine, campaign, ["original", "ad-1"], now=NOON)
    known = Ledger(engine)
    known.record([Event(kind="click", at=NOON + 1, decision=allocation.decide(NOON, group="=HYPERLINK(1)"))])
    known.record([Event(kind="impression", at=NOON + 2, decision=allocation.decide(NOON))])
    return known


def test_a_policy_for_another_ad_server(caig, ledger: Ledger) -> None:
    done = caig("export", "policy", "--database", DATABASE, "--campaign", "c1")
    assert done.code == 0
    assert json.loads(done.out) == {
        "campaign": "c1",
        "product": "oat",
        "version": 1,
        "at": NOON,
        "policy": "uniform",
        "control": "original",
        "probabilities": {"original": pytest.approx(0.545), "ad-1": pytest.approx(0.455)},
    }


def test_clicks_become_a_log(caig, ledger: Ledger, tmp_path: Path) -> None:
    done = caig("export", "clicks", "--database", DATABASE, "--out", "log.parquet")
    assert (done.code, done.out) == (0, "2 impressions, 1 clicked\nlog.parquet\n")
    assert sum(found.counts.clicks for found in read_clicks(tmp_path / "log.parquet").creatives) == 1
    assert "0 impressions" in caig(*_clicks("a.csv"), "--until", "2026-01-01").out
    assert "2 impressions" in caig(*_clicks("b.csv"), "--since", "2026-01-01", "--until", "2026-01-02").out
    assert "0 impressions" in caig(*_clicks("c.csv"), "--since", "2026-01-02").out


def _clicks(out: str) -> tuple[str, ...]:
    return ("export", "clicks", "--database", DATABASE, "--out", out)


def test_formulas_are_neutral_in_csv(caig, ledger: Ledger, tmp_path: Path) -> None:
    assert caig(*_clicks("log.csv")).code == 0
    text = (tmp_path / "log.csv").read_text()
    assert ",'=HYPERLINK(1)," in text and ",=HYPERLINK" not in text
    assert sum(found.counts.impressions for found in read_clicks(tmp_path / "log.csv").creatives) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "policy", "--database", DATABASE, "--campaign", "c2"), "campaign: expected one of c1, got 'c2'. "),
        ((*_clicks("log.txt"),), "out: expected a .parquet or .csv file, got log.txt. Rename it."),
        ((*_clicks("a.csv"), "--since", "May"), "since: expected a day such as 2026-01-31, got 'May'. "),
        (
            ("export", "policy", "--database", "redis://x", "--campaign", "c1"),
            "database redis://x: expected sqlite:///",
        ),
        (("keys", "Shop A"), "key: expected a role among admin, events and a name of a-z, 0-9 and -, got "),
        (("serve", "--host", "0.0.0.0", "--insecure"), "--insecure: expected a loopback address, got --host 0.0.0.0. "),
        (("serve", "--upload-bytes", "0"), "upload_bytes: expected a number above 0, got 0. Raise it."),
        (("serve", "--database", "mysql://x/y"), "database mysql://x/y: expected sqlite:///FILE or postgresql://"),
    ],
)
def test_bad_input(caig, ledger: Ledger, arguments: tuple[str, ...], message: str) -> None:
    done = caig(*arguments)
    assert done.err.startswith(f"error: {message}") and done.err.count("\n") == 1
    assert (done.code, done.out) == (2, "")


def test_keys_are_made_and_revoked(caig, tmp_path: Path) -> None:
    made = caig("keys", "shop-1")
    assert made.code == 0 and made.out.startswith("caig_events_shop-1_")
    assert caig("keys", "shop-1").out == made.out
    assert caig("keys", "shop-1", "--role", "admin").out.startswith("caig_admin_shop-1_")
    assert caig("keys", "shop-1", "--revoke").out == "revoked shop-1\n"
    assert "a name that was never revoked" in caig("keys", "shop-1").err


def test_a_port_in_use_is_told(caig) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = caig("serve", "--port", port, "--no-painter")
    assert done.code == 2
    told = f"error: 127.0.0.1:{port}: expected a free address of this machine, got another. "
    assert done.err.splitlines()[-1] == f"{told}Choose another --port or --host."


def test_a_missing_extra_is_told(caig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == "uvicorn" else real(name, *more)
    )
    done = caig("serve", "--folder", "nowhere")
    assert done.code == 2 and 'Run: pip install "caig[service]"' in done.err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
def test_a_real_server_paints_beside_its_answers(tmp_path: Path) -> None:
    """Started by the command, with a painter of its own that is niced, does a job, and ends with the server."""
    folder, base = tmp_path / "service", "http://127.0.0.1:18765"
    fakes = {"prompt": "Prompts", "background": "Backgrounds", "reward": "Rewards"}
    models = [f"--{role}-model=python:tests.cli.cli_fakes:{name}" for role, name in fakes.items()]
    command = [sys.executable, "-m", "caig", "serve", "--folder", str(folder), "--port", "18765", *models]
    server = subprocess.Popen(command)
    key = Keys(folder).make("admin", "tester")
    try:
        with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            assert until(lambda: client.get("/healthz").json() == {"status": "ok", "painter": True})
            files = {"photo": picture()}
            assert client.post("/v1/products", data={"id": "box", "title": "Box"}, files=files).status_code == 201
            body = {"n": 2, "width": 64, "height": 64}
            job = client.post("/v1/products/box/creatives", json=body).json()["id"]
            (painter,) = psutil.Process(server.pid).children()
            assert until(lambda: client.get(f"/v1/jobs/{job}").json()["status"] == "done")
            assert painter.nice() == min(19, psutil.Process(server.pid).nice() + NICENESS)
            assert len(client.get("/v1/products/box/creatives").json()["items"]) == 3
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) in (0, -signal.SIGTERM)
    assert until(lambda: not painter.is_running())


def until(true: Callable[[], bool]) -> bool:
    """Whether it becomes true within two minutes; a server that does not listen yet is waited for."""
    for _ in range(600):
        with contextlib.suppress(httpx2.TransportError):
            if true():
                return True
        time.sleep(0.2)
    return False
