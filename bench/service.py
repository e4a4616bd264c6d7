"""How fast and how safe is the click loop under load?

    python bench/service.py --seconds 60 --rate 400
    python bench/service.py --seconds 10 --kill

Starts `caig serve` on SQLite in a new folder, makes a product, lets the painter work on a long job, and sends `rate`
requests a second (a half decide, most of the rest impressions, clicks for one impression in ten) from this process on
a fixed schedule, so that a slow answer does not slow the load down: latency counts from when a request was due.
Prints the latencies' quantiles, the painter's progress, and whether the ledger holds exactly what was acknowledged.
With --kill the server is killed (SIGKILL) in mid-load, started again, and every acknowledged event must be there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from sqlalchemy import select

from caig.online.schema import impressions, open_database
from caig.service.keys import Keys
from caig.service.painter import original_ad
from caig.service.store import add_creatives

PHOTO = Path(__file__).parents[1] / "src/caig/demo/satsumas.jpg"
AGENT = {"user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A running server, waited for."""
    command = [sys.executable, "-m", "caig", "serve", "--folder", str(folder), "--port", str(port)]
    server = subprocess.Popen([*command, "--refresh-seconds", "5"])
    for _ in range(3000):
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                return server
        except httpx2.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def prepare(base: str, key: str, folder: Path) -> str:
    """A product with three stored ads, a campaign on them, and a long job that is being painted; the campaign's id."""
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        files = {"photo": PHOTO.read_bytes()}
        client.post("/v1/products", data={"id": "p", "title": "Satsumas"}, files=files).raise_for_status()
        engine = open_database(f"sqlite:///{folder}/ledger.db")
        add_creatives(engine, [stored_ad(folder, k) for k in range(4)])
        engine.dispose()
        rules = {"product_id": "p", "policy": "thompson", "floor": 0.05}
        campaign = client.post("/v1/campaigns", json=rules).raise_for_status().json()["campaign"]
        job = {"n": 32, "width": 1024, "height": 1024}
        started = client.post("/v1/products/p/creatives", json=job).raise_for_status().json()
        until_painting(client, started["id"])
    return str(campaign)


def until_painting(client: httpx2.Client, job: str) -> None:
    """Wait for the painter: loading its models takes a while."""
    for _ in range(600):
        if client.get(f"/v1/jobs/{job}").raise_for_status().json()["message"] == "painting":
            return
        time.sleep(0.5)
    raise SystemExit("the painter did not start its job")


def stored_ad(folder: Path, k: int) -> dict[str, Any]:
    """A creative's row without a painter: the photo itself."""
    width, height = original_ad(PHOTO, (64, 64)).shape[1::-1]
    facts = {"description": "", "parent": None, "layers": None, "seed": 0, "locked": False, "models": {}}
    ctr = dict.fromkeys(("utility", "ctr", "low", "high"), 0.02)
    kind = "generated" if k else "original"
    about = {"id": f"a{k}", "product_id": "p", "kind": kind, "file": "none.png", "basis": "simulated"}
    return {**about, **facts, **ctr, "width": width, "height": height, "created_at": k}


class Wire:
    """POSTs JSON over kept connections, with next to no work of its own: it shares the processors with the server."""

    def __init__(self, base: str, key: str) -> None:
        self.host, _, port = base.removeprefix("http://").partition(":")
        self.port, self.idle = int(port), deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()
        self.head = f"Host: {self.host}:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer; OSError or EOFError where there is none, SystemExit where it is a refusal."""
        while self.idle and self.idle[-1][0].at_eof():  # the server closes connections that were idle for long
            self.idle.pop()[1].close()
        reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection(self.host, self.port)
        content = json.dumps(body)
        writer.write(f"POST {path} HTTP/1.1\r\n{self.head}Content-Length: {len(content)}\r\n\r\n{content}".encode())
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        length = next(int(field[15:]) for field in fields if field.startswith("content-length:"))
        answer = await reader.readexactly(length)
        self.idle.append((reader, writer))
        if status.split()[1] != "200":
            raise SystemExit(f"{path}: {status}: {answer.decode()}")
        return dict(json.loads(answer))

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()


