"""The study: trials are counted once, whoever runs them, and one that was left is taken up again."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from transfer_cli.config.commands import Sweep
from transfer_cli.config.objectives import Direction, direction
from transfer_cli.errors import Pruned, UserError
from transfer_cli.methods.pareto import front
from transfer_cli.records.events import EpochEnd
from transfer_cli.sweeps.search.space import Space
from transfer_cli.sweeps.search.study import Study, check_settings
from transfer_cli.sweeps.search.watching import TrialWatcher

SPACE: Space = {"x": FloatDistribution(0, 1)}


FOUR = Sweep(trials=4)


def directions_of(settings: Sweep) -> tuple[Direction, ...]:
    return tuple(map(direction, settings.objectives)) or ("maximize",)


def study(folder: Path, settings: Sweep = FOUR, space: Space = SPACE) -> Study:
    return Study(folder, space, settings, seed=0, directions=directions_of(settings), epochs=16)


def test_processes_share_the_trials(tmp_path: Path) -> None:
    seen = []
    with study(tmp_path).next_trial() as one, study(tmp_path).next_trial() as two:
        assert one is not None and two is not None
        seen += [one.number, two.number]
        study(tmp_path).finish(one, [0.5])
    # The second process is gone: its trial is the first that another takes.
    for _ in range(3):
        with study(tmp_path).next_trial() as trial:
            assert trial is not None
            seen.append(trial.number)
            study(tmp_path).finish(trial, None if trial.number == 2 else [0.1])
    with study(tmp_path).next_trial() as none:
        assert none is None
    assert seen == [0, 1, 1, 2, 3]
    assert study(tmp_path).counts() == {"complete": 3, "pruned": 0, "fail": 1, "running": 0}


def test_a_trial_that_was_left_without_values_gets_them(tmp_path: Path) -> None:
    """Its process died between making it and proposing; it must not train what nobody searches."""
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    study(tmp_path / "a")._opened().ask()
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        with study(folder).next_trial() as trial:
            assert trial is not None and trial.number == 0
            found.append(trial.params)
    assert found[0] == found[1] and {*found[0]} == {*SPACE}


@pytest.mark.parametrize("line", ['{"op', "garbage", "{}", "3", '{"op_code": "x", "worker_id": 1}', "[" * 200_000])
def test_a_damaged_journal_is_named(tmp_path: Path, line: str) -> None:
    with study(tmp_path).next_trial():
        pass
    with (tmp_path / "study.journal").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(UserError, match=r"study.journal is damaged .*Remove it"):
        study(tmp_path).counts()


def test_a_line_that_was_cut_off_is_no_damage(tmp_path: Path) -> None:
    """As a full disk or a power cut leaves it; what was never said whole is said again."""
    with study(tmp_path).next_trial() as trial:
        assert trial is not None
    for torn in ('{"op_code": 5, "worker_id": "abc', '{"op_code": 6, "values": [' + "0.5, " * 3000):
        with (tmp_path / "study.journal").open("a") as file:
            file.write(torn)
        with study(tmp_path).next_trial() as trial:
            assert trial is not None and trial.number == 0
    study(tmp_path).finish(trial, [0.5])
    assert study(tmp_path).counts() == {"complete": 1, "pruned": 0, "fail": 0, "running": 0}
    assert "abc" not in (tmp_path / "study.journal").read_text()


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Optuna's own is a link that stays for half a minute."""
    (tmp_path / "study.journal").touch()
    (tmp_path / "study.journal.lock").symlink_to("study.journal")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for a lock that nobody holds"))
    with study(tmp_path).next_trial() as trial:
        assert trial is not None


def test_a_killed_search_proposes_what_it_would_have(tmp_path: Path) -> None:
    def proposals(folder: Path, kills: bool) -> list[float]:
        folder.mkdir()
        found = []
        for number in range(4):
            if kills:
                with study(folder).next_trial():
                    pass
            with study(folder).next_trial() as trial:
                assert trial is not None
                found.append(trial.params["x"])
                study(folder).finish(trial, [number / 10])
        return found

    assert proposals(tmp_path / "a", kills=False) == proposals(tmp_path / "b", kills=True)


