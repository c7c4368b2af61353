"""Words fit and carry no control characters."""

from __future__ import annotations

import pytest

from transfer_cli.records.text import (
    duration,
    fit,
    is_numeric,
    percent,
    plain_table,
    printable,
    shortened,
    stacked_table,
)


def test_control_characters_are_shown_not_sent() -> None:
    assert printable("a\x1b[31m\r\x07\x9b\tb\nc é") == "a\\x1b[31m\\r\\x07\\x9b\\tb\nc é"


def test_what_the_encoding_lacks_is_escaped() -> None:
    assert printable("é花", "latin-1") == "é\\u82b1"
    assert printable("b\udcff.jpg") == "b\\udcff.jpg"


def test_the_least_important_parts_go_first() -> None:
    parts = [(0, "epoch"), (2, "step"), (1, "left")]
    assert fit(parts, 17) == "epoch  step  left"
    assert fit(parts, 16) == "epoch  left"
    assert fit(parts, 3) == "epoch"


def test_tables_align() -> None:
    text = plain_table("two", ["split", "loss"], [["val", "0.5"], ["test", "12.25 %"]])
    assert text.split("\n") == [
        "two",
        "split     loss",
        "-----  -------",
        "val        0.5",
        "test   12.25 %",
    ]


def test_a_table_without_rows_is_its_heading() -> None:
    assert plain_table("none", ["a", "bc"], []) == "none\na  bc\n-  --"


def test_a_cell_stays_on_its_line() -> None:
    assert len(plain_table("t", ["a"], [["b\nc"]]).split("\n")) == 4


def test_stacked_tables_lose_nothing() -> None:
    assert stacked_table("t", ["a", "long"], [["1", "2"], ["3", ""]]) == "t\n\na     1\nlong  2\n\na     3\nlong"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,234", "-0.5", ""], True),
        (["91.2 %"], True),
        (["1e-05"], True),
        (["2024-01-01/a.jpg"], False),
        ([""], False),
    ],
)
def test_numbers_are_told_from_names(cells: list[str], expected: bool) -> None:
    assert is_numeric(cells) is expected


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (7385, "2:03:05")]
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_percentages_are_equally_wide() -> None:
    assert [percent(value) for value in (1.0, 0.0512)] == ["100.00 %", "  5.12 %"]


def test_marks_that_turn_the_direction_of_writing_are_shown() -> None:
    """Else `photo\u202egnp.exe` looks like `photoexe.png`."""
    assert printable("photo\u202egnp.exe") == "photo\\u202egnp.exe"
    assert printable("é花 \u05d0") == "é花 \u05d0"


def test_what_is_longer_than_any_path_is_cut() -> None:
    assert shortened(f"name={'a' * 50_000}: no") == f"name={'a' * 95}...(50,006 characters) no"
    assert shortened(f"/{'a' * 4095}") == f"/{'a' * 4095}"
