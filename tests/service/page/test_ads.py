"""From a dropped photo to ranked ads, compared, edited, locked and downloaded."""

from __future__ import annotations

import base64
import io
import zipfile

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import expect

from caig.service.state import State
from tests.service.conftest import picture
from tests.service.page.browser import Watched
from tests.service.page.conftest import ads_of_a_product, button

MARKUP = '<img src=x onerror="alert(1)"> "Tea" & <script>alert(2)</script>'
DROP = """([zone, data]) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "box.png", { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


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
