"""Progress of a training, or of anything that counts: a bar on a terminal, a line now and then for logs and pipes.

The bar is Rich's, drawn without its refresh thread, since loader workers are forked while it is up. Rich's progress has
no mode for logs: off a terminal it prints nothing until it ends, so the lines are ours.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING

from transfer_cli.records.text import duration, fit, percent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

BAR_SECONDS = 0.25
LINE_SECONDS = 10.0
_BAR_COLUMNS = (10, 40)
# Room for the terminal's own ^C behind the line: if it wrapped, the line could not be taken away.
_ECHO_COLUMNS = 3

Parts = list[tuple[int, str]]


class Progress:
    """Counts steps. Draws at most every 0.25 s on a terminal, and hands a line to `say` at most every 10 s."""

    def __init__(self, epochs: int, steps_per_epoch: int, say: Callable[[str], None], bar: Bar | None) -> None:
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._say, self._bar = say, bar
        self._epoch, self._step, self._steps_here, self._images = 1, 0, 0, 0
        self._scores: Parts = []
        self._started = self._epoch_started = self._drawn = self._said = monotonic()

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start_epoch(self, epoch: int, step: int = 0) -> None:
        """Epoch `epoch` (from 1) begins; `step` of its steps were done before, by a run that was stopped."""
        self._epoch, self._step, self._images = epoch, step, 0
        self._epoch_started = self._said = monotonic()

    def wants_update(self) -> bool:
        """Whether the next step will be shown: fetch loss and accuracy from the device only then."""
        now = monotonic()
        return self._bar_is_due(now) or self._line_is_due(now)

    def step(self, images: int, loss: float | None = None, accuracy: float | None = None) -> None:
        """One step over `images` images is done. Loss and accuracy are the epoch's so far; None keeps the last ones."""
        self._step += 1
        self._steps_here += 1
        self._images += images
        if loss is not None:
            self._scores = [(2, f"loss {loss:.4f}")]
            if accuracy is not None and not math.isnan(accuracy):
                self._scores.append((3, f"accuracy {percent(accuracy).strip()}"))
        now = monotonic()
        if self._bar is not None and self._bar_is_due(now):
            self._drawn = now
            self._bar.draw(self._parts(now), self._step / self._steps_per_epoch)
        if self._line_is_due(now):
            self._said = now
            self._say("  ".join(text for _, text in self._parts(now)))

    def _bar_is_due(self, now: float) -> bool:
        return self._bar is not None and now - self._drawn >= BAR_SECONDS

    def _line_is_due(self, now: float) -> bool:
        return now - self._said >= LINE_SECONDS

    def _parts(self, now: float) -> Parts:
        speed = self._images / max(now - self._epoch_started, 1e-9)
        steps_left = (self._epochs - self._epoch + 1) * self._steps_per_epoch - self._step
        seconds_left = (now - self._started) / self._steps_here * steps_left
        width = len(str(self._steps_per_epoch))
        return [
            (0, f"epoch {self._epoch}/{self._epochs}"),
            (5, f"step {self._step:{width}}/{self._steps_per_epoch}"),
            *self._scores,
            (4, f"{speed:,.0f} images/s"),
            (1, f"{duration(seconds_left)} left"),
        ]


class Count:
    """Counts things up to a total that is known. Shown as often as Progress is."""

    def __init__(self, doing: str, total: int, things: str, say: Callable[[str], None], bar: Bar | None) -> None:
        self._doing, self._total, self._things = doing, total, things
        self._say, self._bar = say, bar
        self._done = 0
        self._started = self._drawn = self._said = monotonic()

    def __enter__(self) -> Count:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        now = monotonic()
        if self._bar is not None and now - self._drawn >= BAR_SECONDS:
            self._drawn = now
            self._bar.draw(self._parts(now), self._done / self._total)
        if now - self._said >= LINE_SECONDS:
            self._said = now
            self._say("  ".join(text for _, text in self._parts(now)))

    def _parts(self, now: float) -> Parts:
        speed = self._done / max(now - self._started, 1e-9)
        seconds_left = (self._total - self._done) / max(speed, 1e-9)
        return [
            (0, f"{self._doing} {self._done:,}/{self._total:,}"),
            (2, f"{speed:,.0f} {self._things}/s"),
            (1, f"{duration(seconds_left)} left"),
        ]


class Foot:
    """What stands at the bottom of a terminal, redrawn in place: lines that stay, and below them the bar of the moment.

    What else is printed appears above it. `standing` gives the lines that fit into so many columns, each with a word at
    its beginning that says what it is.
    """

    def __init__(self, console: Console, standing: Callable[[int], Sequence[str]] = lambda width: ()) -> None:
        from rich.live import Live

        self._console, self._standing = console, standing
        self._bar: Table | None = None
        # No refresh thread: loader workers are forked while it is up. Warnings on the same terminal go above it; where
        # stderr is a file, they go to that file.
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
            get_renderable=self._drawn,
        )

    @property
    def width(self) -> int:
        """Columns that a line may take."""
        return self._console.width - _ECHO_COLUMNS

    def start(self) -> None:
        """Show it, without a bar."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take it away."""
        self._live.stop()

    def show(self, bar: Table | None = None) -> None:
        """Draw it anew, with this bar or none."""
        self._bar = bar
        self._live.refresh()

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        lines = [Text(line, no_wrap=True, overflow="crop") for line in self._standing(self.width)]
        for line in lines:
            line.stylize("bold", 0, line.plain.find(" "))
        return Group(*lines, *([] if self._bar is None else [self._bar])) if lines else self._bar or ""


class Bar:
    """One line at the bottom of a terminal: alone, or below what stands there already."""

    def __init__(self, console: Console, foot: Foot | None = None) -> None:
        self._foot, self._is_alone = foot or Foot(console), foot is None

    def start(self) -> None:
        """Show the line, empty."""
        if self._is_alone:
            self._foot.start()

    def stop(self) -> None:
        """Take the line away."""
        if self._is_alone:
            self._foot.stop()
        else:
            self._foot.show(None)

    def draw(self, parts: Parts, fraction: float) -> None:
        """Show a bar as far as there is room, and those of `parts` that fit."""
        self._foot.show(_line(parts, fraction, self._foot.width))


def _line(parts: Parts, fraction: float, width: int) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    text = Text(fit(parts, width), no_wrap=True, overflow="ellipsis")
    line = Table.grid(padding=(0, 2, 0, 0))
    shortest, longest = _BAR_COLUMNS
    room = width - len(text) - 2
    if room < shortest:
        line.add_row(text)
    else:
        line.add_row(
            ProgressBar(
                total=1.0,
                completed=min(fraction, 1.0),
                width=min(room, longest),
                complete_style="cyan",
                finished_style="cyan",
            ),
            text,
        )
    return line
