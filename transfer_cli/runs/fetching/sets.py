"""torchvision's data sets, brought into the folder where a run looks for them."""

from __future__ import annotations

import os
from pathlib import Path

from transfer_cli.config.schema import Experiment
from transfer_cli.data.sources import torchvision_sets
from transfer_cli.data.sources.torchvision_sets import SETS
from transfer_cli.downloads.manifest import Entry, set_name
from transfer_cli.errors import UserError, counted, unknown
from transfer_cli.files import file_sha256
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.fetching.fetched import AT_HAND, Fetched, watching

FOLDER = "data"
"""Where the options of torchvision's sets look when dataset.path does not say it."""


def folder_of(e: Experiment) -> Path:
    """The folder that holds them, or is to hold them."""
    return Path(e.dataset.path or FOLDER).expanduser()


def wanted(e: Experiment) -> list[str]:
    """Those of `fetch.datasets`, and that of `dataset` if it is one. Raises UserError for what cannot be fetched."""
    for name in e.fetch.datasets:
        if name not in SETS:
            raise unknown("fetch.datasets", name, SETS)
    return [*dict.fromkeys([*([e.dataset.name] if e.dataset.name in SETS else []), *e.fetch.datasets])]


def have(name: str, folder: Path, reporter: Reporter, *, to_pack: bool) -> Fetched:
    """Fetch a set where it is not there, or not complete. Raises UserError at once where it cannot be fetched."""
    with watching(f"fetching {name}", reporter) as watch:
        state = "fetched" if torchvision_sets.fetch(name, str(folder), watch) else AT_HAND
    files = torchvision_sets.files_of(name, str(folder))
    size = sum(os.path.getsize(file) for file in files)
    packed = tuple((_entry(name, folder, file), file) for file in files) if to_pack else ()
    return Fetched(name, counted(len(files), "file"), folder / SETS[name].marker, size, state, packed)


def _entry(name: str, folder: Path, file: Path) -> Entry:
    entry = Entry(
        "dataset", set_name(name, file.relative_to(folder).as_posix()), os.path.getsize(file), file_sha256(file)
    )
    problem = entry.problem()
    if problem is not None:
        raise UserError(f"{file}: cannot be packed ({problem}).")
    return entry
