"""A headless Chromium from Debian's package, and what is asked of every view."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.installing import leave_out

PATIENCE = 30_000  # ms; a busy machine is slow
PROGRAMS = ("chromium", "google-chrome")

# Each control needs a name, each picture a text or an empty one, each id to be the only one, each view one h1.
FAULTS = """() => {
  const seen = (node) => node.checkVisibility({ visibilityProperty: true });
  const labels = (node) => [...(node.labels ?? [])].map((label) => label.textContent.trim()).join("");
  const name = (node) => node.ariaLabel || node.textContent.trim() || node.title || labels(node);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const faults = all("a, button, input, select, textarea, summary, progress").filter((n) => seen(n) && !name(n));
  const found = faults.map((node) => `no name: ${node.outerHTML.slice(0, 120)}`);
  for (const image of all("img:not([alt])")) found.push(`no alt: ${image.outerHTML.slice(0, 120)}`);
  const ids = all("[id]").map((node) => node.id);
  for (const id of ids.filter((id, k) => ids.indexOf(id) !== k)) found.push(`id twice: ${id}`);
  if (all("h1").length !== 1) found.push(`${all("h1").length} h1`);
  const levels = all("h1, h2, h3").filter(seen).map((node) => Number(node.tagName[1]));
  levels.forEach((level, k) => k && level > levels[k - 1] + 1 && found.push(`h${level} after h${levels[k - 1]}`));
  if (!document.documentElement.lang || !document.title) found.push("no language or title");
  return found;
}"""

# WCAG 2.2: 4.5 to 1 between text and what lies behind it.
FAINT = """() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const linear = (c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest("svg, :disabled, .unseen, .retired")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
    if (a / b < 4.5) found.add(`${(a / b).toFixed(2)}: ${node.className} ${node.textContent.slice(0, 40)}`);
  }
  return [...found];
}"""

SMALL = """() => [...document.querySelectorAll("button, select, summary, .format, .tile, .lock")]
  .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.closest(".unseen"))
  .map((node) => [node.textContent.slice(0, 30), node.getBoundingClientRect()])
  .filter(([, box]) => box.width < 24 || box.height < 24).map(([text]) => text)"""


def program() -> str:
    """Path of the browser; skips where there is none and none can be installed."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    return found or leave_out("Chromium", "make browser")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # root can't have one
        yield browser
        browser.close()


class Watched:
    """A page whose every complaint is kept: errors, violations of the security policy, requests to elsewhere."""

    def __init__(self, browser: Browser, base: str, **options: Any) -> None:
        options = {"viewport": {"width": 1280, "height": 860}, **options}
        self.context, self.base = browser.new_context(base_url=base, **options), base
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        self.complaints: list[str] = []
        self.page.on("console", lambda told: self._tell(told.type in ("error", "warning"), told.text))
        self.page.on("pageerror", lambda error: self._tell(True, str(error)))
        self.page.on("request", lambda request: self._tell(not self._own(request.url), request.url))
        self.page.on("dialog", lambda dialog: dialog.accept())

    def _own(self, url: str) -> bool:
        return url.startswith((f"{self.base}/", "blob:", "data:"))

    def _tell(self, bad: bool, text: str) -> None:
        if bad:
            self.complaints.append(text)

    def check(self) -> None:
        """What holds in every view, in light and in dark."""
        page = self.page
        assert page.evaluate(FAULTS) == []
        assert page.evaluate(SMALL) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            assert page.evaluate(FAINT) == [], scheme
