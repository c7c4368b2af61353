"""What one comparison learns from and is scored on: folders that show some images of a set, drawn by seed.

Files are links to those of the set where the disk can, so a cut takes no room; every method reads the same ones.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.evidence import sets
from tests.benchmarks.evidence.words import Study

Files = dict[str, list[Path]]
"""By class."""


@dataclass(frozen=True)
class Cut:
    """One set, as much of it as `data` says, at one seed."""

    set: str
    data: str
    seed: int
    folder: Path

    @property
    def key(self) -> str:
        """What tells it from all others: the folder's name says how many images there are."""
        return self.folder.name


def make(study: Study, of: Path, data: str, seed: int) -> Cut:
    """The cut of the set in folder `of`, written if it is not there yet.

    The test images are the same at every seed. Training images of a class at fewer shots are among those at more.
    """
    count = getattr(study, data)
    folder = Path(study.output) / "cuts" / f"{of.name}-{data}{count}-test{study.test}-seed{seed}"
    cut = Cut(of.name, data, seed, folder)
    if folder.is_dir():
        return cut
    unfinished = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(unfinished, ignore_errors=True)
    for split, by_label in _chosen(study, of, data, seed).items():
        for label, files in by_label.items():
            (unfinished / split / label).mkdir(parents=True)
            for file in files:
                _link(file, unfinished / split / label / file.name)
    unfinished.rename(folder)
    return cut


def _chosen(study: Study, of: Path, data: str, seed: int) -> dict[str, Files]:
    train, val, test = (_shuffled(of / split, str(seed if split != "test" else "test")) for split in sets.SPLITS)
    if data in ("shots", "low"):
        each = dict.fromkeys(train, getattr(study, data))
        # Who has few labelled images has no more to validate on.
        chosen = {"train": _first(train, each), "val": _first(val, each)}
    elif data == "vtab":
        held = study.vtab // 5
        chosen = {"train": _share(train, study.vtab - held), "val": _share(val, held)}
    else:
        chosen = {"train": _share(train, study.full), "val": _share(val, max(1, study.full // 4))}
    return {**chosen, "test": _share(test, study.test)}


def _shuffled(folder: Path, seed: str) -> Files:
    """Files of each class in an order drawn by seed."""
    found = {}
    for label in sorted(entry.name for entry in folder.iterdir()):
        files = sorted((folder / label).iterdir())
        random.Random(f"{seed}/{label}").shuffle(files)
        found[label] = files
    return found


def _first(files: Files, counts: dict[str, int]) -> Files:
    return {label: found[: counts[label]] for label, found in files.items()}


def _share(files: Files, most: int) -> Files:
    return _first(files, sets.quotas({label: len(found) for label, found in files.items()}, most))


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:
        shutil.copyfile(file, to)
