"""mode=find_lr: rates that rise, a suggestion between them, and nothing changed."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Ended, experiment
from transfer_cli.engine.range_test import losses_at
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import finetune as finetuned
from transfer_cli.runs.loop_job import Looped, build_trainer

Command = Callable[..., Ended]


def job() -> Looped:
    return finetuned.prepare(experiment(*TINY), Reporter(quiet=True), None)


def test_a_table_and_a_picture_and_nothing_else(command: Command) -> None:
    ended = command(*TINY, "mode=find_lr", "find_lr.steps=30", "find_lr.lowest=1e-5", "name=rates")
    assert ended.code == 0, ended.err
    folder = Path("outputs/find_lr/rates")
    assert sorted(path.name for path in folder.iterdir()) == ["rates.csv", "rates.png"]
    assert [path.name for path in Path("outputs").iterdir()] == ["find_lr"]
    with (folder / "rates.csv").open() as file:
        tested = [float(row["learning_rate"]) for row in csv.DictReader(file)]
    factors = [later / sooner for sooner, later in itertools.pairwise(tested)]
    assert tested[0] == 1e-5
    assert max(factors) == pytest.approx(min(factors))
    assert ended.out.splitlines()[-1] == str(folder)
    found = float(ended.out.split("optimizer.lr=")[1].split()[0])
    assert tested[0] <= found <= tested[-1]


def test_a_taken_name_is_refused(command: Command) -> None:
    Path("outputs/find_lr/rates").mkdir(parents=True)
    ended = command(*TINY, "mode=find_lr", "name=rates")
    assert ended.code == 2
    assert "name=rates" in ended.err


def test_weights_come_back_exactly_also_where_the_loss_explodes() -> None:
    setup = job().setup
    before = {name: tensor.clone() for name, tensor in setup.network.state_dict().items()}
    tested = [1e-3, 1e-2, 1e10, 1e20, 1e30, 1e35]
    trainer = build_trainer(setup, lambda step: tested[min(step, 5)], None, Reporter(quiet=True))
    losses = losses_at(trainer, setup.inputs.shuffled(16), tested, lambda: False, lambda images: None)
    assert 2 <= len(losses) < 6
    assert all(tensor.equal(before[name]) for name, tensor in setup.network.state_dict().items())


def test_the_first_loss_is_that_of_the_first_step_of_training() -> None:
    setup = job().setup
    first = next(setup.inputs.shuffled(16).epoch(0))
    trainer = build_trainer(setup, lambda step: 1e-3, None, Reporter(quiet=True))
    losses = losses_at(trainer, setup.inputs.shuffled(16), [1e-3, 1e-3], lambda: False, lambda images: None)
    assert len(losses) == 2
    setup.strategy.train_mode(0)
    with torch.no_grad():
        assert setup.strategy.step(setup.inputs.place(first)).loss.item() == pytest.approx(losses[0], rel=1e-6)


def test_one_that_is_stopped_writes_nothing(command: Command, stop_at: Callable[[int | None], None]) -> None:
    stop_at(3)
    ended = command(*TINY, "mode=find_lr", "name=rates")
    assert ended.code == 75
    assert not Path("outputs/find_lr").exists()