class Load:
    """Sends requests when they are due and keeps count of what was acknowledged."""

    def __init__(self, base: str, key: str, campaign: str, rate: float) -> None:
        self.client = Wire(base, key)
        self.path, self.rate, self.random = f"/v1/campaigns/{campaign}", rate, random.Random(0)
        self.shown: deque[tuple[float, dict[str, Any]]] = deque()
        self.seconds: dict[str, list[float]] = {"decide": [], "impression": [], "click": []}
        self.acknowledged: dict[str, set[str]] = {"impression": set(), "click": set()}
        self.statuses: Counter[str] = Counter()
        self.unanswered = 0
        self.stopped = False

    async def run(self, seconds: float) -> None:
        """Each tick starts a decide, or reports on an earlier one."""
        start, tasks = time.perf_counter(), []
        for k in range(int(seconds * self.rate)):
            due = start + k / self.rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if self.stopped:
                break
            tasks.append(asyncio.create_task(self.one(k, due)))
        await asyncio.gather(*tasks)
        self.client.close()

    async def one(self, k: int, due: float) -> None:
        ready = bool(self.shown) and self.shown[0][0] < time.perf_counter() - 0.3
        try:
            if k % 2 == 0 or not ready:
                answer = await self.send("decide", {}, due)
                self.shown.append((time.perf_counter(), answer))
                return
            _, decision = self.shown.popleft()
            await self.report("impression", decision, due)
            if self.random.random() < 0.1:
                await self.report("click", decision, time.perf_counter())
        except (OSError, EOFError):
            self.unanswered += 1

    async def send(self, kind: str, body: dict[str, Any], due: float) -> dict[str, Any]:
        answer = await self.client.post(f"{self.path}/{kind}", body)
        self.seconds[kind].append(time.perf_counter() - due)
        return answer

    async def report(self, kind: str, decision: dict[str, Any], due: float) -> None:
        answer = await self.send(kind, {"token": decision["token"], **AGENT}, due)
        self.statuses[f"{kind} {answer['status']}"] += 1
        self.acknowledged[kind].add(decision["impression_id"])


def kept(folder: Path) -> dict[str, set[str]]:
    """What the ledger holds."""
    engine = open_database(f"sqlite:///{folder}/ledger.db")
    moments = {"impression": impressions.c.shown_at, "click": impressions.c.clicked_at}
    with engine.connect() as connection:
        found = {
            kind: set(connection.execute(select(impressions.c.id).where(moment.is_not(None))).scalars())
            for kind, moment in moments.items()
        }
    engine.dispose()
    return found


def painter_progress(base: str, key: str) -> str:
    with httpx2.Client(base_url=base, headers={"Authorization": f"Bearer {key}"}) as client:
        (job,) = client.get("/v1/jobs").raise_for_status().json()["items"]
    return f"{job['status']}, {job['done']} of {job['total']} pictures"


async def loaded(load: Load, seconds: float, server: subprocess.Popen[bytes], kill: bool) -> None:
    """The load; with `kill` the server dies at two thirds of it."""
    running = asyncio.create_task(load.run(seconds))
    if kill:
        await asyncio.sleep(seconds * 2 / 3)
        os.kill(server.pid, signal.SIGKILL)
        load.stopped = True
    await running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--kill", action="store_true", help="kill the server in mid-load and start it again")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="caig-bench-"))
    key, base = Keys(folder).make("admin", "bench"), f"http://127.0.0.1:{chosen.port}"
    server = serve(folder, chosen.port)
    try:
        campaign = prepare(base, key, folder)
        load = Load(base, key, campaign, chosen.rate)
        before = painter_progress(base, key)
        used = sum(psutil.Process(server.pid).cpu_times()[:2])
        asyncio.run(loaded(load, chosen.seconds, server, chosen.kill))
        if chosen.kill:
            server.wait()
            server = serve(folder, chosen.port)
        else:
            used = sum(psutil.Process(server.pid).cpu_times()[:2]) - used
            print(f"server: {1000 * used / sum(map(len, load.seconds.values())):.2f} ms of processor time a request")
        print(f"painter: {before} -> {painter_progress(base, key)}")
    finally:
        server.terminate()
        server.wait()
    report(load, kept(folder), chosen.kill)


def report(load: Load, found: dict[str, set[str]], kill: bool) -> None:
    """Print the measures; exit 1 where the ledger and the client disagree."""
    every = np.concatenate([np.array(times) for times in load.seconds.values()])
    for kind, times in {**load.seconds, "all": every.tolist()}.items():
        quantiles = np.quantile(times, [0.5, 0.95, 0.99, 1]) * 1000 if len(times) else [float("nan")] * 4
        print(f"{kind:>10}: n {len(times)}, ms p50 {quantiles[0]:.1f} p95 {quantiles[1]:.1f} ", end="")
        print(f"p99 {quantiles[2]:.1f} max {quantiles[3]:.1f}")
    print("statuses:", json.dumps(load.statuses), "unanswered:", load.unanswered)
    lost = {kind: len(ids - found[kind]) for kind, ids in load.acknowledged.items()}
    more = {kind: len(found[kind] - ids) for kind, ids in load.acknowledged.items()}
    print(
        f"ledger: {len(found['impression'])} impressions, {len(found['click'])} clicks; acknowledged and lost {lost}, "
    )
    print(f"        kept without an acknowledgement {more}")
    if any(lost.values()) or (any(more.values()) and not kill):
        sys.exit(1)


if __name__ == "__main__":
    main()
