"""One object that says whether the run was asked to end; signals set it, the work looks at it between its steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, Stopped
from transfer_cli.signals import ENDING, handled, heard, latest


class Stop:
    """While entered, Ctrl-C and what schedulers send are noted here instead of ending the process.

    It may be entered twice. A second Ctrl-C ends the process at once. A signal that is ignored stays so, as under nohup
    and for jobs in the background of a script.
    """

    def __init__(self, elsewhere: Callable[[], int | None] = lambda: None) -> None:
        """`elsewhere`: what code processes ask for that this one works with."""
        self._elsewhere = elsewhere
        self.code: int | None = None
        """The exit code asked for: 75 for SIGTERM and its like, 130 for Ctrl-C; None while nobody asked."""
        self.due = False
        """Whether a state is to be saved, as of the last look."""
        self._handlers = ExitStack()
        self._entered = 0

    def __bool__(self) -> bool:
        return self.code is not None

    def agree(self, due: bool = False) -> bool:
        """Whether to end now: asked where all ranks of a training come by, which a signal may reach one by one.

        `due`, whether a state is to be saved, is agreed upon likewise.
        """
        self.due = due
        return bool(self)

    def check(self, where: str) -> None:
        """Raises Stopped, which says `where`, if an end was asked for."""
        code = self.code
        if code is None:
            code = self.code = self._elsewhere()
        if code is not None:
            raise Stopped(code, where)

    def __enter__(self) -> Stop:
        self._entered += 1
        if self._entered == 1:
            self._handlers.enter_context(handled(ENDING, self._handle))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered == 0:
            self._handlers.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self.code == EXIT_INTERRUPTED:
                # What cleans up after it is not to be interrupted again.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                raise KeyboardInterrupt
            self.code = EXIT_INTERRUPTED
        elif self.code is None:
            self.code = EXIT_PREEMPTED


@contextmanager
def ends_if_asked(where: str) -> Iterator[None]:
    """Raises Stopped, which says `where`, after what is within, if a signal came then that nothing in it heeded.

    A training that has looked for the last time becomes complete; that whoever has more to do is to end is not lost.
    """
    before = heard()
    yield
    if heard() > before:
        raise Stopped(EXIT_INTERRUPTED if latest() == signal.SIGINT else EXIT_PREEMPTED, where)
