"""What users see on a terminal, a pipe, and in run.log."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from transfer_cli.records import progress
from transfer_cli.records.terminal import Reporter

TRAIN = {"loss": 0.5, "accuracy": 0.9}
VAL = {"loss": 0.75, "accuracy": 0.8}


class Screen(io.TextIOWrapper):
    """A stream that remembers, and says whether it is a terminal."""

    def __init__(self, terminal: bool, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode(self.encoding)


@pytest.fixture(autouse=True)
def _terminal_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")


def on_screen(text: str) -> list[str]:
    """The lines that a terminal shows after these characters."""
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[\??[\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
        if token == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif token == "\x1b[1A":
            row -= 1
        elif token == "\x1b[2K":
            lines[row] = ""
        elif token[0] not in "\x1b\r":
            lines[row] += token
    return [line.rstrip() for line in lines[: row + 1]]


def everything(reporter: Reporter, log: Path) -> None:
    """Use all a reporter has, with names as bad as they get."""
    reporter.say("dataset é花\x1b[31m [bold]x[/bold] :smile:")
    reporter.open_log(log)
    reporter.warn("duplicate \r files")
    reporter.panel("train [bold]花\x1b[2J", [("plan", "2 epochs :smile:"), ("results", "a\x1bb [bold]")])
    with reporter.progress(2, 3) as bar:
        for epoch in (1, 2):
            bar.start_epoch(epoch)
            for _ in range(3):
                bar.step(8, 0.5, 0.25)
            reporter.epoch_line(epoch, 2, TRAIN, VAL, images_per_second=1234.5, best=epoch == 1)
    reporter.table("results", ["split", "loss"], [["v\x1bal", "0.5"], ["[test]", "0.25"]])
    reporter.result(Path("outputs/runs/flowers"))


LOG = """\
dataset é花\\x1b[31m [bold]x[/bold] :smile:
warning: duplicate \\r files
plan      2 epochs :smile:
results   a\\x1bb [bold]
epoch 1/2  train loss 0.5000 accuracy  90.00 %  val loss 0.7500 accuracy  80.00 %  1,234 images/s  best
epoch 2/2  train loss 0.5000 accuracy  90.00 %  val loss 0.7500 accuracy  80.00 %  1,234 images/s
results
split    loss
-------  ----
v\\x1bal   0.5
[test]   0.25
outputs/runs/flowers
"""


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    screen = Screen(terminal=False)
    everything(Reporter(False, screen), tmp_path / "run.log")
    assert screen.text() == LOG


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (True, True), (False, False)])
def test_lines_stand_below_all_that_jobs_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: bool
) -> None:
    """A job's bar is below them, and its log is what it always was; nothing of it where no cursor can move."""
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    screen, asked = Screen(terminal), []
    reporter = Reporter(quiet, screen)

    def lines(width: int) -> list[str]:
        asked.append(width)
        return ["sweep  1/2 done", "best   花 \x1b[2J [bold]"]

    with reporter.standing(lines) as redraw:
        everything(reporter.of_job(), tmp_path / "run.log")
        during = on_screen(screen.text())
        redraw()
        assert on_screen(screen.text()) == during
    reporter.say("over")
    assert (tmp_path / "run.log").read_text(encoding="utf-8") == LOG
    text = screen.text()
    if quiet or not terminal:
        assert not asked and "sweep" not in text
        assert text == ("" if quiet else LOG.rpartition("outputs")[0] + "over\n")
        return
    assert {*asked} == {117}
    assert text.count("\x1b[?25l") == 1, "there is one display, and so one that moves the cursor"
    assert during[-2:] == ["sweep  1/2 done", "best   花 \\x1b[2J [bold]"]
    assert during.count("sweep  1/2 done") == 1 and not any("step" in line for line in during)
    with_bar = on_screen(text[: text.index("step 2/3") + 8])
    assert with_bar[-3:-1] == during[-2:] and with_bar[-1].endswith("epoch 1/2  step 2/3")
    assert on_screen(text) == [*during[:-2], "over", ""]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("quiet", [True, False])
def test_the_log_is_the_same_whatever_the_screen(tmp_path: Path, terminal: bool, quiet: bool) -> None:
    everything(Reporter(quiet, Screen(terminal)), tmp_path / "run.log")
    assert (tmp_path / "run.log").read_text(encoding="utf-8") == LOG


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_prints_the_run_directory_alone(tmp_path: Path, terminal: bool) -> None:
    screen = Screen(terminal)
    everything(Reporter(True, screen), tmp_path / "run.log")
    assert screen.text() == "outputs/runs/flowers\n"


def test_a_quiet_job_of_a_sweep_prints_nothing(tmp_path: Path) -> None:
    screen = Screen(terminal=False)
    everything(Reporter(True, screen, prints_result=False), tmp_path / "run.log")
    assert screen.text() == ""


def test_a_terminal_gets_a_bar_and_the_run_directory_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    screen = Screen(terminal=True)
    everything(Reporter(False, screen), tmp_path / "run.log")
    text = screen.text()
    assert "━" in text
    assert "step 2/3" in text
    assert "\x1b[33mwarning: \x1b[0mduplicate \\r files" in text
    assert "[bold]x[/bold] :smile:" in text
    assert "\x1b[31m" not in text
    assert text.endswith("\noutputs/runs/flowers\n")


def test_lines_of_a_long_epoch_go_to_the_log_where_a_terminal_has_its_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    for terminal in (True, False):
        screen = Screen(terminal)
        everything(Reporter(False, screen), tmp_path / f"{terminal}.log")
        assert (tmp_path / f"{terminal}.log").read_text(encoding="utf-8").count("step 2/3") == 2
        assert screen.text().count("step 2/3") == (0 if terminal else 2)


def test_no_color_means_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    screen = Screen(terminal=True)
    everything(Reporter(False, screen), tmp_path / "run.log")
    assert "warning: duplicate" in screen.text()
    assert "\x1b[3" not in screen.text()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_screen_without_unicode_gets_ascii(tmp_path: Path, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.0)
    screen = Screen(terminal, encoding="ascii")
    everything(Reporter(False, screen), tmp_path / "run.log")
    assert "dataset \\xe9\\u82b1" in screen.text()


def test_a_dumb_terminal_is_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    screen = Screen(terminal=True)
    everything(Reporter(False, screen), tmp_path / "run.log")
    assert screen.text() == LOG


def test_a_narrow_terminal_loses_the_least_important(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "52")
    screen = Screen(terminal=True)
    reporter = Reporter(False, screen)
    reporter.epoch_line(1, 2, TRAIN, VAL, images_per_second=1234.5, best=True)
    assert "epoch 1/2  val loss 0.7500 accuracy  80.00 %  best" in screen.text()
    assert "train" not in screen.text()


@pytest.mark.parametrize(
    ("columns", "line"), [(40, "epoch 12/20  80.00 %  loss 0.7500  best"), (30, "epoch 12/20  80.00 %  best")]
)
def test_the_figures_of_an_epoch_are_the_last_to_go(monkeypatch: pytest.MonkeyPatch, columns: int, line: str) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    screen = Screen(terminal=True)
    Reporter(False, screen).epoch_line(12, 20, TRAIN, VAL, images_per_second=1234.5, best=True)
    assert line in screen.text()


def test_a_terminal_breaks_lines_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    screen = Screen(terminal=True)
    Reporter(False, screen).say("store  memory: no files to decode")
    assert [line.strip() for line in screen.text().splitlines()] == ["store  memory: no", "files to decode"]


def test_a_narrow_terminal_shows_all_numbers_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    screen = Screen(terminal=True)
    Reporter(False, screen).table(
        "scores", ["accuracy", "top-5", "loss", "ece"], [["91.25 %", "99.50 %", "0.1234", "0.0567"]]
    )
    assert all(number in screen.text() for number in ("91.25 %", "99.50 %", "0.1234", "0.0567"))


def test_without_validation_the_line_is_of_training_alone() -> None:
    screen = Screen(terminal=False)
    Reporter(False, screen).epoch_line(3, 10, TRAIN, None, images_per_second=5.0, best=False)
    assert screen.text() == "epoch  3/10  train loss 0.5000 accuracy  90.00 %  5 images/s\n"


def test_a_resumed_run_appends_to_its_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        reporter = Reporter(True, Screen(terminal=False))
        reporter.say(word)
        reporter.open_log(tmp_path / "run.log")
    assert (tmp_path / "run.log").read_text() == "first\nsecond\n"


def test_a_log_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path: Path) -> None:
    screen = Screen(terminal=False)
    reporter = Reporter(False, screen)
    reporter.say("one")
    reporter.open_log(tmp_path / "missing" / "run.log")
    reporter.say("two")
    reporter.say("three")
    log = tmp_path / "missing" / "run.log"
    warning = f"warning: {log} cannot be written (No such file or directory); going on without it"
    assert screen.text() == f"one\n{warning}\ntwo\nthree\n"


def test_stray_prints_do_not_go_through_the_bar_into_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", errors)
    screen = Screen(terminal=True)
    with Reporter(False, screen).progress(1, 1):
        print("to the error file", file=sys.stderr)
    assert errors.text() == "to the error file\n"
    assert "error file" not in screen.text()
