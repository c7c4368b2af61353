"""The page of a run: what it shows, that it needs nothing else, and that no run fails over it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TINY, Ended, summary
from tests.runs.reports.made import made
from transfer_cli.records.pages.pictures import thumbnail
from transfer_cli.runs.reports import run_report
from transfer_cli.runs.reports.run_report import images_of, leave_report, write_report

RUN = Path("outputs/runs/one")
OUTSIDE = re.compile(r"""(?:src|href)=(?!["'](?:data:|#))|url\(|@import""")


class Page(HTMLParser):
    """Text, headings and tags of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.headings, self._open = "", [], ""
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open not in ("style", "script"):
            self.text += data
        if self._open == "h2":
            self.headings.append(data)
            self._open = ""


def cells(page: Page, table: int) -> list[list[str]]:
    """The rows of a table as they are shown, its head first: as many cells each."""
    found = re.findall(r"<table.*?</table>", page.source, re.DOTALL)[table]
    rows = [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[hd][ >].*?</t[hd]>", row)]
        for row in re.findall(r"<tr[ >].*?</tr>", found)
    ]
    assert len({*map(len, rows)}) == 1
    return rows


def page_of(run: Path) -> Page:
    write_report(run, lambda: images_of(run))
    return Page(run / "report.html")


def test_all_that_a_run_leaves_is_on_its_page() -> None:
    page = page_of(made(RUN))
    assert page.headings == [
        *("What was done", "Images", "Scores", "Learning curves", "Confusion matrix", "Most confused pairs"),
        *("Each class", "Calibration", "Most confident mistakes", "Most uncertain images", "Parameters", "Time"),
        "Environment",
    ]
    for words in (
        "transfer-run name=one",
        "transfer-run --config-path outputs/runs/one name=again",
        "87.50 %",
        "8 of 9; 95\u00a0% interval 56.5–98.0\u00a0%",
        "Expected calibration error (ECE) 0.1000 on 9 test images",
        "10 of 1,000 parameters train.",
        "5.0 s in all",
    ):
        assert words in page.text, words
    assert "does not have everything" not in page.text
    assert [cells(page, table)[0][0] for table in range(page.source.count("<table"))] == [
        *("split", "score", "epoch", "true \\ predicted", "true", "class", "stage", "part")
    ]
    assert cells(page, 4) == [["true", "taken for", "images", "share"], ["class_0", "class_1", "1", "33.33 %"]]
    shades = [float(shade) for shade in re.findall(r"--s:([\d.]+)", page.source)]
    assert max(shades) == 1.0, "all images of two classes are right"
    pictures = [found for tag, found in page.tags if tag == "img"]
    assert len(pictures) == 1 + 9
    assert all(str(one["src"]).startswith("data:image/") and one["alt"] for one in pictures)
    images = images_of(RUN)
    wrong = int(images.splits["test"][0])
    assert pictures[0]["src"] == thumbnail(np.asarray(images.read(wrong)))
    assert images.ids[wrong] in page.text


def test_a_page_needs_no_other_file_and_no_script_from_elsewhere() -> None:
    page = page_of(made(RUN))
    assert not OUTSIDE.search(page.source)
    assert not any("src" in found for tag, found in page.tags if tag == "script")
    assert not re.search("https?:", page.source)
    (policy,) = [found["content"] for tag, found in page.tags if tag == "meta" and "http-equiv" in found]
    assert str(policy).startswith("default-src 'none'; img-src data:;")


def test_names_from_data_are_text() -> None:
    hostile = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}\u202e=1+1"]
    page = page_of(made(RUN, classes=hostile))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any("onerror" in found for _, found in page.tags)
    for name in (*hostile[:2], "{{ 7*7 }}\\u202e=1+1"):
        assert name in page.text


def test_classes_that_a_spreadsheet_would_take_for_formulas_are_known_again() -> None:
    page = page_of(made(RUN, classes=["=a", "+b", "-c"]))
    assert "Most confused pairs" in page.headings


def test_made_again_a_page_is_the_same(tmp_path: Path) -> None:
    made(RUN)
    first = page_of(RUN).source
    assert page_of(tmp_path / RUN).source == first


@pytest.mark.parametrize(
    ("gone", "headings", "said"),
    [
        ("predictions.csv", ["Each class", "Most confident mistakes"], "nothing of the test split"),
        ("metrics.jsonl", ["Learning curves"], "no curves"),
        ("parameters.csv", ["Parameters"], "no groups of parameters"),
        ("environment.json", ["Environment"], "no environment"),
        ("config.yaml", [], "no settings, and no command that repeats it"),
        ("dataset.json", ["Images"], "no sizes of the splits"),
    ],
)
def test_an_older_run_has_what_there_is_and_says_what_is_missing(gone: str, headings: list[str], said: str) -> None:
    (made(RUN) / gone).unlink()
    page = page_of(RUN)
    assert f"{gone} is missing" in page.text and said in page.text
    assert not {*headings} & {*page.headings}
    assert "Scores" in page.headings


def test_what_a_run_never_had_is_not_missed() -> None:
    run = made(RUN, "strategy=extract", test=None)
    about = json.loads((run / "dataset.json").read_text())
    (run / "dataset.json").write_text(json.dumps({**about, "images": {"train": 42, "val": 9, "test": 0}}))
    for name in ("parameters.csv", "predictions.csv"):
        (run / name).unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    page = page_of(run)
    assert "does not have everything" not in page.text
    assert "Learning curves" not in page.headings, "one epoch is no curve"


def test_images_that_are_gone_leave_their_paths() -> None:
    config = made(RUN) / "config.yaml"
    config.write_text(config.read_text().replace("samples: 60", "samples: 9"))
    page = page_of(RUN)
    assert "of the images to be shown are gone" in page.text
    assert "image not available" in page.text and "fake/" in page.text


def test_a_run_that_failed_has_a_page_with_its_reason() -> None:
    run = made(RUN, status="failed", error="the loss is not finite", test=None, val=None)
    (run / "predictions.csv").unlink()
    page = page_of(run)
    assert "the loss is not finite" in page.text
    assert "predictions.csv" not in page.text


def test_many_classes_have_their_most_confused_pairs_alone() -> None:
    names = [f"class {number}" for number in range(31)]
    run = made(RUN)
    about = json.loads((run / "dataset.json").read_text())
    (run / "dataset.json").write_text(json.dumps({**about, "classes": ["class_0", "class_1", "class_2", *names]}))
    page = page_of(run)
    assert "Confusion matrix" not in page.headings
    assert "Most confused pairs" in page.headings
    assert 'data-value="–"' not in page.source, "what is not known is not sorted by its dash"


def test_a_training_leaves_its_page_and_outlives_one_that_cannot_be_written(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = command(*TINY, "name=one", "trainer.epochs=1")
    assert ended.code == 0
    assert "warning" not in ended.out
    first = (RUN / "report.html").read_bytes()
    assert command("mode=report", f"run={RUN}").out.splitlines()[-1] == str(RUN / "report.html")
    assert (RUN / "report.html").read_bytes() == first
    assert {*summary(RUN)["seconds"]} == {"preparation", "training", "evaluation", "test"}

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(run_report, "atomic_write_text", full)
    ended = command(*TINY, "name=two", "trainer.epochs=0")
    assert ended.code == 0
    assert ended.out.count("warning: ") == 1
    assert "report.html could not be written" in ended.out
    assert summary("outputs/runs/two")["status"] == "completed"
    assert not Path("outputs/runs/two/report.html").exists()


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("x"), MemoryError(), RuntimeWarning("w")])
def test_whatever_goes_wrong_with_a_page_is_a_warning(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(facts: object) -> str:
        raise error

    monkeypatch.setattr(run_report, "run_page", broken)
    warnings: list[str] = []
    leave_report(made(RUN), lambda: images_of(RUN), warnings.append)
    assert len(warnings) == 1
