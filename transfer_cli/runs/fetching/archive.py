"""The archive of what was fetched, written on one machine and unpacked into the caches of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from transfer_cli.data.sources.torchvision_sets import SETS
from transfer_cli.downloads import kit
from transfer_cli.downloads.kit import Kit
from transfer_cli.downloads.manifest import Entry
from transfer_cli.downloads.pack import pack
from transfer_cli.downloads.unpack import place_set, place_weights
from transfer_cli.errors import RunError, UserError, counted
from transfer_cli.models import fetching
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.fetching.fetched import AT_HAND, Fetched, counting


def write(archive: Path, items: Sequence[Fetched], reporter: Reporter) -> None:
    """Pack what `items` are, without what came with pip. Raises UserError where nothing is left."""
    files = {entry.name: (entry, path) for item in items for entry, path in item.files}
    for item in items:
        if not item.files:
            reporter.warn(f"{item.what}: not packed ({item.state}); {_instead(item)}")
    if not files:
        raise UserError(f"fetch.pack={archive}: there is nothing to pack.")
    with counting("packing", sum(entry.bytes for entry, _ in files.values()), reporter) as watch:
        pack(archive, [*files.values()], watch)


def _instead(item: Fetched) -> str:
    if item.path is None:
        return "it starts from random weights everywhere"
    return "install the same package there" if item.state.endswith("package") else "copy the file itself"


def unpacked(archive: Path, sets_folder: Path, reporter: Reporter) -> list[Fetched]:
    """Everything in an archive, put into the caches of this machine after all of it was found to be whole.

    Raises UserError for an archive that is damaged or no such archive, RunError where the disk is full.
    """
    with kit.opened(archive) as opened:
        unknown = {entry.dataset for entry in opened.entries if entry.kind == "dataset"} - {*SETS}
        if unknown:
            raise UserError(f"fetch.unpack={archive}: it holds a data set that is not known, {sorted(unknown)[0]}.")
        total = sum(entry.bytes for entry in opened.entries)
        with counting("verifying", total, reporter) as watch:
            opened.verify(watch)
        with counting("unpacking", total, reporter) as watch:
            # Sets first: where another file lies in the place of one of theirs, nothing else has been done.
            sets = _sets(opened, sets_folder, watch)
            return [*(_weights(opened, entry, watch) for entry in opened.entries if entry.kind != "dataset"), *sets]


def _weights(opened: Kit, entry: Entry, watch: Callable[[int], None]) -> Fetched:
    try:
        placed = place_weights(opened, entry, fetching.place_of(entry), fetching.appear, watch)
    except OSError as error:
        raise RunError(f"{fetching.place_of(entry)}: cannot be put there ({error.strerror or error}).") from error
    state = AT_HAND if placed.was_there else "unpacked"
    return Fetched(entry.model or entry.file, entry.name, placed.path, entry.bytes, state)


def _sets(opened: Kit, folder: Path, watch: Callable[[int], None]) -> list[Fetched]:
    entries = sorted((entry for entry in opened.entries if entry.kind == "dataset"), key=lambda entry: entry.dataset)
    done = []
    for name, group in groupby(entries, key=lambda entry: entry.dataset):
        files = [*group]
        marker = SETS[name].marker
        placed = place_set(opened, files, folder, marker, watch)
        state = AT_HAND if all(one.was_there for one in placed) else "unpacked"
        size = sum(entry.bytes for entry in files)
        done.append(Fetched(name, counted(len(files), "file"), folder / marker, size, state))
    return done
