"""Which backbones are probed, which go on, and the time that is kept for the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import experiment
from tests.runs.automatic.test_journal import Clock
from transfer_cli.errors import RunError
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.automatic import stages
from transfer_cli.runs.automatic.journal import Journal
from transfer_cli.runs.automatic.plan import Plan
from transfer_cli.runs.choices.candidates import Candidate, Comparison, Hurry, Rung
from transfer_cli.runs.loop_job import LoopJob


def test_the_best_probes_go_on_whatever_the_metric() -> None:
    probes = {"a": {"val": 0.90}, "b": {"val": 0.92}, "c": {"val": 0.80}, "d": {"error": "no weights"}}
    assert stages.keep(probes, "accuracy") == ["b", "a"]
    assert stages.keep(probes, "loss") == ["c"]
    with pytest.raises(RunError, match="d: no weights"):
        stages.keep({"d": probes["d"]}, "accuracy")


def test_what_the_command_names_is_probed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "models_at_hand", lambda source: ["small", "resnet18"])
    assert stages.backbones(experiment("rank.models=[resnet50]")) == ["resnet50"]
    assert stages.backbones(experiment("model=resnet18", "model.weights=none")) == ["resnet18"]
    assert stages.backbones(experiment("model=resnet18")) == ["resnet18", "small"]


def hurry_of(journal: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hurry:
    """How the search of `best` is told that time is short; ten seconds are for what comes after the last step."""
    e = experiment("trainer.epochs=8")

    def train(*_: Any, compare: Any, **more: Any) -> Comparison:
        found = compare(e, cast(LoopJob, None))
        assert isinstance(found, Comparison)
        return found

    monkeypatch.setattr(stages, "train", train)
    monkeypatch.setattr(stages, "candidates", lambda *_, **more: [Candidate(e), Candidate(e)])
    work = stages.Work(e, folder, journal, Reporter(quiet=True))
    found = cast(Comparison, work.best(["resnet18"], Plan("quick", 1, 8, (Rung(0.5, 1),)), 10.0)).hurry
    assert found is not None
    return found


@pytest.mark.parametrize(("budget", "short"), [(137, False), (135, True)])
def test_another_candidate_is_tried_where_its_time_and_the_winners_are_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, budget: float, short: bool
) -> None:
    clock = Clock()
    with Journal(tmp_path, budget, clock) as journal:
        hurry = hurry_of(journal, tmp_path, monkeypatch)
        clock.now += 40
        # Ten seconds an epoch: 40 for another candidate's four, 46 for the winner's with some to spare, 10 to finish.
        assert hurry(4, 4, 4) is short


def test_what_was_decided_in_time_stays_decided(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, 200, clock) as journal:
        hurry = hurry_of(journal, tmp_path, monkeypatch)
        clock.now += 40
        assert not hurry(4, 4, 4)
        clock.now += 40
    # The candidate has been trained by now, and the time that it took is no longer that of the first one's epochs.
    with Journal(tmp_path, 200, clock) as journal:
        hurry = hurry_of(journal, tmp_path, monkeypatch)
        clock.now += 30
        assert not hurry(4, 4, 4)
