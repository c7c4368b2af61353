"""Rows of other entries: each from where it is, in the order that is asked for, and the missing ones in between."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer_cli.cache import activations
from transfer_cli.cache.activations import RowsWriter
from transfer_cli.cache.kept_rows import KeptRows


def digests(*numbers: int) -> np.ndarray:
    return np.array([[number, *range(1, 32)] for number in numbers], np.uint8)


def value(number: int) -> Tensor:
    """The row of a sample: a map that is unlike all others and unlike itself transposed."""
    return torch.arange(2 * 3 * 3, dtype=torch.float32).reshape(2, 3, 3) + 100 * number


def entry(folder: Path, *numbers: int, kind: str = "k", last: bool = True) -> Path:
    folder.mkdir()
    rows = torch.stack([value(number) for number in numbers])
    rows = rows.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    writer = RowsWriter(digests(*numbers), kind)
    (folder / activations.ROWS).write_bytes(writer.bytes_of(rows))
    writer.finish(folder, writer.form)
    return folder


def computed(*numbers: int, size: int) -> Iterator[Tensor]:
    for start in range(0, len(numbers), size):
        rows = torch.stack([value(number) for number in numbers[start : start + size]])
        yield rows.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 20])
def test_every_row_is_that_of_its_sample(tmp_path: Path, size: int, last: bool) -> None:
    wanted = (7, 1, 9, 3, 3, 8, 2, 0, 5, 4)
    entries = [entry(tmp_path / "a", 1, 2, 3, 11, last=last), entry(tmp_path / "b", 3, 5, 7, last=last)]
    kept = KeptRows(digests(*wanted), entries)
    everything = range(len(wanted))
    missing = kept.missing(everything).tolist()
    assert [wanted[row] for row in missing] == [9, 8, 0, 4]
    blocks = [*kept.completed(everything, size, computed(9, 8, 0, 4, size=size))]
    assert [len(block) for block in blocks[:-1]] == [min(size, 10)] * (len(blocks) - 1)
    assert torch.equal(torch.cat(blocks), torch.stack([value(number) for number in wanted]))
    assert kept.missing(range(5, 9)).tolist() == [5, 7]
    part = torch.cat([*kept.completed(range(5, 9), size, computed(8, 0, size=size))])
    assert torch.equal(part, torch.stack([value(number) for number in (8, 2, 0, 5)]))


def test_what_is_written_of_blocks_is_what_is_written_of_batches(tmp_path: Path) -> None:
    kept = KeptRows(digests(1, 2, 3), [entry(tmp_path / "a", 3, 1)])
    blocks = kept.completed(range(3), 2, computed(2, size=2))
    writer, whole = RowsWriter(digests(1, 2, 3), "k"), RowsWriter(digests(1, 2, 3), "k")
    found = b"".join(writer.bytes_of(block) for block in blocks)
    assert found == b"".join(whole.bytes_of(batch) for batch in computed(1, 2, 3, size=2))
    assert writer.form == whole.form


def test_no_more_entries_are_opened_than_are_needed(tmp_path: Path) -> None:
    opened: list[str] = []

    def folders() -> Iterator[Path]:
        for name, numbers in (("a", (1, 2)), ("b", (3,)), ("c", (1, 2, 3))):
            opened.append(name)
            yield entry(tmp_path / name, *numbers)

    kept = KeptRows(digests(1, 2, 3), folders())
    assert kept.missing(range(3)).size == 0
    assert opened == ["a", "b"]


def test_the_kind_of_an_entry(tmp_path: Path) -> None:
    folder = entry(tmp_path / "a", 1, kind="abc")
    assert activations.kind_of(folder) == "abc"
    assert activations.samples_of(folder).tolist() == digests(1).tolist()
    about = json.loads((folder / activations.SHAPE).read_text())
    for content in ("", "[]", "{", json.dumps({**about, "kind": 3})):
        (folder / activations.SHAPE).write_text(content)
        assert activations.kind_of(folder) is None
    assert activations.kind_of(tmp_path / "none") is None


def test_an_entry_that_goes_meanwhile_is_passed_over(tmp_path: Path) -> None:
    gone, torn, whole = (entry(tmp_path / name, 1, 2) for name in "abc")
    (gone / activations.SAMPLES).unlink()
    (torn / activations.SAMPLES).write_bytes(bytes(3))
    emptied = entry(tmp_path / "d", 1)

    def empties(folder: Path) -> bool:
        if folder == emptied:
            (folder / activations.ROWS).unlink()
        return True

    kept = KeptRows(digests(2, 1), [tmp_path / "none", gone, torn, emptied, whole], empties)
    assert kept.missing(range(2)).size == 0
    assert torch.equal(torch.cat([*kept.completed(range(2), 2, [])]), torch.stack([value(2), value(1)]))


def test_only_entries_with_wanted_rows_are_read_and_count_as_used(tmp_path: Path) -> None:
    asked: list[Path] = []

    def refuses(folder: Path) -> bool:
        asked.append(folder)
        return False

    entries = [entry(tmp_path / "other", 8, 9), entry(tmp_path / "own", 1)]
    assert KeptRows(digests(1, 2), entries, refuses).missing(range(2)).size == 2
    assert asked == [tmp_path / "own"]
