"""The page in a headless Chromium: from a dropped photo to a live campaign, by mouse, keyboard and thumb."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from caig.online.ledger import Event
from caig.service.state import State
from tests.service.browser import Watched, chromium
from tests.service.conftest import Colours, Service, paint_all, picture, served

MARKUP = '<img src=x onerror="alert(1)"> "Tea" & <script>alert(2)</script>'
DROP = """([zone, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "box.png", { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
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


def test_from_a_dropped_photo_to_ranked_ads(page: Watched) -> None:
    """Titles are text wherever they appear, whatever they hold."""
    view = page.page
    view.goto("/")
    zone = view.locator(".drop").element_handle()
    view.evaluate(DROP, [zone, base64.b64encode(picture()).decode()])
    expect(view.locator(".drop")).to_contain_text("box.png")
    view.get_by_label("Title").fill(MARKUP)
    view.get_by_label("Theme").select_option(label="Golden beach")
    view.get_by_label("How many").select_option("4")
    view.get_by_text("Medium rectangle").click()
    page.check()
    button(view, "Make ads").click()
    expect(view.get_by_role("progressbar")).to_be_visible()
    expect(view.get_by_role("article")).to_have_count(5)
    expect(view.get_by_role("heading", level=1)).to_have_text(MARKUP)
    expect(view.locator("#live")).to_contain_text("4 new ads. Best: ")
    rates = [float(text.split(" %")[0]) for text in view.locator(".generated .ctr").all_text_contents()]
    assert rates == sorted(rates, reverse=True) and rates[0] > 0
    first = view.get_by_role("article", name="Ad 1")
    expect(first).to_contain_text("95 % interval")
    expect(first).to_contain_text("beach")
    expect(first.get_by_role("list", name="Why")).to_contain_text("than the others, lifts it by")
    page.check()
    view.goto("/#/")
    expect(view.locator(".tile strong")).to_have_text(MARKUP)
    assert view.locator("main img[src=x], main script").count() == 0


def test_two_side_by_side(page: Watched, site: tuple[str, State]) -> None:
    view = ads_of_a_product(page, site)
    button(view, "Compare Ad 2").click()
    expect(button(view, "Compare side by side")).to_be_disabled()
    button(view, "Compare Ad 1").click()
    button(view, "Compare side by side").click()
    box = view.get_by_role("dialog", name="Box")
    assert box.get_by_role("heading", level=3).all_text_contents() == ["Ad 2", "Ad 1"]
    lost, won = (float(text.split("chance of ")[1].split()[0]) for text in box.locator(".chance").all_text_contents())
    assert lost + won == pytest.approx(100, abs=1.1) and lost < 50 < won
    left, right = (side.bounding_box() for side in box.locator(".sides > section").all())
    assert left and right and left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    page.check()
    view.keyboard.press("Escape")
    expect(box).to_have_count(0)
    expect(button(view, "Compare side by side")).to_be_focused()
    button(view, "Clear").click()
    expect(view.get_by_role("complementary", name="Comparison")).to_be_hidden()


def test_an_edited_description_is_painted_anew(page: Watched, site: tuple[str, State]) -> None:
    view = ads_of_a_product(page, site)
    button(view, "Edit Ad 1").click()
    text = view.get_by_label("Description of the background")
    expect(text).to_be_focused()
    expect(text).to_have_value("Box on table 1" if "table 1" in text.input_value() else "Box on table 2")
    text.fill("on slate <b>bold</b>")
    page.check()
    button(view, "Repaint").click()
    expect(view.get_by_role("article")).to_have_count(4)
    edited = view.locator(".edited")
    expect(edited).to_contain_text("on slate <b>bold</b>")
    expect(edited.get_by_role("heading")).to_contain_text("edited from ad")


def test_locks_stay_and_downloads_are_the_files(page: Watched, site: tuple[str, State]) -> None:
    view = ads_of_a_product(page, site)
    lock = button(view, "Lock Ad 2")
    lock.click()
    expect(lock).to_have_attribute("aria-pressed", "true")
    view.reload()
    expect(button(view, "Lock Ad 2")).to_have_attribute("aria-pressed", "true")
    expect(button(view, "Lock Ad 1")).to_have_attribute("aria-pressed", "false")
    with view.expect_download() as got:
        button(view, "Download Ad 1 as PNG").click()
    assert got.value.suggested_filename == "box-1.png" and Image.open(got.value.path()).size == (300, 250)
    with view.expect_download() as got:
        button(view, "Download Ad 1 with layers, as OpenRaster").click()
    assert got.value.suggested_filename == "box-1.ora"
    assert "data/product.png" in zipfile.ZipFile(io.BytesIO(got.value.path().read_bytes())).namelist()


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
    button(view, "Stop").click()
    expect(view.get_by_text("Stopped", exact=True)).to_be_visible()
    view.get_by_role("link", name="Campaigns").click()
    expect(view.get_by_text("No campaign runs.")).to_be_visible()


def count_clicks(state: State) -> None:
    """600 impressions of two minutes ago; every second one of the first ad is clicked."""
    (allocation,) = state.live.values()
    decisions = [allocation.decide(allocation.at - 120_000) for _ in range(600)]
    best = [d for d in decisions if d.creative_id == allocation.arms[1]]
    shown = [Event(kind="impression", at=d.decided_at, decision=d) for d in decisions]
    state.ledger.record([*shown, *(Event(kind="click", at=d.decided_at + 1, decision=d) for d in best[::2])])


def test_by_keyboard_alone(page: Watched, tmp_path: Path) -> None:
    """Tab, arrows, Space and Enter; the focus is always seen."""
    (tmp_path / "box.png").write_bytes(picture())
    view = page.page
    view.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "box.png"))
    view.goto("/")
    expect(view.get_by_role("heading", level=1)).to_be_visible()
    tab_to(view, "#photo")
    view.keyboard.press("Space")
    expect(view.locator(".drop")).to_contain_text("box.png")
    tab_to(view, "[name=title]")
    view.keyboard.type("Box")
    tab_to(view, "[name=format]")
    for _ in range(5):
        view.keyboard.press("ArrowRight")  # on to the medium rectangle
    tab_to(view, "[type=submit]")
    view.keyboard.press("Enter")
    expect(view.get_by_role("article")).to_have_count(5)
    tab_to(view, "[aria-label='Lock Ad 1']")
    view.keyboard.press("Space")
    expect(button(view, "Lock Ad 1")).to_have_attribute("aria-pressed", "true")
    tab_to(view, "[aria-label='Edit Ad 1']")
    view.keyboard.press("Enter")
    view.keyboard.press("Control+A")
    view.keyboard.type("on ice")
    tab_to(view, "dialog [type=submit]")
    view.keyboard.press("Enter")
    expect(view.get_by_role("article")).to_have_count(6)


def tab_to(view: Page, selector: str) -> None:
    """Press Tab until the element has the focus, and see that its outline is drawn on it or on its label."""
    for _ in range(80):
        view.keyboard.press("Tab")
        if view.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            break
    outline = "(n) => (n.classList.contains('unseen') ? n.closest('label') : n)"
    style = view.evaluate(f"() => getComputedStyle(({outline})(document.activeElement)).outlineStyle")
    assert view.evaluate("(selector) => document.activeElement.matches(selector)", selector), selector
    assert style == "solid", selector


def test_on_a_phone(browser: Browser, site: tuple[str, State]) -> None:
    """390 by 844, touched: nothing scrolls sideways, nothing is too small for a thumb."""
    watched = Watched(browser, site[0], viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    view = ads_of_a_product(watched, site)
    watched.check()
    button(view, "Compare Ad 1").tap()
    button(view, "Compare Ad 2").tap()
    button(view, "Compare side by side").tap()
    watched.check()
    button(view, "Close").tap()
    button(view, "Start a campaign").tap()
    button(view, "Start").tap()
    expect(view.locator(".arm")).to_have_count(3)
    watched.check()
    view.goto("/#/")
    expect(view.get_by_label("Title")).to_be_visible()
    watched.check()
    watched.context.close()
    assert watched.complaints == []


def test_a_key_is_asked_for_and_kept_for_the_tab(browser: Browser, tmp_path: Path) -> None:
    with painted(tmp_path / "service") as (url, state):
        watched = Watched(browser, url)
        view, key = watched.page, watched.page.get_by_label("Admin key")
        view.goto("/")
        for wrong, told in (
            ("nonsense", "refused this key"),
            (state.keys.make("events", "shop"), "reports events only"),
        ):
            key.fill(wrong)
            button(view, "Continue").click()
            expect(view.get_by_role("dialog")).to_contain_text(told)
        key.fill(state.keys.make("admin", "me"))
        button(view, "Continue").click()
        expect(view.get_by_label("Title")).to_be_visible()
        assert view.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        view.reload()
        expect(view.get_by_label("Title")).to_be_visible()
        expect(view.get_by_role("dialog")).to_have_count(0)
        button(view, "Forget key").click()
        expect(key).to_be_visible()
        watched.context.close()
    refusals = [text for text in watched.complaints if "401" in text or "403" in text]
    assert watched.complaints == refusals  # the browser tells of each refusal itself


def test_a_failed_job_says_why(page: Watched, site: tuple[str, State]) -> None:
    noise = io.BytesIO()
    Image.effect_noise((80, 80), 90).convert("RGB").save(noise, "png")
    with httpx2.Client(base_url=site[0], timeout=60) as client:
        client.post("/v1/products", data={"id": "busy", "title": "Busy"}, files={"photo": noise.getvalue()})
        page.page.goto("/#/products/busy")
        expect(page.page.get_by_role("group").get_by_text("Make more ads")).to_be_visible()
        page.page.get_by_text("Medium rectangle").click()
        button(page.page, "Make ads").click()
    expect(page.page.get_by_role("alert")).to_contain_text("expected a product on a plain ground")
    page.check()


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


def test_the_policy_lets_no_text_become_markup(page: Watched) -> None:
    """The browser itself refuses what the sources do not do."""
    page.page.goto("/")
    expect(page.page.get_by_label("Title")).to_be_visible()
    told = page.page.evaluate(
        "() => { try { document.body.innerHTML = '<p>'; return 'done' } catch (e) { return e.name } }"
    )
    assert told == "TypeError"
    assert any("TrustedHTML" in text for text in page.complaints)
    page.complaints.clear()
