"""Pages open in a browser without errors, requests, sideways scrolling or serious barriers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.browser.opened import SCHEMES, WIDTHS, browser, faults, missing
from tests.conftest import TINY, Ended

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Command = Callable[..., Ended]
pytestmark = pytest.mark.browser
SOUND = """<!doctype html><html lang="en"><head><title>a page</title><link rel="icon" href="data:,"></head>
<body><main><h1>a page</h1>{}</main></body></html>"""
VIEWS = len(WIDTHS) * len(SCHEMES)


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    if lacking := missing():
        pytest.fail(lacking, pytrace=False)
    with browser() as one:
        yield one


def test_run(command: Command, opened: Browser) -> None:
    assert command(*TINY, "name=a").code == 0
    assert command("mode=explain", "run=outputs/runs/a", "explain.images=2", "trainer.device=cpu").code == 0
    assert faults(opened, Path("outputs/runs/a/report.html")) == []
    assert faults(opened, Path("outputs/runs/a/explanations/index.html")) == []


def test_run_of_many_classes_with_long_names(command: Command, opened: Browser) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        name = f"a_kind_whose_name_is_one_very_long_word_{number:02}"
        for copy in range(8):
            file = Path("photos", name, f"{copy}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(file)
    fake = [word for word in TINY if not word.startswith("dataset")]
    words = ["dataset=folder", "dataset.path=photos", "name=many", "strategy=extract", "augment=none"]
    assert command(*fake, *words).code == 0
    assert faults(opened, Path("outputs/runs/many/report.html")) == []


def test_sweep_and_list_of_runs(command: Command, opened: Browser) -> None:
    words = ["name=grid", "optimizer.lr=1e-2,1e-3", "augment=light,none", "seed=0,1", "trainer.epochs=1"]
    assert command("-m", *TINY, *words).code == 0
    assert faults(opened, Path("outputs/sweeps/grid/report.html")) == []
    assert command("mode=report", "format=page").code == 0
    (listed,) = Path("outputs").glob("*.html")
    assert faults(opened, listed) == []


def test_audit(command: Command, opened: Browser) -> None:
    assert command("mode=audit", *TINY, "name=a").code == 0
    assert faults(opened, Path("outputs/audits/a/report.html")) == []


@pytest.mark.parametrize(
    ("content", "fault", "views"),
    [
        ("<p>nothing</p>", None, 0),
        ('<img src="data:,">', "axe, critical: Images must have alternative text", VIEWS),
        ('<p style="color: #eee; background: #fff">pale</p>', "axe, serious: Elements must meet", VIEWS),
        ('<p style="width: 800px">wide</p>', "scrolls sideways: 8", len(SCHEMES)),
        ('<details>more<p style="width: 800px">wide</p></details>', "scrolls sideways, unfolded: 8", len(SCHEMES)),
        ("<script>absent()</script>", "script: absent is not defined", VIEWS),
        ('<script>console.error("oh")</script>', "console: oh", VIEWS),
        ('<img alt="far" src="http://127.0.0.1:9/far.png">', "request: http://127.0.0.1:9/far.png", VIEWS),
        ('<link rel="stylesheet" href="other.css">', "request: file:", VIEWS),
    ],
)
def test_what_is_wrong_is_found(opened: Browser, content: str, fault: str | None, views: int) -> None:
    page = Path("page.html")
    page.write_text(SOUND.format(content))
    found = faults(opened, page)
    assert sum(f": {fault}" in line for line in found) == views, found
    assert found == [] or fault
