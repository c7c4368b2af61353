"""Which images belong together: by a column, or by what a pattern finds in their paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.loading import dataset
from transfer_cli.data.reading.grouping import groups_of
from transfer_cli.data.reading.listing import Listing
from transfer_cli.data.sources.load import load
from transfer_cli.errors import UserError


def listing(*keys: str, groups: list[str] | None = None, **splits: list[int]) -> Listing:
    found = {name: np.array(own) for name, own in splits.items()} or {"train": np.arange(len(keys))}
    labels = np.zeros(len(keys), np.int64)
    return Listing(("a", "b"), keys, labels, found, read=lambda index: Image.new("RGB", (1, 1)), groups=groups)


def test_parentheses_or_all_of_a_match_name_the_group() -> None:
    keys = ("cat/p1_0.jpg", "cat/p1_1.jpg", "dog/p1_2.jpg", "dog/p22_0.jpg")
    for pattern in (r"p(\d+)_", r"p\d+"):
        groups, notes = groups_of(listing(*keys), pattern)
        assert groups is not None
        assert [group == groups[0] for group in groups] == [True, True, True, False]
        assert notes == []


def test_what_is_not_found_stands_alone_and_is_told() -> None:
    groups, notes = groups_of(listing("a/p1_0.jpg", "a/x.jpg", "a/y.jpg"), r"p(\d+)")
    assert groups is not None and len({*groups}) == 3
    assert notes == ["dataset.group=p(\\d+): finds nothing in 2 paths (a/x.jpg, a/y.jpg); each stands alone."]
    with pytest.raises(UserError, match=r"finds nothing in any path, such as a/x.jpg\.$"):
        groups_of(listing("a/x.jpg", "a/y.jpg"), r"p(\d+)")
    with pytest.raises(UserError, match=r"is no column of the table, and no regular expression"):
        groups_of(listing("a/x.jpg"), "patient (old")
    assert groups_of(listing("a/x.jpg", groups=["p"]), "patient (old")[0] == ["group\0p"]


def test_splits_of_the_sets_own_that_divide_a_group_are_told() -> None:
    own = listing("0", "1", "2", groups=["p", "p", ""], train=[0], test=[1, 2])
    assert groups_of(own, "patient")[1] == ["1 group of dataset.group in more than one of the set's own splits: p."]


def test_a_column_of_a_table(tmp_path: Path) -> None:
    rows = ["path,label,patient"]
    for number in range(24):
        Image.fromarray(np.full((8, 8, 3), number * 9, np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{number // 3}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    images = load(dataset("manifest", tmp_path / "list.csv", group="patient"), seed=0)
    patients = {split: {int(index) // 3 for index in members} for split, members in images.splits.items()}
    assert sum(map(len, patients.values())) == len(set().union(*patients.values())) == 8
    assert all(patients.values())
    parts = [
        load(dataset("manifest", tmp_path / "list.csv", group="patient", folds=2, fold=fold), seed=0).splits["test"]
        for fold in (0, 1)
    ]
    assert sorted(np.concatenate(parts)) == list(range(24))
