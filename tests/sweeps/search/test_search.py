"""hydra/sweeper=search: so many trials in all, whatever ends it in between; what falls behind is pruned."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.conftest import TINY, Ended, summary
from transfer_cli.errors import Pruned
from transfer_cli.records.events import EpochEnd
from transfer_cli.sweeps.search.watching import TrialWatcher

Command = Callable[..., Ended]
StopAt = Callable[[int | None], None]
FOLDER = Path("outputs/sweeps/s")
WORDS = ["-m", "hydra/sweeper=search", *TINY, "name=s", "resume=auto", "trainer.epochs=1", "sweep.trials=3"]
LR = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


def rows() -> list[dict[str, str]]:
    with (FOLDER / "leaderboard.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_search_that_is_stopped_goes_on(command: Command, stop_at: StopAt) -> None:
    stop_at(4)
    assert command(*WORDS, LR).code == 75
    stop_at(None)
    assert {row["status"] for row in rows()} <= {"completed", "preempted"}
    ended = command(*WORDS, LR)
    assert ended.code == 0, ended.err
    assert "3 of 3 trials complete" in ended.out
    assert [row["status"] for row in rows()] == ["completed"] * 3
    page = (FOLDER / "report.html").read_text()
    assert all(f'href="{quote(Path(row["run_directory"]).name)}/report.html"' in page for row in rows())
    assert len({row["overrides"] for row in rows()}) == 3
    before = [row["seconds"] for row in rows()]
    assert command(*WORDS, LR).code == 0
    assert [row["seconds"] for row in rows()] == before
    ended = command(*WORDS, LR.replace("1e-2", "1e-1"))
    assert ended.code == 2 and "drawn from other ranges" in ended.err


def test_trials_of_other_settings_are_not_compared(command: Command) -> None:
    """Least of all by another score, of which the study would take the worst for the best."""
    assert command(*WORDS[:-1], "sweep.trials=1", LR, "strategy.ema=0.5").code == 0
    before = sorted(map(str, FOLDER.rglob("*")))
    ended = command(*WORDS, LR, "trainer.metric=loss")
    assert ended.code == 2 and "other settings: trainer.metric=loss (there accuracy)" in ended.err
    assert sorted(map(str, FOLDER.rglob("*"))) == before
    ended = command(*WORDS[:-1], "sweep.trials=2", LR, "seed=7", "sweep.sampler=random")
    assert ended.code == 0 and "2 of 2 trials complete" in ended.out
    configs = [yaml.safe_load(path.read_text()) for path in FOLDER.glob("*/config.yaml")]
    assert [one["strategy"]["ema"] for one in configs] == [0.5, 0.5], "what is auto is as the search began"


def test_a_package_that_is_missing_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    ended = command(*WORDS, LR)
    assert ended.code == 2 and "pip install 'transfer-run[search]'" in ended.err
    assert not Path("outputs").exists()


def test_what_is_pruned_is_a_run(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def prune(self: TrialWatcher, end: EpochEnd) -> None:
        if end.epoch == 1:
            raise Pruned("for a test")

    monkeypatch.setattr(TrialWatcher, "epoch_ends", prune)
    ended = command(*WORDS[:-2], "trainer.epochs=2", "sweep.trials=1", LR)
    assert ended.code == 3, "no trial is complete"
    assert "0 of 1 trials complete, 1 pruned" in ended.out
    (row,) = rows()
    assert row["status"] == "pruned"
    assert summary(row["run_directory"])["status"] == "pruned"


def test_several_objectives_have_a_front(command: Command) -> None:
    """Of two networks the smaller is on it; the same command with another goal is refused."""
    words = [word for word in WORDS if not word.startswith(("model.name", "trainer.epochs", "sweep.trials"))]
    words += ["trainer.epochs=1", "model.name=test_resnet,test_vit", "sweep.sampler=grid", "sweep.trials=2"]
    ended = command(*words, "sweep.objectives=[accuracy,parameters]")
    assert ended.code == 0, ended.err
    assert "with several objectives nothing is pruned" in ended.out and "2 of 2 trials complete" in ended.out
    content = json.loads((FOLDER / "pareto.json").read_text())
    best = [one for one in content["configurations"] if one["front"]]
    assert {one["parameters"] for one in best} >= {min(one["parameters"] for one in content["configurations"])}
    assert ended.out.count("front     model.name=") == len(best)
    assert (FOLDER / "pareto.png").is_file() and "| front |" in (FOLDER / "leaderboard.md").read_text()
    ended = command(*words)
    assert ended.code == 2 and "sweep.objectives=[] (there [accuracy,parameters])" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra/launcher=basic"], "hydra/launcher=basic: trials run in the process that searches"),
        (["sweep.sampler=grid"], "sweep.sampler=grid: optimizer.lr has endlessly many values"),
        (["sweep.trials=0"], "sweep.trials=0"),
        (["sweep.objectives=[accuracy]"], "leave it out and say trainer.metric=accuracy"),
        (["sweep.objectives=[loss,parameters]", "sweep.sampler=cma"], "CMA-ES follows one objective"),
        (["sweep.objectives=[loss,parameters]", "sweep.pruner=median"], "no trial ends early"),
        (["sweep.objectives=[loss,parameters]", "sweep.pruner=hyperband"], "no trial ends early"),
        (["sweep.retry_failed=true"], "sweep.retry_failed=true: a search proposes other settings"),
        (["augment=light,lite"], "augment=lite: no such option. Did you mean light"),
        (["hydra/sweeper=serch"], "hydra/sweeper=serch: no such choice. Did you mean search?"),
    ],
)
def test_wrong_words_are_found_before_a_trial_starts(command: Command, words: list[str], says: str) -> None:
    ended = command(*[word for word in WORDS if not word.startswith(words[0].partition("=")[0])], LR, *words)
    assert ended.code == 2
    assert says in ended.err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra/sweeper=search"], "a sweeper proposes the jobs of a sweep; add -m"),
        (["sweep.trials=3"], "sweep.trials=3: only a sweep reads it; add -m."),
        (["-m", "sweep.trials=3", "seed=0,1"], "sweep.trials=3: only a search reads it; add hydra/sweeper=search."),
    ],
)
def test_words_of_a_search_elsewhere(command: Command, words: list[str], says: str) -> None:
    ended = command(*TINY, *words)
    assert ended.code == 2
    assert says in ended.err
