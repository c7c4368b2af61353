"""Steps that the device checks: what is not finite moves nothing, and the host hears of it some steps later."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.engine.trainers import CPU, TASK, trainer_of
from transfer_cli.config.durations import Interval
from transfer_cli.data.batches import Batch
from transfer_cli.engine.cadence import Cadence
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.loop import Cursor, Trainer, train_epoch
from transfer_cli.engine.progress import Progress
from transfer_cli.engine.ranks.world import ALONE
from transfer_cli.engine.steps.check import MAX_SKIPPED_STEPS, DivergenceError
from transfer_cli.engine.steps.guarded import can_guard, guarded_step
from transfer_cli.engine.steps.readings import DELAY, Readings
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.strategy import StepResult
from transfer_cli.engine.totals import Totals
from transfer_cli.methods.averaging import Average
from transfer_cli.records.events import Recorders
from transfer_cli.records.terminal import Reporter

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, fused=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
}
YES, NO = torch.tensor(True), torch.tensor(False)


def two(name: str) -> tuple[list[nn.Parameter], list[nn.Parameter], torch.optim.Optimizer, torch.optim.Optimizer]:
    ours, theirs = ([nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3))] for _ in range(2))
    return ours, theirs, OPTIMIZERS[name](ours), OPTIMIZERS[name](theirs)


def give(parameters: list[nn.Parameter], value: float) -> None:
    parameters[0].grad = torch.full((2, 3), value) * torch.arange(1, 7).view(2, 3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_left_out_never_was(name: str) -> None:
    """The first and a later one: weights, moments and counters, to the bit."""
    ours, theirs, guarded, plain = two(name)
    assert can_guard(guarded)
    for value in (math.nan, 0.1, 0.2, math.inf, 0.3):
        give(ours, value)
        guarded_step(guarded, NO if math.isfinite(value) else YES, None)
        if math.isfinite(value):
            give(theirs, value)
            plain.step()
        assert ours[0].equal(theirs[0])
    states = zip(guarded.state[ours[0]].values(), plain.state[theirs[0]].values(), strict=True)
    assert all(torch.equal(one, other) for one, other in states if isinstance(one, Tensor))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_dividing_in_the_step_is_clipping_before_it(name: str) -> None:
    ours, theirs, guarded, plain = two(name)
    for value in (3.0, 0.01, 2.0):
        give(ours, value)
        give(theirs, value)
        norm = nn.utils.clip_grad_norm_(theirs, 1.0)
        guarded_step(guarded, NO, ((norm + 1e-6) / 1.0).clamp_min(1))
        plain.step()
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-6, atol=1e-7)


def test_a_reading_comes_when_the_device_may_be_done() -> None:
    readings: Readings[int] = Readings(CPU, delay=2)
    seen = []
    for step in range(5):
        readings.put(torch.tensor([float(step), 0.5]), step)
        seen.append(list(readings.due()))
    assert seen == [[], [], [([0.0, 0.5], 0)], [([1.0, 0.5], 1)], [([2.0, 0.5], 2)]]
    assert list(readings.all()) == [([3.0, 0.5], 3), ([4.0, 0.5], 4)]
    assert list(readings.all()) == []


class Linear(nn.Module):
    """A linear layer under cross-entropy, at some steps with a gradient that is not finite; `module` is the layer."""

    def __init__(self, steep: Collection[int]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.module, self.steep = nn.Linear(4, 3), steep

    @property
    def network(self) -> nn.Module:
        return self

    def train_mode(self, epoch: int) -> None: ...

    def forward(self, batch: Batch) -> StepResult:
        logits = self.module(batch.inputs)
        loss = nn.functional.cross_entropy(logits, batch.labels)
        if int(batch.indices[0]) // 6 in self.steep:
            loss = loss + (0 * self.module.weight).sum().sqrt()
        return StepResult(loss, logits)


def batches(bad: set[int], count: int = 12) -> Iterator[Batch]:
    for step in range(count):
        inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        inputs[0, 0] = math.nan if step in bad else inputs[0, 0]
        yield Batch(inputs, torch.arange(6) % 3, 6 * step + torch.arange(6))


def trainer(
    *, guarded: bool, scaled: bool = False, clip_grad: float | None = None, steep: Collection[int] = ()
) -> Trainer:
    strategy = Linear(steep)
    optimizer = torch.optim.AdamW([{"params": list(strategy.parameters()), "lr_multiplier": 1.0}], fused=True)
    average = Average(strategy.module, 0.9)
    return trainer_of(strategy, optimizer, guarded=guarded, scaled=scaled, clip_grad=clip_grad, average=average)


def run(one: Trainer, bad: set[int], count: int = 12) -> Totals:
    totals = Totals.zeros(TASK, CPU)
    for _ in train_epoch(one, batches(bad, count), Cursor(), totals):
        pass
    return totals


def weights(one: Trainer) -> Tensor:
    return one.strategy.network.module.weight.detach()


def test_both_ways_of_looking_take_the_same_steps() -> None:
    ours, theirs = trainer(guarded=True), trainer(guarded=False)
    found, expected = run(ours, set()), run(theirs, set())
    assert weights(ours).equal(weights(theirs)) and found.to_dict() == expected.to_dict()
    assert ours.last_losses == theirs.last_losses and ours.past.first == theirs.past.first
    assert ours.average is not None and theirs.average is not None
    torch.testing.assert_close(ours.average.tensors["weight"], theirs.average.tensors["weight"], rtol=1e-6, atol=1e-7)


def test_both_ways_of_looking_clip_alike() -> None:
    ours, theirs = (trainer(guarded=guarded, clip_grad=0.3) for guarded in (True, False))
    without = trainer(guarded=True)
    for one in (ours, theirs, without):
        run(one, set())
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-5, atol=1e-6)
    assert (weights(ours) - weights(without)).abs().max() > 1e-3


@pytest.mark.parametrize(("bad", "steep", "said"), [({7}, set(), "nan"), (set(), {7}, r"[\d.]+, gradient norm nan")])
def test_what_is_not_finite_is_named_late_and_nothing_has_moved_since(
    bad: set[int], steep: set[int], said: str
) -> None:
    """Be it the loss, or the gradient of one that is."""
    before = trainer(guarded=False)
    run(before, set(), count=7)
    for guarded in (False, True):
        one, totals, cursor = trainer(guarded=guarded, steep=steep), Totals.zeros(TASK, CPU), Cursor()
        with pytest.raises(DivergenceError, match=rf"not finite at step 7 \(epoch 1\): loss {said}") as raised:
            for _ in train_epoch(one, batches(bad), cursor, totals):
                pass
        assert cursor.step == (7 + DELAY if guarded else 7)
        assert raised.value.step.indices == list(range(42, 48))
        assert weights(one).equal(weights(before))
        assert one.average is not None and before.average is not None
        torch.testing.assert_close(one.average.tensors["weight"], before.average.tensors["weight"])
        assert torch.isfinite(totals.loss)


def test_the_end_of_an_epoch_and_of_a_run_hear_of_all() -> None:
    one = trainer(guarded=True)
    with pytest.raises(DivergenceError, match="at step 11"):
        run(one, {11})
    steps = train_epoch(two_steps := trainer(guarded=True), batches({1}), Cursor(), Totals.zeros(TASK, CPU))
    assert [next(steps), next(steps)] == [6, 6]
    with pytest.raises(DivergenceError, match="at step 1 "):
        two_steps.settle()


class Once:
    """An epoch of twelve steps, the third of which is not finite."""

    steps_per_epoch = 12

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        return batches({2})


@pytest.mark.parametrize("late", [True, False])
def test_nothing_is_made_of_steps_that_nobody_has_heard_of(late: bool, tmp_path: Path) -> None:
    """No scores where time is up, and no state where one is due."""
    progress = Progress(TASK, Totals.zeros(TASK, CPU))
    out_of_time: Callable[[], bool] | None = (lambda: progress.cursor.step == 4) if late else None
    nothing = {"finish": lambda: None, "finish_alone": lambda: None}
    states: Any = SimpleNamespace(folder=tmp_path, world=ALONE, next_name=str, save=pytest.fail, **nothing)
    fit = Fit(
        trainer=trainer(guarded=True),
        batches=Once(),
        evaluate=pytest.fail,
        epochs=1,
        patience=None,
        progress=progress,
        checkpoints=states,
        recorders=Recorders([]),
        reporter=Reporter(quiet=True),
        stop=Stop(),
        cadence=Cadence(Interval(epochs=1) if late else Interval(steps=4)),
        out_of_time=out_of_time,
    )
    with pytest.raises(DivergenceError, match="at step 2 "):
        fit.run()
    assert progress.cursor.step == 4


def test_under_loss_scaling_some_steps_may_overflow_and_do_not_count() -> None:
    ours, theirs = trainer(guarded=True, scaled=True), trainer(guarded=False, scaled=True)
    bad = {0, 4, 5}
    found, expected = run(ours, bad), run(theirs, bad)
    assert weights(ours).equal(weights(theirs)) and found.to_dict() == expected.to_dict()
    assert found.seen == 9 * 6
    assert ours.scaler.get_scale() == theirs.scaler.get_scale() == 65536 / 8


def test_too_many_overflows_in_a_row_end_it() -> None:
    bad = set(range(3, 40))
    for guarded in (False, True):
        one = trainer(guarded=guarded, scaled=True)
        with pytest.raises(DivergenceError, match=f"at step {3 + MAX_SKIPPED_STEPS} "):
            run(one, bad, count=40)


def test_a_training_that_goes_on_knows_how_many_overflowed_before() -> None:
    one = trainer(guarded=True, scaled=True)
    one.past.skipped, before = MAX_SKIPPED_STEPS, weights(one).clone()
    with pytest.raises(DivergenceError, match="at step 0 "):
        run(one, {0})
    assert weights(one).equal(before)
