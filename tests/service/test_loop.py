"""From a photo to shifted impressions, over HTTP, on SQLite and PostgreSQL."""

from __future__ import annotations

import io
import zipfile

import pytest
from PIL import Image

from caig.online.campaigns import latest
from caig.online.ledger import Event
from caig.pipeline import AdPipeline
from caig.service import store
from caig.service.bots import CLICKS_A_MINUTE, Suspicions
from caig.service.painter import Painter
from tests.cli.cli_fakes import Backgrounds, Prompts, Rewards
from tests.service.conftest import Service, Start, box_mask, picture

LATER = {"user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


@pytest.fixture(autouse=True)
def nobody_is_too_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caig.service.bots.FASTEST_CLICK", -1)


def decide(service: Service, campaign: str, **body: object) -> dict:
    return service.call("POST", f"/v1/campaigns/{campaign}/decide", json=body)


def report(service: Service, campaign: str, kind: str, token: str, status: int = 200, **body: object) -> str:
    answer = service.call("POST", f"/v1/campaigns/{campaign}/{kind}", status, json={"token": token, **body})
    return str(answer["status"])


def test_from_photo_to_clicks(on_both: Service) -> None:
    campaign = on_both.campaign()
    decision = decide(on_both, campaign, position=2, group="browsers")
    policy = on_both.call("GET", f"/v1/campaigns/{campaign}/policy")
    assert decision["propensity"] == policy["probabilities"][decision["creative_id"]]
    assert report(on_both, campaign, "impression", decision["token"]) == "counted"
    assert report(on_both, campaign, "click", decision["token"]) == "counted"
    assert report(on_both, campaign, "click", decision["token"]) == "repeated"
    assert report(on_both, campaign, "conversion", decision["token"], value=12.5) == "counted"
    (row,) = on_both.state.ledger.export().to_dicts()
    assert (row["impression_id"], row["creative_id"]) == (decision["impression_id"], decision["creative_id"])
    assert (row["clicked"], row["conversion"], row["value"], row["position"]) == (True, True, 12.5, 2)
    assert (row["group"], row["propensity"]) == ("browsers", decision["propensity"])
    stats = on_both.call("GET", f"/v1/campaigns/{campaign}/stats")
    assert stats["events"] == {
        "impression": {"counted": 1},
        "click": {"counted": 1, "repeated": 1},
        "conversion": {"counted": 1},
    }
    assert [arm["shown"] for arm in stats["arms"]] == [0, 0, 0]  # its time for clicks is not over


def test_shares_follow_clicks_and_a_proven_arm_is_promoted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start(events_per_second=10_000)
    campaign = service.campaign(policy="epsilon-greedy", click_window=1)
    control, good, _ = service.call("GET", f"/v1/campaigns/{campaign}/policy")["probabilities"]
    refused = service.call("POST", f"/v1/campaigns/{campaign}/promote", 409, json={"creative_id": good})
    assert refused["detail"].endswith("not credibly clicked more than the original.")
    ledger, allocation = service.state.ledger, service.state.live[campaign]
    decisions = [allocation.decide(0) for _ in range(3000)]
    kinds = [("click" if d.creative_id == good and k % 2 else "impression", d) for k, d in enumerate(decisions)]
    ledger.record([Event(kind=kind, at=1, decision=d) for kind, d in kinds])  # type: ignore[arg-type]
    service.client.portal.call(service.state.refresh, allocation.campaign, 0.0)  # type: ignore[union-attr]
    shares = service.call("GET", f"/v1/campaigns/{campaign}/policy")["probabilities"]
    assert shares[good] == pytest.approx(0.7)
    stats = service.call("GET", f"/v1/campaigns/{campaign}/stats")
    best = next(arm for arm in stats["arms"] if arm["creative_id"] == good)
    assert stats["fits"] and best["promote"] and best["lead"]["low"] > 0.2
    promoted = service.call("POST", f"/v1/campaigns/{campaign}/promote", json={"creative_id": good})
    assert set(promoted["probabilities"]) == {control, good}
    history = service.call("GET", f"/v1/campaigns/{campaign}/allocations")["items"]
    assert [one["version"] for one in history] == [1, 2, 3]
    assert service.call("GET", f"/v1/campaigns/{campaign}/allocations?since=2")["items"] == history[2:]


def test_foreign_tokens_are_refused_and_kept(service: Service) -> None:
    campaign, other = service.campaign("one"), service.campaign("two")
    token = decide(service, campaign)["token"]
    forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    for bad in (forged, "rubbish", "", "a.b"):
        assert report(service, campaign, "click", bad, 403) == "403"
    assert report(service, other, "impression", token, 403) == "403"
    stats = service.call("GET", f"/v1/campaigns/{campaign}/stats")
    assert stats["events"] == {"click": {"unknown": 4}}
    assert service.call("GET", f"/v1/campaigns/{other}/stats")["events"] == {"impression": {"unknown": 1}}
    assert service.state.ledger.export().is_empty()


def test_late_events_are_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = service.campaign(click_window=1, order_window=3600)
    token = decide(service, campaign)["token"]
    real = store.now
    monkeypatch.setattr("caig.service.store.now", lambda: real() + 2000)
    assert report(service, campaign, "impression", token) == "late"
    assert report(service, campaign, "conversion", token) == "counted"


def test_a_robot_is_counted_and_marked(service: Service) -> None:
    campaign = service.campaign()
    token = decide(service, campaign)["token"]
    assert report(service, campaign, "impression", token, user_agent="Googlebot/2.1") == "bot"
    assert report(service, campaign, "click", token, **LATER) == "counted"
    assert service.state.ledger.export().is_empty()


def test_a_click_sooner_than_a_hand_moves_is_suspect(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caig.service.bots.FASTEST_CLICK", 60_000)
    campaign = service.campaign()
    assert report(service, campaign, "click", decide(service, campaign)["token"]) == "bot"


def test_a_visitor_who_clicks_all_the_time_is_suspect() -> None:
    suspicions = Suspicions()
    found = [suspicions.click(None, "v", after=5000) for _ in range(CLICKS_A_MINUTE + 1)]
    assert found == [False] * CLICKS_A_MINUTE + [True]
    assert not suspicions.click(None, "another", after=5000)


@pytest.mark.parametrize(
    ("agent", "robot"), [(None, False), ("", True), (LATER["user_agent"], False), ("HeadlessChrome", True)]
)
def test_robots_by_name(agent: str | None, robot: bool) -> None:
    assert Suspicions().robot(agent) == robot


def test_a_value_above_the_campaigns_highest_is_refused(service: Service) -> None:
    campaign = service.campaign(highest_value=50)
    token = decide(service, campaign)["token"]
    body = {"token": token, "value": 50.5}
    refused = service.call("POST", f"/v1/campaigns/{campaign}/conversion", 422, json=body)
    assert refused["detail"] == "value: expected at most 50, the campaign's highest_value, got 50.5."
    assert report(service, campaign, "conversion", token, value=50) == "counted"


def test_a_stopped_campaign_decides_no_more_but_still_counts(service: Service) -> None:
    campaign = service.campaign()
    token = decide(service, campaign)["token"]
    service.call("DELETE", f"/v1/campaigns/{campaign}", 204)
    service.call("POST", f"/v1/campaigns/{campaign}/decide", 404, json={})
    assert report(service, campaign, "impression", token) == "counted"
    assert report(service, campaign, "conversion", token, value=3) == "counted"
    assert service.call("GET", f"/v1/campaigns/{campaign}/stats")["events"]["impression"] == {"counted": 1}
    assert service.call("GET", "/v1/campaigns")["items"] == []
    (last,) = service.call("GET", "/v1/campaigns?stopped=true")["items"]
    assert last["campaign"] == campaign and sum(last["probabilities"].values()) == pytest.approx(1)


def test_a_restart_goes_on_where_it_was(start: Start) -> None:
    first = start()
    campaign = first.campaign()
    token = decide(first, campaign)["token"]
    second = start()
    assert report(second, campaign, "click", token) == "counted"
    assert latest(second.state.engine, second.state.known[campaign]).version == 1  # type: ignore[union-attr]


def test_creatives_are_ranked_repainted_locked_and_fetched(on_both: Service) -> None:
    ads = on_both.creatives(n=3)
    assert [ad["kind"] for ad in ads] == ["generated"] * 3 + ["original"]
    assert ads[0]["utility"] >= ads[1]["utility"] >= ads[2]["utility"]
    assert ads[0]["basis"] == "simulated" and ads[0]["models"]["background"]["name"] == "fake backgrounds"
    image = on_both.client.get(f"/v1/creatives/{ads[0]['id']}/image")
    assert Image.open(io.BytesIO(image.content)).size == (64, 64) and image.headers["content-type"] == "image/png"
    layers = on_both.client.get(f"/v1/creatives/{ads[0]['id']}/layers")
    assert "stack.xml" in zipfile.ZipFile(io.BytesIO(layers.content)).namelist()
    on_both.call("GET", f"/v1/creatives/{ads[-1]['id']}/layers", 404)
    assert on_both.call("PATCH", f"/v1/creatives/{ads[0]['id']}", json={"locked": True})["locked"]
    body = {"description": "on slate", "seed": 5}
    job = on_both.call("POST", f"/v1/creatives/{ads[0]['id']}/repaint", 202, json=body)
    assert (job["status"], job["total"]) == ("queued", 1)
    on_both.paint_all()
    assert on_both.call("GET", f"/v1/jobs/{job['id']}")["status"] == "done"
    edited = [ad for ad in on_both.call("GET", "/v1/products/oat/creatives")["items"] if ad["kind"] == "edited"]
    assert [(ad["description"], ad["parent"]) for ad in edited] == [("on slate", ads[0]["id"])]


def test_the_same_job_twice_makes_no_ad_twice(service: Service) -> None:
    ads = service.creatives()
    service.call("POST", "/v1/products/oat/creatives", 202, json={"n": 2, "width": 64, "height": 64, "seed": 1})
    service.paint_all()
    assert len(service.call("GET", "/v1/products/oat/creatives")["items"]) == len(ads) == 3


def test_a_painter_whose_server_is_gone_leaves_the_job_to_the_next(service: Service) -> None:
    service.product()
    job = service.call("POST", "/v1/products/oat/creatives", 202, json={"n": 3, "width": 64, "height": 64})
    claimed = store.claim_job(service.state.engine)
    assert claimed is not None
    pipeline = AdPipeline(prompt_model=Prompts(), background_model=Backgrounds(), reward_model=Rewards())
    orphan = Painter(engine=service.state.engine, files=service.state.files, pipeline=pipeline, parent=-1)
    with pytest.raises(SystemExit, match="its server is gone"):
        orphan.work(claimed)
    told = service.call("GET", f"/v1/jobs/{job['id']}")
    assert (told["status"], told["done"]) == ("running", 1)
    store.requeue(service.state.engine)
    service.paint_all()
    assert service.call("GET", f"/v1/jobs/{job['id']}")["status"] == "done"
    assert len(service.call("GET", "/v1/products/oat/creatives")["items"]) == 4


def test_a_photo_that_can_not_be_cut_out_fails_its_job_with_the_reason(service: Service) -> None:
    noise = io.BytesIO()
    Image.effect_noise((80, 80), 90).convert("RGB").save(noise, "png")
    service.product("busy", noise.getvalue())
    job = service.call("POST", "/v1/products/busy/creatives", 202, json={"n": 1, "width": 64, "height": 64})
    service.paint_all()
    told = service.call("GET", f"/v1/jobs/{job['id']}")
    assert told["status"] == "failed" and told["message"].startswith("photo: expected a product on a plain ground, got")
    assert told["message"].endswith(". Upload the product again with a mask, white on the product.")
    assert "/" not in told["message"] and "--" not in told["message"]


def test_a_mask_goes_with_its_photo(service: Service) -> None:
    noise = io.BytesIO()
    Image.effect_noise((80, 100), 90).convert("RGB").save(noise, "png")
    files = {"photo": noise.getvalue(), "mask": box_mask()}
    service.call("POST", "/v1/products", 201, data={"id": "busy", "title": "Box"}, files=files)
    service.call("POST", "/v1/products/busy/creatives", 202, json={"n": 1, "width": 64, "height": 64})
    service.paint_all()
    assert len(service.call("GET", "/v1/products/busy/creatives")["items"]) == 2
    files = {"photo": picture((90, 90)), "mask": box_mask()}
    refused = service.call("POST", "/v1/products", 422, data={"title": "Box"}, files=files)
    assert "expected a mask of the photo's size 90x90, got 80x100" in refused["detail"]


def test_lists_come_in_pages(on_both: Service) -> None:
    for k in range(5):
        on_both.product(f"p{k}")
    found, cursor = [], ""
    for _ in range(3):
        got = on_both.call("GET", "/v1/products", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        found += [item["id"] for item in got["items"]]
        cursor = got["next"]
    assert (found, cursor) == ([f"p{k}" for k in range(5)], None)
    assert "cursor: expected" in on_both.call("GET", "/v1/products?cursor=x", 422)["detail"]


def test_campaigns_want_ads_of_one_size(service: Service) -> None:
    service.creatives()
    service.call("POST", "/v1/products/oat/creatives", 202, json={"n": 1, "width": 96, "height": 64})
    service.paint_all()
    refused = service.call("POST", "/v1/campaigns", 422, json={"product_id": "oat"})
    assert refused["detail"].startswith("creatives: expected ads of one size, got 2 sizes.")
    wide = [ad for ad in service.call("GET", "/v1/products/oat/creatives")["items"] if ad["width"] == 96]
    named = {"product_id": "oat", "creatives": [ad["id"] for ad in wide]}
    policy = service.call("POST", "/v1/campaigns", 201, json=named)
    assert set(policy["probabilities"]) == {ad["id"] for ad in wide}
    assert policy["control"] == next(ad["id"] for ad in wide if ad["kind"] == "original")


def test_arms_are_launched_and_retired(service: Service) -> None:
    ads = service.creatives(n=3)
    body = {"product_id": "oat", "creatives": [ads[0]["id"], ads[1]["id"]], "floor": 0.1, "control": 0.2}
    campaign = service.call("POST", "/v1/campaigns", 201, json=body)["campaign"]
    launched = service.call("POST", f"/v1/campaigns/{campaign}/arms", json={"creatives": [ads[2]["id"]]})
    assert len(launched["probabilities"]) == 4
    kept = service.call("DELETE", f"/v1/campaigns/{campaign}/arms/{ads[0]['id']}")
    assert ads[0]["id"] not in kept["probabilities"] and len(kept["probabilities"]) == 3
    service.call("DELETE", f"/v1/campaigns/{campaign}/arms/{kept['control']}", 422)
    service.call("POST", f"/v1/campaigns/{campaign}/arms", 404, json={"creatives": ["nobody"]})
    retired = service.call("POST", f"/v1/campaigns/{campaign}/arms", 422, json={"creatives": [ads[0]["id"]]})
    assert "expected one that was not retired" in retired["detail"]


def test_arms_have_their_campaigns_size(service: Service) -> None:
    """A wide ad would bring its own original along."""
    campaign = service.campaign()
    service.call("POST", "/v1/products/oat/creatives", 202, json={"n": 1, "width": 96, "height": 64})
    service.paint_all()
    before = service.call("GET", f"/v1/campaigns/{campaign}/policy")["probabilities"]
    for ad in service.call("GET", "/v1/products/oat/creatives")["items"]:
        if ad["width"] == 96:
            refused = service.call("POST", f"/v1/campaigns/{campaign}/arms", 422, json={"creatives": [ad["id"]]})
            assert "expected ads of 64x64, the campaign's size, got" in refused["detail"]
    assert service.call("GET", f"/v1/campaigns/{campaign}/policy")["probabilities"] == before
