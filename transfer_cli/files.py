"""Files that are there whole or not at all, whatever kills the process while they are written."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from transfer_cli.errors import did_you_mean, first_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

UNFINISHED = ".writing"
_MOMENT_SECONDS = 0.5
_SIGNATURE = "sha256"
_SETTLED_SECONDS = 2.0
"""A file that has not been written to for so long is taken to be as its times say."""


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once the block ends, and is gone where it fails.

    What killed processes have left of it goes first. Raises OSError, also where `path` is a device or a pipe: a file
    in the place of /dev/null would break the machine.
    """
    if is_special(path):
        raise OSError(errno.EEXIST, "is a device or a pipe, whose place no file may take", str(path))
    remove_abandoned(path)
    # Not tempfile: its files are private to the user whatever the umask, and runs are shared.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        with temporary.open("xb") as file, held(temporary):
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            # A write does not say where.
            error.filename = str(path)
        raise
    fsync_directory(path.parent)


def is_special(path: Path) -> bool:
    """Whether a path leads to a device, a pipe or a socket, or is a name among devices, as /dev/stdout is."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return True
    return path.is_symlink() and os.path.realpath(path.parent) == "/dev"


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Whether a file or folder is this process's alone in the block, as far as the system can say; a kill ends that."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY)
    is_ours = False
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        yield is_ours
    finally:
        os.close(descriptor)


def remove_abandoned(path: Path, folder: Path | None = None) -> None:
    """Remove what processes that were killed have left of making `path`, beside it or in another folder.

    What others are making just now is held by them.
    """
    start, place = f".{path.name}.", path.parent if folder is None else folder
    names = os.listdir(place) if place.is_dir() else []
    for left in [place / name for name in names if name.startswith(start) and name.endswith(UNFINISHED)]:
        with suppress(OSError), held(left) as is_ours:
            # One that was made a moment ago will be held in a moment.
            if is_ours and time.time() - left.stat().st_mtime > _MOMENT_SECONDS:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file that holds `data`. Raises OSError, leaving what was there before."""
    with _new_file(path) as file:
        file.write(data)


def unfinished(folder: Path, pattern: str = "") -> list[Path]:
    """What processes that were killed have left half written in a folder, or in those that `pattern` finds in it.

    Others may be writing such a file just now, unless the folder is one's own.
    """
    return [path for path in folder.glob(f"{pattern}.*{UNFINISHED}") if path.is_file()]


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of UTF-8; what UTF-8 cannot hold (an undecodable file name) is written as escapes."""
    atomic_write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically, its keys in their own order. Numbers that JSON lacks (nan, inf) become null."""
    atomic_write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def parsed_json(text: str | bytes) -> Any:
    """What JSON says. Raises ValueError for what is none, as for what is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write_signed_json(path: Path, values: dict[str, Any]) -> None:
    """`write_json` of an object with its checksum, for what nobody else could check."""
    write_json(path, {**values, _SIGNATURE: _signature(values)})


def read_signed_json(path: Path) -> dict[str, Any]:
    """What `write_signed_json` wrote. Raises ValueError for anything else, OSError."""
    values = parsed_json(path.read_text(encoding="utf-8"))
    try:
        is_ours = isinstance(values, dict) and values.pop(_SIGNATURE, None) == _signature(values)
    except RecursionError:  # shallow enough to be read, and too deep for what is made of it
        is_ours = False
    if not is_ours:
        raise ValueError("has changed since it was written")
    found: dict[str, Any] = values
    return found


def has_signature(path: Path) -> bool:
    """Whether JSON has a checksum, be it the right one. Raises ValueError for what is no JSON, OSError."""
    values = parsed_json(path.read_text(encoding="utf-8"))
    return isinstance(values, dict) and _SIGNATURE in values


def _signature(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain(values), sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """`value` with numpy's numbers as Python's, and nan and infinities as None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fsync_directory(path: Path) -> None:
    """Make a rename in `path` survive a power cut. Windows cannot, and needs not."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Sha256 of a file's bytes, as hex digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """`file_sha256`, which this process works out once for as long as the file is not written to. Raises OSError."""
    status = path.stat()
    if time.time() - status.st_ctime < _SETTLED_SECONDS:
        # It may be written to again within the same tick of its times.
        return file_sha256(path)
    return _sha256_at(path.resolve(), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=32)
def _sha256_at(path: Path, *_: int) -> str:
    return file_sha256(path)


@contextmanager
def growing_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Write text bit by bit; `path` is there once the block ends, whole, or stays as it was where it fails.

    Raises OSError.
    """
    with _new_file(path) as file:

        def write(text: str) -> None:
            file.write(text.encode("utf-8", "backslashreplace"))

        yield write


class AppendedLines:
    """Lines at the end of a file, each with the system once `write` returns: nothing stays in this process."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """Go on at byte `offset`: what lies behind it belongs to work that is done again, and goes.

        Creates a missing file; one that someone has cut shorter goes on after its last whole line. Raises OSError.
        """
        self._path = path
        with path.open("ab") as file:
            file.truncate(min(offset, path.stat().st_size))
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)

    def write(self, line: str) -> None:
        """Append a line. Raises OSError."""
        with self._path.open("ab") as file:
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        """Return when all lines are on the disk. Raises OSError."""
        with self._path.open("ab") as file:
            os.fsync(file.fileno())

    def offset(self) -> int:
        """Bytes written so far: where a resumed run goes on."""
        return self._path.stat().st_size


@contextmanager
def tensors_written(path: Path) -> Iterator[None]:
    """Around safetensors' writing of a file: whom the umask lets read may, and a full disk is an OSError.

    The library makes files that their owner alone may read.
    """
    from safetensors import SafetensorError

    path.touch()
    mode = path.stat().st_mode
    try:
        yield
    except SafetensorError as error:
        raise as_os_error(error, path) from error
    path.chmod(mode)


def as_os_error(error: Exception, path: Path) -> OSError:
    """The error of the system behind one that a library in another language tells as text (`os error 28`)."""
    found = re.search(r"os error (\d+)", str(error))
    if found is None:
        return OSError(f"{path}: {first_line(error)}")
    number = int(found.group(1))
    return OSError(number, os.strerror(number), str(path))


def names_in(folder: Path) -> set[str]:
    """What is in a folder; nothing where it cannot be listed."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def like(name: str, folder: Path) -> str:
    """` Did you mean folder/name?`, of what is there and has that name or looks like it; empty where nothing does."""
    there = names_in(folder)
    return did_you_mean(name, {name} if name in there else there, os.path.join(folder, ""))
