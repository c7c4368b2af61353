"""What `input` means: which files, in which order, each once, and what is said of the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer_cli.errors import UserError
from transfer_cli.runs.prediction import inputs


@pytest.fixture(autouse=True)
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in ("c", "a", "b"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


def found(source: str, said: list[str] | None = None) -> list[tuple[str, str]]:
    listed = inputs.find(source, (said if said is not None else []).append, arrays=False)
    return [(picture.name, os.path.relpath(picture.file)) for part in listed.parts for picture in part]


def test_a_file_a_folder_and_a_pattern_by_name() -> None:
    everything = [(name, name) for name in ("photos/a.png", "photos/b.png", "photos/c.png")]
    assert found("photos/b.png") == everything[1:2]
    assert found("photos") == found("photos/*.png") == found("**/*.png") == found("phot*") == everything
    assert found("**") == found("**/*") == found("**/photos") == found("**/p*") == everything


def test_results_are_called_by_the_whole_name_of_a_folder(photos: Path) -> None:
    for name in ("2026.01", "2026.02"):
        shutil.copytree(photos, name)
        assert inputs.find(name, print, arrays=False).stem == name, "one would take the place of the other"


@pytest.mark.parametrize("table", ["list.txt", "list.csv", "list.tsv"])
def test_a_list_keeps_its_order_and_names_and_each_file_once(table: str) -> None:
    header = "" if table.endswith("txt") else "Path\n"
    Path("photos", table).write_text(f"{header}c.png\nb.png\n./c.png\nnowhere.png\nphotos/a.png\n")
    said: list[str] = []
    expected = ["c.png", "b.png", "nowhere.png", "photos/a.png"]
    files = ["photos/c.png", "photos/b.png", "photos/nowhere.png", "photos/a.png"]
    assert found(f"photos/{table}", said) == [*zip(expected, files, strict=True)]
    assert said == ["1 of the paths came before and are labelled once"]


def test_rows_without_a_path_are_said_and_counted() -> None:
    Path("list.csv").write_text("path,label\nphotos/a.png,x\n,x\n  ,y\n")
    said: list[str] = []
    listed = inputs.find("list.csv", said.append, arrays=False)
    assert (listed.total, listed.left_out) == (1, 2)
    assert said == ["left out: 2 rows of list.csv without a path"]
    Path("list.csv").write_text("path,label\n,x\n")
    with pytest.raises(UserError, match=r"input=list\.csv: its rows have no path"):
        found("list.csv")


def test_a_table_without_paths_and_an_empty_list_are_refused() -> None:
    Path("list.csv").write_text("label,size\na,3\n")
    with pytest.raises(UserError, match=r"no column of paths; one called path, image, .* It has label, size"):
        found("list.csv")
    Path("list.txt").write_text("\n\n")
    with pytest.raises(UserError, match="no paths in this file"):
        found("list.txt")


def test_paths_of_a_stream_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    parts: Iterator[list[inputs.Item]] = inputs._streamed(reading)
    os.write(writing, b"one.png\ntwo.png\nhal")
    assert [picture.name for picture in next(parts)] == ["one.png", "two.png"]
    os.write(writing, b"f.png\r\n\nnul.png\0last.png")
    assert [picture.name for picture in next(parts)] == ["half.png", "nul.png"]
    os.close(writing)
    assert [picture.name for picture in next(parts)] == ["last.png"]
    assert next(parts, None) is None
    os.close(reading)


def test_a_stream_is_worked_on_in_parts_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_MOST_AT_ONCE", 3)
    Path("names").write_text("\n".join(f"{number}.png" for number in range(7)))
    descriptor = os.open("names", os.O_RDONLY)
    assert [len(part) for part in inputs._streamed(descriptor)] == [3, 3, 1]
    os.close(descriptor)
