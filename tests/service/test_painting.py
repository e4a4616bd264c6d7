"""What the painter stores beside the picture, and when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from caig.data.themes import themes
from caig.online.learned import Learned, register, withdraw
from caig.pipeline import AdPipeline
from caig.service import painter as painter_module
from caig.service.config import Config
from caig.service.painter import Painter
from tests.cli.cli_fakes import Backgrounds, Prompts, Rewards
from tests.service.conftest import Service, Start


def test_theme_and_format_reach_the_job(service: Service) -> None:
    choices = service.call("GET", "/v1/choices")
    assert choices["themes"] == list(themes()) and {"name": "4:5", "width": 1080, "height": 1350} in choices["formats"]
    service.product()
    body = {"n": 2, "width": 182, "height": 64, "theme": "golden beach"}  # a banner: its placement is its own
    service.call("POST", "/v1/products/oat/creatives", 202, json=body)
    service.paint_all()
    ads = service.call("GET", "/v1/products/oat/creatives")["items"]
    places = themes()["golden beach"]["place"]
    assert [(ad["width"], ad["height"]) for ad in ads] == [(182, 64)] * 3
    assert all(ad["description"].startswith(places) for ad in ads if ad["kind"] == "generated")
    refused = service.call("POST", "/v1/products/oat/creatives", 422, json={**body, "theme": "moon"})
    assert "theme: expected one of studio pastel" in refused["detail"]


def test_reasons_hold_an_ad_against_its_siblings(service: Service) -> None:
    ads = service.creatives(n=2)
    for ad in ads[:2]:
        (other,) = (one for one in ads[:2] if one is not ad)
        brightest = ad["reasons"][0]
        lifts = ad["utility"] > other["utility"]  # the fake judge looks at brightness alone
        assert brightest["words"] == f"{'brighter' if lifts else 'darker'} than the others"
        assert (brightest["effect"] > 0) == lifts and brightest["unit"] == "L*"
    assert ads[-1]["kind"] == "original" and ads[-1]["reasons"] == []
    assert {tuple(ad["broken"]) for ad in ads} <= {(), ("product extended",)}
    service.call("POST", f"/v1/creatives/{ads[0]['id']}/repaint", 202, json={"description": "on slate", "seed": 9})
    service.paint_all()
    found = service.call("GET", "/v1/products/oat/creatives")["items"]
    (edited,) = (ad for ad in found if ad["kind"] == "edited")
    assert "than the others" in edited["reasons"][0]["words"]


def test_what_came_in_over_time(on_both: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three impressions at 0, 10 and 20 s, the second clicked, one of a robot: two steps of 10 s and 1 ms."""
    monkeypatch.setattr("caig.service.bots.FASTEST_CLICK", -1)
    campaign, start = on_both.campaign(), 1_700_000_000_000
    path = f"/v1/campaigns/{campaign}"
    assert on_both.call("GET", f"{path}/timeline") == {"start": 0, "step": 1, "arms": {}}
    shown = []
    for seconds in (0, 10, 20, 30):
        monkeypatch.setattr("caig.service.store.now", lambda now=start + 1000 * seconds: now)
        decision = on_both.call("POST", f"{path}/decide", json={})
        robot = {"user_agent": "Googlebot"} if seconds == 30 else {}
        on_both.call("POST", f"{path}/impression", json={"token": decision["token"], **robot})
        if seconds == 10:
            on_both.call("POST", f"{path}/click", json={"token": decision["token"]})
        shown.append(decision["creative_id"])
    told = on_both.call("GET", f"{path}/timeline?steps=2")
    assert (told["start"], told["step"]) == (start, 10_001)
    arms = told["arms"].values()
    sums = {name: [sum(arm[name][k] for arm in arms) for k in range(2)] for name in ("shown", "clicks")}
    assert sums == {"shown": [2, 1], "clicks": [1, 0]}
    assert told["arms"][shown[1]]["clicks"] == [1, 0]
    on_both.call("GET", "/v1/campaigns/none/timeline", 404)


def test_a_painter_that_starts_after_its_server_died_ends_at_once(tmp_path: Path) -> None:
    """By then its parent is another process, which never goes away."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = ("no such model",) * 3
    command = [sys.executable, "-m", "caig.service.painter", str(gone.pid), f"sqlite:///{tmp_path}/x.db", tmp_path]
    assert subprocess.run([*command, *names], timeout=60).returncode == 0
    assert not (tmp_path / "x.db").exists()


def test_the_server_tells_the_painter_who_it_is(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[object, ...]] = []
    monkeypatch.setattr("caig.service.state.subprocess.Popen", lambda command: started.append(command))
    state = start().state
    state.start_painter()
    c: Config = state.config
    assert started == [
        (sys.executable, "-m", "caig.service.painter", str(os.getpid()), c.url, c.folder, *("embedded",) * 3)
    ]


def test_a_model_that_is_withdrawn_or_broken_goes_out_of_use(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, fakes = service.state.engine, "python:tests.cli.cli_fakes"
    pipeline = AdPipeline(prompt_model=Prompts(), background_model=Backgrounds(), reward_model=Rewards())
    painter = Painter(engine=engine, files=service.state.files, pipeline=pipeline, parent=os.getppid())
    for role, name in (("reward", f"{fakes}:Rewards"), ("prompt", f"{fakes}:Nobody")):
        entry = Learned(role=role, fingerprint=role, name=name, parent=None, learned_from={}, learned_until=0)
        register(engine, entry, 0, in_use=True)
    used = painter.up_to_date()
    assert used.pipeline.reward_model is not pipeline.reward_model
    assert used.pipeline.prompt_model is pipeline.prompt_model and "Nobody" in capsys.readouterr().err
    withdraw(engine, "reward")
    assert used.up_to_date().pipeline == pipeline


def test_shares_are_kept_fresh_whatever_the_database_says(
    start: Start, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def skill(engine: object) -> float:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("database is locked")
        return 0.5

    monkeypatch.setattr("caig.service.state.campaigns.reward_skill", skill)
    start(refresh_seconds=0.01)
    deadline = time.monotonic() + 20
    while len(asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(asked) == 2 and "shares stay as they are: OSError('database is locked')" in capsys.readouterr().err


def test_no_more_pictures_are_read_than_are_compared(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.creatives(n=3)
    read, real = [], painter_module.read_photo
    monkeypatch.setattr(painter_module, "COMPARED", 1)
    monkeypatch.setattr(painter_module, "read_photo", lambda path: (read.append(path), real(path))[1])
    service.call("POST", "/v1/products/oat/creatives", 202, json={"n": 1, "width": 64, "height": 64, "seed": 2})
    service.paint_all()
    assert len(read) == 2, "the photo, and the best earlier ad"
