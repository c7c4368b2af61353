"""What was asked for and is on this machine now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.downloads.manifest import Entry
from transfer_cli.downloads.transfer import Watch
from transfer_cli.records.progress import Count
from transfer_cli.records.terminal import Reporter

AT_HAND = "at hand"
_MEGABYTE = 10**6


@dataclass(frozen=True)
class Fetched:
    """A model's weights or a data set: `what` it is for, a label of it, where it lies, and whether it was there."""

    what: str
    label: str
    path: Path | None
    bytes: int
    state: str
    files: tuple[tuple[Entry, Path], ...] = ()
    """What of it an archive takes along."""


@contextmanager
def watching(doing: str, reporter: Reporter) -> Iterator[Watch]:
    """A function for downloads to tell how far they are, shown in megabytes once they know of how many."""
    with ExitStack() as open_bars:
        shown: list[Count] = []
        done = 0

        def watch(there: int, total: int | None) -> None:
            nonlocal done
            if total is None or total < _MEGABYTE:
                return
            if not shown:
                count = reporter.count(doing, total // _MEGABYTE, "MB")
                shown.append(open_bars.enter_context(count))
            shown[0].step(there // _MEGABYTE - done)
            done = there // _MEGABYTE

        yield watch


@contextmanager
def counting(doing: str, total: int, reporter: Reporter) -> Iterator[Callable[[int], None]]:
    """The same for work of a known size, whose function is told of the bytes since it was told last."""
    with reporter.count(doing, max(total // _MEGABYTE, 1), "MB") as count:
        told = 0

        def watch(more: int) -> None:
            nonlocal told
            before, told = told, told + more
            count.step(told // _MEGABYTE - before // _MEGABYTE)

        yield watch
