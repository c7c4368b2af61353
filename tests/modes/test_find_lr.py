"""mode=find_lr: rates that rise, a suggestion between them, and nothing changed."""

from __future__ import annotations

import csv
import itertools
import json
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, experiment
from transfer_cli.engine.measured.range_test import losses_at
from transfer_cli.engine.stop import Stop
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finetune import job as finetune
from transfer_cli.runs.loop_job import LoopJob

Command = Callable[..., Ended]


QUIET = Reporter(quiet=True)


def job() -> LoopJob:
    return finetune.prepare(experiment(*TINY), QUIET, Stop(), None)


def losses_of(one: LoopJob, tested: list[float]) -> list[float]:
    strategy = one.begin(None, QUIET, Stop()).strategy
    trainer = one.build_trainer(strategy, lambda step: tested[min(step, len(tested) - 1)], None, QUIET)
    return losses_at(trainer, one.inputs.shuffled(16), one.materials.task, tested, Stop(), lambda: None)


def test_a_table_and_a_picture_and_nothing_else(command: Command) -> None:
    ended = command(*TINY, "mode=find_lr", "find_lr.steps=30", "find_lr.lowest=1e-5", "name=rates")
    assert ended.code == 0, ended.err
    folder = Path("outputs/find_lr/rates")
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["rates.csv", "rates.png"]
    assert [path.name for path in Path("outputs").iterdir()] == ["find_lr"]
    with (folder / "rates.csv").open() as file:
        tested = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    factors = [later / sooner for sooner, later in itertools.pairwise(tested)]
    assert tested[0] == 1e-5
    assert max(factors) == pytest.approx(min(factors))
    assert ended.out.splitlines()[-1] == str(folder)
    found = float(ended.out.split("optimizer.lr=")[-1].split()[0])
    assert tested[0] <= found <= tested[-1]


def test_a_taken_name_is_refused(command: Command) -> None:
    left = Path("outputs/find_lr/rates")
    left.mkdir(parents=True)
    (left / "rates.csv").write_text("")
    ended = command(*TINY, "mode=find_lr", "name=rates")
    assert ended.code == 2
    assert "name=rates" in ended.err and "resume" not in ended.err


def test_one_that_was_killed_while_it_was_written_is_made_again(command: Command) -> None:
    left = Path("outputs/find_lr/rates")
    left.mkdir(parents=True)
    (left / "rates.csv").write_text("half")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (left / ".holder.json").write_text(json.dumps({"host": platform.node(), "pid": gone.pid, "since": "now"}))
    ended = command(*TINY, "mode=find_lr", "name=rates", "find_lr.steps=5")
    assert ended.code == 0, ended.err
    assert sorted(file.name for file in left.glob("[!.]*")) == ["rates.csv", "rates.png"]
    assert not (left / ".holder.json").exists() and (left / "rates.csv").read_text() != "half"


def test_weights_come_back_exactly_also_where_the_loss_explodes() -> None:
    one = job()
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    losses = losses_of(one, [1e-3, 1e-2, 1e10, 1e20, 1e30, 1e35])
    assert 2 <= len(losses) < 6
    assert all(tensor.equal(before[name]) for name, tensor in one.network.state_dict().items())


def test_the_first_loss_is_that_of_the_first_step_of_training() -> None:
    one = job()
    first = next(one.inputs.shuffled(16).epoch(0))
    losses = losses_of(one, [1e-3, 1e-3])
    assert len(losses) == 2
    strategy = one.begin(None, QUIET, Stop()).strategy
    strategy.train_mode(0)
    with torch.no_grad():
        assert strategy(one.inputs.to_device(first)).loss.item() == pytest.approx(losses[0], rel=1e-6)


def test_one_that_is_stopped_writes_nothing(command: Command, stop_at: Callable[[int | None], None]) -> None:
    stop_at(3)
    ended = command(*TINY, "mode=find_lr", "name=rates")
    assert ended.code == 75
    assert not Path("outputs/find_lr").exists()
