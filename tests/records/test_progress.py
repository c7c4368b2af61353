"""Progress is shown at a bounded rate, and asks the device for numbers no more often."""

from __future__ import annotations

import pytest

from transfer_cli.records import progress
from transfer_cli.records.progress import Count, Parts, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeBar:
    def __init__(self) -> None:
        self.drawn: list[tuple[str, float]] = []
        self.state = "new"

    def start(self) -> None:
        self.state = "started"

    def stop(self) -> None:
        self.state = "stopped"

    def draw(self, parts: Parts, fraction: float) -> None:
        self.drawn.append(("  ".join(text for _, text in parts), fraction))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    return clock


def run(bar: Progress, clock: Clock, steps: int, seconds_per_step: float) -> int:
    """Train; returns how often the loss was asked for."""
    asked = 0
    for step in range(steps):
        clock.now += seconds_per_step
        if bar.wants_update():
            asked += 1
            bar.step(32, step, 0.5)
        else:
            bar.step(32)
    return asked


def test_without_a_bar_a_line_every_ten_seconds(clock: Clock) -> None:
    lines: list[str] = []
    bar = Progress(2, 1000, lines.append, None)
    bar.start_epoch(1)
    assert run(bar, clock, 125, 0.25) == 3
    assert lines == [
        "epoch 1/2  step   40/1000  loss 39.0000  accuracy 50.00 %  128 images/s  8:10 left",
        "epoch 1/2  step   80/1000  loss 79.0000  accuracy 50.00 %  128 images/s  8:00 left",
        "epoch 1/2  step  120/1000  loss 119.0000  accuracy 50.00 %  128 images/s  7:50 left",
    ]


def test_short_epochs_make_no_lines(clock: Clock) -> None:
    lines: list[str] = []
    bar = Progress(100, 10, lines.append, None)
    for epoch in range(1, 101):
        bar.start_epoch(epoch)
        assert run(bar, clock, 10, 0.5) == 0
    assert lines == []


def test_the_bar_is_drawn_four_times_a_second(clock: Clock) -> None:
    bar = FakeBar()
    shown = Progress(1, 1000, lambda line: None, bar)  # type: ignore[arg-type]
    shown.start_epoch(1)
    assert run(shown, clock, 1000, 1 / 128) == len(bar.drawn) == 31
    assert bar.drawn[-1][1] == pytest.approx(0.992)


def test_numbers_stay_until_there_are_new_ones(clock: Clock) -> None:
    bar = FakeBar()
    shown = Progress(1, 10, lambda line: None, bar)  # type: ignore[arg-type]
    for loss in (0.5, None):
        clock.now += 1
        shown.step(1, loss)
    assert all("loss 0.5000" in text and "accuracy" not in text for text, _ in bar.drawn)


def test_a_resumed_run_counts_only_its_own_steps_for_the_time_left(clock: Clock) -> None:
    bar = FakeBar()
    shown = Progress(4, 100, lambda line: None, bar)  # type: ignore[arg-type]
    shown.start_epoch(3, 50)
    run(shown, clock, 10, 1.0)
    assert bar.drawn[-1] == ("epoch 3/4  step  60/100  loss 9.0000  accuracy 50.00 %  32 images/s  2:20 left", 0.6)


def test_the_bar_goes_away_when_training_fails() -> None:
    bar = FakeBar()

    def interrupted() -> None:
        with Progress(1, 1, lambda line: None, bar):  # type: ignore[arg-type]
            assert bar.state == "started"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert bar.state == "stopped"


def test_counting_says_how_far_it_is_every_ten_seconds(clock: Clock) -> None:
    lines: list[str] = []
    with Count("decoding", 4000, "images", lines.append, None) as count:
        for _ in range(1000):
            clock.now += 0.025
            count.step(4)
    assert lines == [
        "decoding 1,600/4,000  160 images/s  15 s left",
        "decoding 3,200/4,000  160 images/s  5 s left",
    ]


def test_counting_draws_a_bar_four_times_a_second_and_takes_it_away(clock: Clock) -> None:
    bar = FakeBar()
    with Count("decoding", 100, "images", lambda text: None, bar) as count:  # type: ignore[arg-type]
        assert bar.state == "started"
        for _ in range(100):
            clock.now += 1 / 16
            count.step(1)
    assert bar.state == "stopped"
    assert len(bar.drawn) == 25
    assert bar.drawn[-1] == ("decoding 100/100  16 images/s  0 s left", 1.0)