def test_other_ranges_are_noticed(tmp_path: Path) -> None:
    assert not study(tmp_path).is_of_another_space()
    with study(tmp_path).next_trial():
        pass
    assert not study(tmp_path).is_of_another_space()
    assert study(tmp_path, space={"x": FloatDistribution(0, 2)}).is_of_another_space()


@pytest.mark.parametrize("sampler", ["tpe", "random", "cma"])
def test_samplers_draw_from_the_space(tmp_path: Path, sampler: str) -> None:
    settings = Sweep(trials=3, sampler=sampler)  # type: ignore[arg-type]
    for _ in range(3):
        one = study(tmp_path, settings)
        with one.next_trial() as trial:
            assert trial is not None and 0 <= trial.params["x"] <= 1
            one.finish(trial, 0.5)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_several_objectives_end_on_a_front(tmp_path: Path, sampler: str) -> None:
    settings = Sweep(trials=7, sampler=sampler, objectives=("accuracy", "parameters"))  # type: ignore[arg-type]
    space: Space = {"x": IntDistribution(0, 9)}
    seen = []
    for number in range(7):
        # Each time as a process that comes anew; one trial was left, and one failed.
        one = study(tmp_path, settings, space)
        if number == 3:
            with one.next_trial():
                pass
        with study(tmp_path, settings, space).next_trial() as trial:
            assert trial is not None and trial.number == number
            x = trial.params["x"]
            one.finish(trial, None if number == 1 else [x / 10, abs(x - 5.0)])
            seen += [x] if number != 1 else []
    assert study(tmp_path, settings, space).counts()["complete"] == 6
    best = sorted(found["x"] for found in study(tmp_path, settings, space).best())
    marks = front([(x / 10, abs(x - 5)) for x in seen], ("maximize", "minimize"))
    assert best == sorted({x for x, mark in zip(seen, marks, strict=True) if mark})


def test_cma_follows_one_objective() -> None:
    with pytest.raises(UserError, match=r"sweep\.sampler=cma: CMA-ES follows one objective, and .* names 2"):
        check_settings(Sweep(sampler="cma", objectives=("accuracy", "parameters")), SPACE)


def test_a_grid_needs_values_that_end() -> None:
    with pytest.raises(UserError, match=r"sweep\.sampler=grid: x has endlessly many values"):
        check_settings(Sweep(sampler="grid"), SPACE)
    check_settings(Sweep(sampler="grid"), {"x": CategoricalDistribution(["a", "b"])})


def end(epoch: int, value: float) -> EpochEnd:
    return EpochEnd(epoch, epoch, {"train": {"accuracy": 1.0}, "val": {"accuracy": value}})


@pytest.mark.parametrize(("pruner", "pruned"), [("median", True), ("none", False)])
def test_a_trial_that_falls_behind_ends_early(tmp_path: Path, pruner: str, pruned: bool) -> None:
    settings = Sweep(trials=9, pruner=pruner)  # type: ignore[arg-type]
    for number in range(4):
        with study(tmp_path, settings).next_trial() as trial:
            assert trial is not None
            watcher = TrialWatcher(trial, "accuracy")
            for epoch in range(5):
                watcher.epoch_ends(end(epoch, 0.8 + number / 100))
            study(tmp_path, settings).finish(trial, [0.8])
    with study(tmp_path, settings).next_trial() as trial:
        assert trial is not None
        watcher = TrialWatcher(trial, "accuracy")
        watcher.epoch_ends(end(0, 0.1))
        watcher.epoch_ends(end(1, 0.1))
        # A run that was killed in the second epoch reports it again.
        watcher.epoch_ends(end(1, 0.1))
        if pruned:
            with pytest.raises(Pruned):
                watcher.epoch_ends(end(2, 0.1))
        else:
            watcher.epoch_ends(end(2, 0.1))
