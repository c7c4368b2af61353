"""From an archive into the caches: each file by one rename, after all of the archive was found to be whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.downloads.digest import git_sha1
from transfer_cli.downloads.kit import Kit
from transfer_cli.downloads.manifest import Entry
from transfer_cli.downloads.partial import partial
from transfer_cli.downloads.staging import Staging
from transfer_cli.errors import UserError
from transfer_cli.files import file_sha256


@dataclass(frozen=True)
class Placed:
    """A file of an archive, where it lies now, and whether it lay there before."""

    entry: Entry
    path: Path
    was_there: bool


def place_weights(
    kit: Kit, entry: Entry, path: Path, appear: Callable[[Entry], Path], watch: Callable[[int], None]
) -> Placed:
    """Weights to `path`, in place of damaged ones, then into sight. Raises RunError where the disk is full."""
    was_there = _is(entry, path)
    if not was_there:
        _write(kit, entry, path, watch, durable=True)
    return Placed(entry, appear(entry), was_there)


def place_set(kit: Kit, entries: list[Entry], root: Path, marker: str, watch: Callable[[int], None]) -> list[Placed]:
    """The files of one data set below `root`; what lay there and is the same stays.

    Raises UserError for a file there that is another, before anything is written; RunError where the disk is full.
    """
    there = [_is(entry, root / entry.file) for entry in entries]
    for entry, same in zip(entries, there, strict=True):
        if not same and (root / entry.file).exists():
            raise UserError(
                f"{root / entry.file}: is there, and is another file than {entry.name} of {kit.path}. Move it away, or "
                "unpack to another folder with dataset.path=<folder>."
            )
    staging = Staging(root, entries[0].dataset)
    if not all(there) or staging.is_complete():
        with staging.alone():
            for entry in entries:
                if not _is(entry, root / entry.file) and not _is(entry, staging.folder / entry.file):
                    _write(kit, entry, staging.folder / entry.file, watch, durable=False)
            staging.settle(marker)
    return [Placed(entry, root / entry.file, same) for entry, same in zip(entries, there, strict=True)]


def _is(entry: Entry, path: Path) -> bool:
    """Whether the file at `path` is the one that is meant; one that cannot be read is not."""
    try:
        return path.is_file() and path.stat().st_size == entry.bytes and file_sha256(path) == entry.sha256
    except OSError:
        return False


def _write(kit: Kit, entry: Entry, path: Path, watch: Callable[[int], None], *, durable: bool) -> None:
    of_git = git_sha1(entry.bytes)
    with partial(path) as unfinished:
        unfinished.cut()
        try:
            unfinished.need(entry.bytes)
            for block in kit.blocks(entry):
                unfinished.write(block)
                of_git.update(block)
                watch(len(block))
            if (
                entry.etag is not None
                and len(entry.etag) == of_git.digest_size * 2
                and entry.etag != of_git.hexdigest()
            ):
                raise UserError(f"{kit.path}: {entry.name} is not what the hub calls {entry.etag}. Pack it anew.")
            unfinished.done(durable=durable)
        except BaseException:
            unfinished.drop()
            raise
