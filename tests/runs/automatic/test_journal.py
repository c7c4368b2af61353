"""Decisions and time survive a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, UserError
from transfer_cli.runs.automatic.journal import Deadline, Journal


class Clock:
    """Time as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_was_decided_is_not_decided_again(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, 60, clock) as journal:
        assert journal.decide("kept", lambda: ["a"]) == ["a"]
        clock.now += 20
    clock.now += 5000
    again = Journal(tmp_path, 60, clock)
    with again:
        assert again.decide("kept", lambda: ["b"]) == ["a"]
        assert again.spent == 20
        clock.now += 15
        assert again.left == 25
    assert json.loads((tmp_path / "auto.json").read_text())["seconds_spent"] == 35


def test_time_before_the_journal_counts(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, 60, clock, since=clock.now - 7) as journal:
        clock.now += 3
        assert journal.spent == 10


def test_a_deadline_is_a_stop_that_comes_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, 60, clock) as journal:
        stop = Deadline(journal, reserve=20)
        assert not stop
        clock.now += 41
        assert stop.code == EXIT_PREEMPTED
        assert not stop.signalled
        stop.code = EXIT_INTERRUPTED
        assert stop.code == EXIT_INTERRUPTED
        assert stop.signalled


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"budget": 60, "seconds_spent": -1e9, "decisions": {}}', '{"decisions": {"probes": 3}}']
)
def test_a_damaged_journal_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "auto.json").write_text(text)
    with pytest.raises(UserError, match="Choose another name"):
        Journal(tmp_path, 60)


def test_a_journal_of_before_there_were_checksums_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "auto.json").write_text('{"budget": 60, "seconds_spent": 20.0, "decisions": {"kept": ["a"]}}')
    with pytest.raises(UserError, match="of an earlier version of transfer-run, which can finish it"):
        Journal(tmp_path, 60)


def test_a_decision_that_someone_has_changed_is_none(tmp_path: Path) -> None:
    with Journal(tmp_path, 60, Clock()) as journal:
        journal.decide("backbones", lambda: ["a", "b"])
    assert Journal(tmp_path, 60).get("backbones") == ["a", "b"]
    file = tmp_path / "auto.json"
    file.write_text(file.read_text().replace('"a"', '"c"'))
    with pytest.raises(UserError, match="has changed since it was written"):
        Journal(tmp_path, 60)
