"""Standard output and error as a run meets them: closed from the start, full, or a pipe that nobody reads any more.

What is printed is a copy: everything is in `run.log` and the run directory, so losing it must not end a training.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from transfer_cli.errors import RunError


def open_standard_streams() -> None:
    """Put the null device where a standard stream is closed: else the next file opened would get all that is printed.

    Raises no error: a process that may open nothing fails soon enough.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def write_out(text: str) -> None:
    """Print what a command was asked for; what the stream's encoding lacks, such as the bytes of a name, as escapes.

    Raises BrokenPipeError where nobody reads on, RunError where it is lost.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence(sys.stdout)
        raise RunError(f"standard output cannot be written: {error.strerror}.") from error


def write_error(text: str) -> None:
    """Print a line on standard error, where that is possible."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what is left in a stream, and all that follows, nowhere: Python would fail over it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Outlet:
    """A text stream that goes on in silence once it cannot be written; `lost` is told why, once."""

    def __init__(self, stream: TextIO, lost: Callable[[str | None], None]) -> None:
        self._stream, self._lost, self._open = stream, lost, True

    def write(self, text: str) -> int:
        """As a stream's own; what cannot be written is dropped."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """As a stream's own."""
        self._try(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, work: Callable[[], object]) -> None:
        if not self._open:
            return
        try:
            work()
        except OSError as error:
            self._open = False
            silence(self._stream)
            # A pipe that was closed, or a terminal that is gone, was left on purpose.
            left = error.errno in (errno.EPIPE, errno.EIO)
            self._lost(None if left else error.strerror or str(error))
