"""What can end a run, and with which exit code. Everything else that escapes is a bug of ours (exit code 1)."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from collections.abc import Iterable

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USER = 2
EXIT_FAILED = 3
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130

_LIST_ALL_UP_TO = 30
# What allocators say: of the host, of CUDA and its libraries, of Apple's GPUs.
_NO_MEMORY = (
    *("can't allocate memory", "out of memory", "Unable to allocate", "Cannot allocate memory"),
    *("CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED"),
)
_BREAKS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class UserError(Exception):
    """The user's input is wrong: one message, exit code 2, nothing written."""


class RunError(Exception):
    """The run failed while running (exit code 3); the message says where and what to do."""


class StalledError(RunError):
    """Images do not come any more, and a signal has asked for an end: what has been done so far can be kept."""


class Stopped(BaseException):
    """A signal ended the run after its state was saved; `code` is 75 (see `signals`) or 130 (Ctrl-C).

    Like KeyboardInterrupt no Exception, so that nothing between the loop and `main` goes on after it.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> str:
        """What the summary of the run says."""
        return "interrupted" if self.code == EXIT_INTERRUPTED else "preempted"


class Pruned(Stopped):
    """A search ended the run, since others do better by then."""

    def __init__(self, message: str) -> None:
        super().__init__(EXIT_OK, message)

    @property
    def status(self) -> str:
        """What the summary of the run says."""
        return "pruned"


class LostRankError(RunError):
    """Another process of the same training does not answer any more."""


class FirstRankEnded(BaseException):
    """The first of the processes of one training has ended with `code` and said why: nothing is left for the others."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


_REFUSALS = frozenset(
    getattr(errno, name)
    for name in (
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "EISDIR", "ENOTDIR", "ENOTEMPTY", "EEXIST"),
        # Of file servers, and of limits on open files and locks.
        *("ESTALE", "EREMOTEIO", "ETIMEDOUT", "EHOSTDOWN", "ENOTCONN", "EMFILE", "ENFILE", "ENOLCK", "ELOOP", "EBUSY"),
    )
    if hasattr(errno, name)
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or a device: libraries raise errors of many kinds for it."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error) for sign in _NO_MEMORY)


def of_the_system(error: BaseException) -> bool:
    """Whether the system refuses what the program does with a file: that is no bug, but a disk or folder as it is."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


def out_of_memory(error: BaseException) -> str:
    """The message of a run that ended for want of memory, with its numbers."""
    wanted = re.search(r"allocate (\d+) bytes", str(error))
    asked = first_line(error) if wanted is None else f"{int(wanted[1]) / 2**20:,.1f} MiB more were wanted"
    return (
        f"out of memory ({asked}).{_had()} Free memory, or take a smaller "
        "trainer.batch_size, image_size or model; dataset.store=disk keeps no pixels in memory. States saved so far "
        "are kept."
    )


def _had() -> str:
    """The most memory of this process, and its limit, where the system tells."""
    try:
        import resource
    except ImportError:
        return ""
    peak, most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrlimit(resource.RLIMIT_AS)[0]
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    limit = "" if most == resource.RLIM_INFINITY else f", and may have {most / 2**30:.1f} GiB of addresses (ulimit -v)"
    return f" The process had {peak_bytes / 2**30:.1f} GiB at most{limit}."


def nearest(found: str, valid: Iterable[str]) -> list[str]:
    """Up to three of `valid` that look like `found`, nearest first."""
    names = {name.lower(): name for name in valid}
    return [names[match] for match in difflib.get_close_matches(found.lower(), names, n=3, cutoff=0.5)]


def did_you_mean(found: str, valid: Iterable[str], prefix: str = "") -> str:
    """` Did you mean a or b?`, to stand behind a sentence; empty where nothing of `valid` looks like `found`.

    Names are shown with `prefix` before them, such as the group of a key.
    """
    near = " or ".join(prefix + name for name in nearest(found, valid))
    return f" Did you mean {near}?" if near else ""


def unknown(key: str, found: str, valid: Iterable[str]) -> UserError:
    """The error for a name that is not in a table: says the key, what was found, what is near and what is allowed."""
    valid = sorted(valid)
    message = f"{key}={found}: no such choice.{did_you_mean(found, valid)}"
    if len(valid) <= _LIST_ALL_UP_TO:
        message += f" Choices: {', '.join(valid)}."
    return UserError(message)


def first_line(error: BaseException) -> str:
    """What an error of a library says, cut to a part of one line."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]


def counted(count: int, thing: str) -> str:
    """`1 image`, `1,024 images`."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def one_line(name: str) -> str:
    """A name from the user's data as a part of a line: line breaks in it, which would forge another, as escapes."""
    return _BREAKS.sub(lambda found: repr(found.group())[1:-1], name)
