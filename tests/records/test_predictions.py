"""predictions.csv reads back what was written, whatever the names."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from transfer_cli.records.predictions import write_predictions

PROBABILITIES = np.array([[0.25, 0.75], [0.9, 0.1], [0.4, 0.6]])


def rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_names_with_commas_quotes_line_ends_and_unicode_come_back(tmp_path: Path) -> None:
    ids = ['a,"b".jpg', "line\nend\r.jpg", "花.jpg"]
    write_predictions(tmp_path / "p.csv", ids, np.array([1, 0, 0]), ["cat, big", "dog"], PROBABILITIES)
    assert rows(tmp_path / "p.csv") == [
        ["path", "label", "predicted", "confidence"],
        ['a,"b".jpg', "dog", "dog", "0.750000"],
        ["line\nend\r.jpg", "cat, big", "cat, big", "0.900000"],
        ["花.jpg", "cat, big", "dog", "0.600000"],
    ]


@pytest.mark.parametrize("labels", [None, np.array([-1, -1, -1])])
def test_an_unknown_label_is_empty(tmp_path: Path, labels: np.ndarray | None) -> None:
    write_predictions(tmp_path / "p.csv", ["a", "b", "c"], labels, ["cat", "dog"], PROBABILITIES)
    assert [row[1] for row in rows(tmp_path / "p.csv")] == ["label", "", "", ""]


def test_rows_that_do_not_match_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        write_predictions(tmp_path / "p.csv", ["a"], None, ["cat", "dog"], PROBABILITIES)
    assert not (tmp_path / "p.csv").exists()
