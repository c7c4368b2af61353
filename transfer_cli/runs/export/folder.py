"""The folder of an export: what an earlier export has written there is replaced, and nothing else is touched."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer_cli.errors import UserError
from transfer_cli.files import UNFINISHED, fsync_directory, held, parsed_json, remove_abandoned, write_json
from transfer_cli.rundir import check_writable

REPORT = "export.json"
_NAMED = 5
"""Names that a message holds."""


def write_report(folder: Path, found: dict[str, Any]) -> None:
    """`export.json`: what was found out, and which files belong to the export."""
    write_json(folder / REPORT, {**found, "files": sorted({*os.listdir(folder), REPORT})})


def check_target(target: Path) -> None:
    """Raises UserError for a folder with other things than an earlier export, and where nothing can be written."""
    place = _place(target)
    if place.is_dir() and (others := sorted(name for name in {*os.listdir(place)} - _written(place) if _is_kept(name))):
        names = ", ".join(others[:_NAMED]) + (f" and {len(others) - _NAMED} more" if len(others) > _NAMED else "")
        raise UserError(f"output={target}: holds files that are of no export ({names}); name another folder.")
    check_writable(place)


def _is_kept(name: str) -> bool:
    """Whether a file is none that an export was just writing when it was killed, or is writing."""
    return not (name.startswith(".") and name.endswith(UNFINISHED))


@contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A folder whose files go to `target` once the block ends, and that is gone where it fails.

    A folder that is there stays: it may be where the user is, or a disk of its own.
    """
    place = _place(target)
    remove_abandoned(place, place if place.is_dir() else place.parent)
    there, alone = place.is_dir(), not place.parent.exists()
    folder = (place if there else place.parent) / f".{place.name}.{secrets.token_hex(4)}{UNFINISHED}"
    folder.mkdir(parents=True)
    try:
        with held(folder):
            yield folder
        if there:
            _replace(place, folder)
        else:
            folder.rename(place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if alone:
            place.parent.rmdir()
        raise
    fsync_directory(place if there else place.parent)


def _replace(place: Path, folder: Path) -> None:
    """The files of `folder` in place of those of an earlier export, the report last."""
    earlier, new = _written(place), {*os.listdir(folder)}
    stale = earlier - new
    # All that is there belongs to an export, wherever a kill comes.
    write_json(place / REPORT, {"files": sorted(earlier | new)})
    for name in sorted(os.listdir(folder), key=lambda name: (name == REPORT, name)):
        os.replace(folder / name, place / name)
    for name in stale:
        (place / name).unlink()
    folder.rmdir()


def _place(target: Path) -> Path:
    """Where a path leads: it may be a link, or a dot."""
    return Path(os.path.realpath(target))


def _written(place: Path) -> set[str]:
    """Names of the files in a folder that an earlier export has written, as its report says."""
    try:
        names = {*parsed_json((place / REPORT).read_text(encoding="utf-8"))["files"]}
        return {name for name in os.listdir(place) if name in names and (place / name).is_file()}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
