"""What the user sees, and `run.log`, which is the same without colours. Errors go to stderr and not through here."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from transfer_cli.records.outlet import Outlet, write_error
from transfer_cli.records.progress import Bar, Count, Foot, Progress
from transfer_cli.records.text import fit, is_numeric, percent, plain_table, printable, stacked_table, table_width

if TYPE_CHECKING:
    from rich.console import Console

Scores = Mapping[str, float]


class Reporter:
    """Prints to a terminal or, plainly, to a pipe; `quiet` prints only what `result` is given.

    Lines that come before the run directory exists wait for `open_log`. A job of a sweep has `prints_result=False`.
    """

    def __init__(self, quiet: bool, stream: TextIO | None = None, *, prints_result: bool = True) -> None:
        self._given = stream if stream is not None else sys.stdout
        self._stream: TextIO = cast(TextIO, Outlet(self._given, self._lost))
        self._quiet, self._prints_result = quiet, prints_result
        self._encoding = self._stream.encoding or "utf-8"
        self._console = None if quiet else _console(self._stream)
        self._foot: Foot | None = None
        self._log: Path | None = None
        self._waiting: list[str] = []
        self._announced: set[tuple[str, tuple[str, str]]] = set()

    def of_job(self) -> Reporter:
        """A reporter for one of several jobs: with a log of its own, on the same terminal, above what stands there."""
        job = Reporter(self._quiet, self._given, prints_result=False)
        job._console, job._foot = self._console, self._foot
        return job

    @contextmanager
    def standing(self, lines: Callable[[int], Sequence[str]]) -> Iterator[Callable[[], None]]:
        """On a terminal, keep the lines that fit into so many columns below all that is printed until the block ends.

        Gives what draws them anew, as every bar of a job does; elsewhere that does nothing.
        """
        if self._console is None:
            yield lambda: None
            return
        self._foot = Foot(self._console, lambda width: [printable(line, self._encoding) for line in lines(width)])
        self._foot.start()
        try:
            yield self._foot.show
        finally:
            self._foot.stop()
            self._foot = None

    def open_log(self, path: Path) -> None:
        """Write all lines so far, and all that follow, to the end of `path`."""
        waiting, self._waiting, self._log = self._waiting, [], path
        for text in waiting:
            self._record(text)

    def say(self, text: str) -> None:
        """Print a line, or several."""
        self._print(text)
        self._record(text)

    def warn(self, text: str) -> None:
        """Print a line that begins with `warning:`."""
        self._print(text, heading="warning: ", style="yellow")
        self._record(f"warning: {text}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns of numbers are flush right."""
        if self._console is None:
            self._print(plain_table(title, columns, rows))
        elif table_width(columns, rows) <= self._console.width:
            _print_table(self._console, *_printable_table(title, columns, rows, self._encoding))
        else:
            self._print(stacked_table(title, columns, rows))
        self._record(plain_table(title, columns, rows))

    def panel(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """What is about to happen, names and what is said of each: framed on a terminal, else a line each.

        Once for a title and its last row: what goes on was announced as it began.
        """
        if (title, rows[-1]) in self._announced:
            return
        self._announced.add((title, rows[-1]))
        lines = [f"{name:<10}{text}" for name, text in rows]
        if self._console is None or not self._prints_result:
            self._print("\n".join(lines))
        else:
            _print_panel(self._console, *(printable(text, self._encoding) for text in (title, "\n".join(lines))))
        self._record("\n".join(lines))

    def result(self, path: Path) -> None:
        """Print a run directory alone on the last line, however quiet."""
        if self._prints_result:
            print(printable(str(path), self._encoding), file=self._stream, flush=True)
        self._record(str(path))

    def progress(self, epochs: int, steps_per_epoch: int) -> Progress:
        """A context whose `step` keeps a bar on a terminal, and says a line every 10 s elsewhere."""
        bar = self._bar()
        # A terminal has its bar; the log gets the lines all the same.
        return Progress(epochs, steps_per_epoch, self._record if bar is not None else self.say, bar)

    def count(self, doing: str, total: int, things: str) -> Count:
        """A context whose `step` shows how far something is that takes long before training begins."""
        bar = self._bar()
        return Count(doing, total, things, self._record if bar is not None else self.say, bar)

    def epoch_line(
        self, epoch: int, epochs: int, train: Scores, val: Scores | None, *, images_per_second: float, best: bool
    ) -> None:
        """Print loss and accuracy of one epoch, on one line; a narrow terminal gets the most important of it."""
        parts = [(0, f"epoch {epoch:{len(str(epochs))}}/{epochs}"), (3, f"train {_scores(train)}")]
        parts += [(1, f"val {_scores(val)}")] if val is not None else []
        parts += [(4, f"{images_per_second:,.0f} images/s")]
        # Blank where it is not the best, so that all epochs show the same on a narrow terminal.
        parts += [(2, "best" if best else "    ")]
        text = "  ".join(text for _, text in parts).rstrip()
        shown = text if self._console is None else _narrowed(parts, train, val, self._console.width)
        self._print(shown, style="bold" if best else "")
        self._record(text)

    def _bar(self) -> Bar | None:
        return None if self._console is None else Bar(self._console, self._foot)

    def _print(self, text: str, *, heading: str = "", style: str = "") -> None:
        text = printable(text, self._encoding)
        if self._console is not None:
            from rich.text import Text

            line = Text.assemble((heading, style), text) if heading else Text(text, style)
            self._console.print(line, overflow="fold")
        elif not self._quiet:
            print(heading + text, file=self._stream, flush=True)

    def _lost(self, reason: str | None) -> None:
        """What is printed reaches nobody from here on; the run goes on."""
        if reason is None:
            self._record("nobody reads what is printed any more; going on")
        else:
            warning = f"warning: standard output cannot be written ({reason}); going on without it"
            write_error(warning)
            self._record(warning)

    def _record(self, text: str) -> None:
        """Append to the log. Opened for each line: lines are few, and there is nothing to close or to lose."""
        if self._log is None:
            self._waiting.append(text)
            return
        try:
            with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(printable(text) + "\n")
        except OSError as error:
            log, self._log, self._waiting = self._log, None, []
            self._print(
                f"{log} cannot be written ({error.strerror}); going on without it", heading="warning: ", style="yellow"
            )


def _narrowed(parts: Sequence[tuple[int, str]], train: Scores, val: Scores | None, width: int) -> str:
    """Those parts of an epoch's line that fit; where its figures do not, what matters of them."""
    text, scores = fit(parts, width), val if val is not None else train
    if _scores(scores) in text:
        return text
    short = {rank: part for rank, part in parts if rank in (0, 2)}
    named = percent(scores["accuracy"]).strip() if not math.isnan(scores["accuracy"]) else ""
    figures = [(1, named)] if named else []
    return fit([(0, short[0]), *figures, (3 if named else 1, f"loss {scores['loss']:.4f}"), (2, short[2])], width)


def _scores(values: Scores) -> str:
    loss, accuracy = values["loss"], values["accuracy"]
    # Images without labels are neither right nor wrong.
    return f"loss {loss:.4f}" + ("" if math.isnan(accuracy) else f" accuracy {percent(accuracy)}")


def _console(stream: TextIO) -> Console | None:
    """Rich's console if `stream` is a terminal that can move its cursor, else None: importing Rich takes 0.1 s."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return None
    from rich.console import Console

    return Console(file=stream)


def _printable_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], encoding: str
) -> tuple[str, list[str], list[list[str]]]:
    cells = [[printable(cell, encoding) for cell in row] for row in [columns, *rows]]
    return printable(title, encoding), cells[0], cells[1:]


def _print_table(console: Console, title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(title, "bold"), title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = is_numeric([row[index] for row in rows])
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_panel(console: Console, title: str, text: str) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for line in text.splitlines():
        name, said = line[:10].strip(), line[10:]
        grid.add_row(Text(name, "bold"), Text(said, overflow="fold"))
    console.print(Panel(grid, title=Text(title, "bold"), title_align="left", expand=False))
