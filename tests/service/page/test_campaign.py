"""A campaign on the page, watched live."""

from __future__ import annotations

import time

import httpx2
from playwright.sync_api import expect

from caig.online.ledger import Event
from caig.service.state import State
from tests.service.page.browser import Watched
from tests.service.page.conftest import ads_of_a_product, button


def test_a_campaign_is_watched_live(page: Watched, site: tuple[str, State]) -> None:
    """Clicks that come in while one looks change the numbers and the charts."""
    view, state = ads_of_a_product(page, site), site[1]
    button(view, "Lock Ad 1").click()
    expect(button(view, "Lock Ad 1")).to_have_attribute("aria-pressed", "true")
    button(view, "Start a campaign").click()
    expect(view.get_by_role("checkbox", name="Ad 1")).to_be_checked()
    expect(view.get_by_role("checkbox", name="Ad 2")).not_to_be_checked()
    view.get_by_role("checkbox", name="Ad 2").check()
    view.get_by_label("Minutes that a click counts").fill("1")
    page.check()
    button(view, "Start").click()
    expect(view.get_by_role("heading", name="Arms")).to_be_visible()
    expect(view.locator(".arm")).to_have_count(3)
    expect(view.get_by_role("img", name="Share of impressions over time")).to_be_visible()
    page.check()
    count_clicks(state)
    expect(view.locator(".totals")).to_contain_text("600")
    best = view.locator(".arm").filter(has_text="Ad 1")
    expect(best).to_contain_text("proven CTR")
    expect(button(view, "Promote Ad 1")).to_be_enabled()
    expect(button(view, "Promote Ad 2")).to_be_disabled()
    assert view.locator(".line").count() == 3
    page.check()
    button(view, "Promote Ad 1").click()
    expect(view.locator(".arm").filter(has_text="Ad 2")).to_contain_text("retired")
    launch_one_more(site)
    expect(view.locator(".arm")).to_have_count(4)
    button(view, "Stop").click()
    expect(view.get_by_text("Stopped", exact=True)).to_be_visible()
    view.get_by_role("link", name="Campaigns").click()
    expect(view.get_by_text("No campaign runs.")).to_be_visible()
    page.check()
    view.get_by_role("region", name="Stopped").get_by_role("link").click()
    expect(view.get_by_text("Stopped", exact=True)).to_be_visible()


def launch_one_more(site: tuple[str, State]) -> None:
    """What `caig learn` does: a fresh ad, and the running campaign with it."""
    (campaign,) = site[1].live
    with httpx2.Client(base_url=site[0], timeout=60) as client:
        body = {"n": 1, "width": 300, "height": 250, "seed": 12}
        job = client.post("/v1/products/box/creatives", json=body).json()["id"]
        while client.get(f"/v1/jobs/{job}").json()["status"] != "done":
            time.sleep(0.1)
        ads = client.get("/v1/products/box/creatives").json()["items"]
        newest = max(ads, key=lambda ad: ad["created_at"])
        client.post(f"/v1/campaigns/{campaign}/arms", json={"creatives": [newest["id"]]}).raise_for_status()


def count_clicks(state: State) -> None:
    """600 impressions of two minutes ago; every second one of the first ad is clicked."""
    (allocation,) = state.live.values()
    decisions = [allocation.decide(allocation.at - 120_000) for _ in range(600)]
    best = [d for d in decisions if d.creative_id == allocation.arms[1]]
    shown = [Event(kind="impression", at=d.decided_at, decision=d) for d in decisions]
    state.ledger.record([*shown, *(Event(kind="click", at=d.decided_at + 1, decision=d) for d in best[::2])])
