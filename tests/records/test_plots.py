"""Pictures are drawn for every shape of run; how they look was looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from transfer_cli.records import plots
from transfer_cli.records.plots import confusion_matrix, curves


def events(epochs: int, *, val: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"split": "test", "epoch": 1, "loss": 9.0, "accuracy": 0.0}]
    for epoch in range(1, epochs + 1):
        found.append({"split": "train", "epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch})
        if val:
            found.append({"split": "val", "epoch": epoch, "loss": 2 / epoch, "accuracy": 0.5})
    return found


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def has_colour(image: np.ndarray[Any, np.dtype[np.uint8]], colour: str) -> bool:
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((image == wanted).all(-1).any())


@pytest.mark.parametrize("epochs", [1, 2, 100])
def test_curves_show_training_and_validation(tmp_path: Path, epochs: int) -> None:
    curves(events(epochs), 1, tmp_path / "c.png")
    image = pixels(tmp_path / "c.png")
    assert all(has_colour(image, colour) for colour in plots.COLOURS.values())


def test_curves_without_validation(tmp_path: Path) -> None:
    curves(events(3, val=False), 3, tmp_path / "c.png")
    image = pixels(tmp_path / "c.png")
    assert has_colour(image, plots.COLOURS["train"])
    assert not has_colour(image, plots.COLOURS["val"])


def test_curves_leave_a_gap_for_what_was_not_finite(tmp_path: Path) -> None:
    found = events(3)
    found[1]["loss"] = found[4]["loss"] = found[4]["accuracy"] = None
    curves(found, 1, tmp_path / "c.png")
    assert pixels(tmp_path / "c.png").size


@pytest.mark.parametrize("count", [2, 20, 21, 130])
def test_confusion_matrix_of_many_classes_with_any_names(tmp_path: Path, count: int) -> None:
    names = ["_a$x$", "花", "tab\tnew\nline", "n" * 300, "$\\frac{$"]
    matrix = np.eye(count, dtype=np.int64) * 12
    matrix[0] = 0
    confusion_matrix(matrix, [f"{names[i % 5]}{i}" for i in range(count)], tmp_path / "m.png")
    height, width, _ = pixels(tmp_path / "m.png").shape
    assert 300 < height < 2000
    assert 300 < width < 2000


def test_pyplot_is_not_imported(tmp_path: Path) -> None:
    code = f"""
import sys, numpy as np; from pathlib import Path; from transfer_cli.records import plots
assert "matplotlib" not in sys.modules
plots.curves([], 1, Path({str(tmp_path)!r}) / "c.png")
plots.confusion_matrix(np.eye(3, dtype=np.int64), "abc", Path({str(tmp_path)!r}) / "m.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parents[2])
