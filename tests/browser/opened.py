"""Pages as a reader meets them: opened in headless Chromium, on a phone and a desk, light and dark.

    python -m tests.browser.opened [PAGE ...]        (needs chromium and the extra `browser`)

prints what is wrong with each page, and without pages says only whether it could be done.
"""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("playwright", "axe_playwright_python")
WIDTHS = (390, 1400)
HEIGHT = 900
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
GRAVE = ("serious", "critical")
# What is written into the page itself asks nobody.
_OWN = ("data:", "blob:", "about:")
_UNFOLD = "for (const one of document.querySelectorAll('details')) one.open = true"
_PRESS = "for (const one of document.querySelectorAll('th button')) one.click()"
_WIDTH = "document.scrollingElement.scrollWidth"


def chromium() -> str | None:
    """Where a browser of that kind is; None where there is none."""
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def missing() -> str | None:
    """What to install before pages can be opened; None where all is there."""
    needed = []
    if chromium() is None:
        needed.append(f"one of {', '.join(CHROMIUM)} (Debian: apt install chromium)")
    if not all(importlib.util.find_spec(package) for package in PACKAGES):
        needed.append("the extra `browser` (.venv/bin/pip install -e '.[browser]')")
    return f"Opening pages needs {' and '.join(needed)}." if needed else None


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser. RuntimeError with what `missing` says where it cannot be had."""
    if lacking := missing():
        raise RuntimeError(lacking)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium())
        try:
            yield opened
        finally:
            opened.close()


def faults(opened: Browser, page: Path) -> list[str]:
    """What is wrong with a page at each width (CSS pixels) and in each scheme, a line each; empty where nothing is.

    Every fold is opened and every table sorted by every column before the page is judged.
    """
    return [
        f"{width} px, {scheme}: {fault}"
        for width, scheme in itertools.product(WIDTHS, SCHEMES)
        for fault in _seen(opened, page.resolve().as_uri(), width, scheme)
    ]


def _seen(opened: Browser, address: str, width: int, scheme: Literal["light", "dark"]) -> list[str]:
    # Not as a phone: there the window grows with what is too wide, and nothing would scroll.
    context = opened.new_context(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    found: list[str] = []
    try:
        page = context.new_page()
        page.on("console", lambda said: found.append(f"console: {said.text}") if said.type == "error" else None)
        page.on("pageerror", lambda error: found.append(f"script: {error}"))
        page.on("request", lambda asked: found.append(f"request: {asked.url}") if _others(asked.url, address) else None)
        page.goto(address)
        found += _scrolling(page, width, "")
        page.evaluate(_UNFOLD)
        page.evaluate(_PRESS)
        found += _scrolling(page, width, ", unfolded")
        found += _inaccessible(page)
    finally:
        context.close()
    return [*dict.fromkeys(found)]


def _others(url: str, address: str) -> bool:
    return url != address and not url.startswith(_OWN)


def _scrolling(page: Page, width: int, state: str) -> Iterator[str]:
    if (needed := page.evaluate(_WIDTH)) > width:
        yield f"scrolls sideways{state}: {needed} px wide"


def _inaccessible(page: Page) -> Iterator[str]:
    from axe_playwright_python.sync_playwright import Axe

    for broken in Axe().run(page).response["violations"]:
        if broken["impact"] in GRAVE:
            first = broken["nodes"][0]["html"]
            yield f"axe, {broken['impact']}: {broken['help']} ({len(broken['nodes'])} times): {first[:200]}"


def main(*pages: str) -> None:
    """Print what is wrong with each page; exits with 1 where something is, and with a sentence where it cannot tell."""
    if lacking := missing():
        sys.exit(lacking)
    if not pages:
        return
    with browser() as opened:
        found = [f"{page}: {fault}" for page in pages for fault in faults(opened, Path(page))]
    print(*found or ["Nothing is wrong."], sep="\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
