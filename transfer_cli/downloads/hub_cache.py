"""The cache of the model hub's own client, file by file: `blobs` by content, `snapshots` by version, `refs` by name.

Its client fills it only from a server; here a file from a mirror or an archive finds the same place.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from transfer_cli.files import atomic_write_text, file_sha256

_COMMIT = re.compile(r"[0-9a-f]{40}")


def blob(cache: Path, repository: str, etag: str) -> Path:
    """Where the content lies that the hub calls `etag`."""
    return _folder(cache, repository) / "blobs" / etag


def link(cache: Path, repository: str, commit: str, name: str, etag: str) -> Path:
    """Let the file `name` of a version be the content `etag`, and that version the newest. Raises OSError."""
    content, folder = blob(cache, repository, etag), _folder(cache, repository)
    pointer = folder / "snapshots" / commit / name
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f".{secrets.token_hex(4)}.link")
    try:
        os.symlink(os.path.relpath(content, pointer.parent), temporary)
        os.replace(temporary, pointer)
    except OSError:
        # No links on this system: the content itself lies there, as the hub's client does it.
        with suppress(FileNotFoundError):
            temporary.unlink()
        os.replace(content, pointer)
    (folder / "refs").mkdir(exist_ok=True)
    atomic_write_text(folder / "refs" / "main", commit)
    return pointer


def version(pointer: Path, name: str) -> tuple[str, str] | None:
    """(commit, etag) of a file that the hub's client has found; None where it lies in no cache of its kind."""
    folder = pointer.parents[len(Path(name).parts) - 1]
    if folder.parent.name != "snapshots" or not _COMMIT.fullmatch(folder.name):
        return None
    content = pointer.resolve()
    return folder.name, content.name if content.parent.name == "blobs" else file_sha256(content)


def _folder(cache: Path, repository: str) -> Path:
    return cache / "--".join(["models", *repository.split("/")])
