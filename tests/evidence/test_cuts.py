"""What a comparison sees of a set: as much as it was told, the same test images at every seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.evidence import cuts, sets
from tests.benchmarks.evidence.words import parse


@pytest.fixture
def prepared(pictures: Path, tmp_path: Path) -> Path:
    return sets.prepare(str(pictures), tmp_path / "sets")


def _names(cut: cuts.Cut, split: str) -> set[str]:
    return {str(file.relative_to(cut.folder / split)) for file in (cut.folder / split).rglob("*.png")}


def test_shots_are_counted_by_class_and_validation_is_no_larger(prepared: Path) -> None:
    study = parse(["evidence.shots=4", "evidence.output=out"])
    cut = cuts.make(study, prepared, "shots", 0)
    assert len(_names(cut, "train")) == len(_names(cut, "val")) == 12
    assert len(list((cut.folder / "train" / "red").iterdir())) == 4


def test_fewer_shots_are_among_more_and_seeds_differ(prepared: Path) -> None:
    few = cuts.make(parse(["evidence.shots=4", "evidence.output=out"]), prepared, "shots", 0)
    more = cuts.make(parse(["evidence.low=8", "evidence.output=out"]), prepared, "low", 0)
    other = cuts.make(parse(["evidence.shots=4", "evidence.output=out"]), prepared, "shots", 1)
    assert _names(few, "train") < _names(more, "train")
    assert _names(few, "train") != _names(other, "train")
    assert _names(few, "test") == _names(other, "test")


def test_full_and_vtab_have_no_more_than_they_may(prepared: Path) -> None:
    study = parse(["evidence.full=30", "evidence.vtab=25", "evidence.test=9", "evidence.output=out"])
    full, vtab = (cuts.make(study, prepared, data, 0) for data in ("full", "vtab"))
    assert [len(_names(full, split)) for split in sets.SPLITS] == [30, 7, 9]
    assert [len(_names(vtab, split)) for split in sets.SPLITS] == [20, 5, 9]


def test_a_cut_is_made_once_and_takes_no_room(prepared: Path) -> None:
    study = parse(["evidence.output=out"])
    cut = cuts.make(study, prepared, "low", 0)
    file = next((cut.folder / "train").rglob("*.png"))
    assert file.stat().st_nlink > 1
    file.unlink()
    assert cuts.make(study, prepared, "low", 0) == cut
    assert not file.exists()
