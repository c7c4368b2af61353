"""Cells are data, and come back as they were."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from transfer_cli.csv_files import csv_cell, csv_text, write_csv


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+1+1", "'+1+1"),
        ("'+1+1", "''+1+1"),
        ("-1", "-1"),
        ("+0.5e-3", "+0.5e-3"),
        ("\x1b[2J\tname", "\\x1b[2J\tname"),
        ("\r=1", "'\r=1"),
        ("photos/=1.png", "photos/=1.png"),
    ],
)
def test_cells_are_data_to_whatever_opens_them(tmp_path: Path, cell: str, written: str) -> None:
    write_csv(tmp_path / "a.csv", ["x", "n"], [[cell, 0.5]])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["x", "n"], [written, "0.5"]]


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "''-1", "+model.a=1", "-c", "-1", "\t=1", "'quoted'", "plain", ""])
def test_a_text_is_what_it_was_before_it_was_a_cell(text: str) -> None:
    assert csv_text(str(csv_cell(text))) == text
