"""By keyboard, by thumb, with a key, and what the browser itself refuses."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from caig.service.state import State
from tests.service.conftest import picture
from tests.service.page.browser import Watched
from tests.service.page.conftest import ads_of_a_product, button, painted


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
