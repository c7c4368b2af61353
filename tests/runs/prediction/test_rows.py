"""A row of predictions, and the file that rows go to."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from transfer_cli.errors import UserError
from transfer_cli.runs.prediction.rows import Row, columns, is_jsonl, row_of, writer

CLASSES = ("ant", "bee", "cat")


def test_the_likeliest_classes_each_with_its_probability() -> None:
    values = np.array([0.2, 0.5, 0.3])
    assert row_of("x", values, CLASSES, 1, None) == ["x", "bee", 0.5]
    assert row_of("x", values, CLASSES, 3, 0.5) == ["x", "bee", 0.5, "cat", 0.3, "ant", 0.2]
    assert row_of("x", values, CLASSES, 2, 0.51) == ["x", "unknown", 0.5, "cat", 0.3]
    assert columns(2) == ["path", "label", "probability", "label_2", "probability_2"]


def test_the_first_of_equals_as_everywhere() -> None:
    assert row_of("x", np.array([0.4, 0.2, 0.4]), CLASSES, 2, None) == ["x", "ant", 0.4, "cat", 0.4]
    values = np.tile([1.0, 3.0, 2.0], 100) / 600
    ranked = sorted(range(300), key=lambda label: -values[label])
    assert row_of("x", values, tuple(map(str, range(300))), 300, None)[1::2] == [*map(str, ranked)]


@pytest.mark.parametrize(
    ("format", "output", "expected"),
    [("auto", "a.jsonl", True), ("auto", "a.csv", False), ("auto", None, False), ("csv", "a.jsonl", False)],
)
def test_the_format_goes_by_the_ending_unless_it_is_said(format: str, output: str | None, expected: bool) -> None:
    assert is_jsonl(format, output) is expected


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_name_that_is_no_utf8_is_written_alike_in_every_locale(errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="utf-8", errors=errors))
    rows: list[Row] = [["b\udcff.png", "ant", 1.0]]
    for jsonl in (False, True):
        with writer("-", columns(1), jsonl) as write:
            write(rows)
    header, row, line = printed.getvalue().decode().splitlines()
    assert (header, row) == ("path,label,probability", "b\\udcff.png,ant,1.0")
    assert json.loads(line)["path"] == "b\udcff.png"


def interrupted() -> None:
    with writer("out.csv", columns(1), jsonl=False) as write:
        write([["a", "ant", 1.0]])
        raise KeyboardInterrupt


def test_a_file_is_there_once_it_is_whole() -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [*Path().glob("*.csv*")] == [*Path().glob(".*")] == []
    with writer("out.jsonl", columns(1), jsonl=True) as write:
        write([["ä\udce9", "ant", 1.0]])
        assert not Path("out.jsonl").exists()
        write([["b", "bee", 0.5]])
    lines = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert lines == [
        {"path": "ä\udce9", "label": "ant", "probability": 1.0},
        {"path": "b", "label": "bee", "probability": 0.5},
    ]


def test_a_folder_that_is_not_there_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"output=gone/out\.csv: cannot be written"), writer("gone/out.csv", [], False):
        pass
