"""The range test in the loop: steps at rising rates until the loss leaves or the rates end (Smith 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import torch
from torch import nn

from transfer_cli.data.batches import Epochs
from transfer_cli.engine.loop import Cursor, Trainer, train_epoch
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.task import Task
from transfer_cli.engine.totals import Totals
from transfer_cli.errors import RunError
from transfer_cli.methods.range_test import has_diverged, smoothed


def losses_at(
    trainer: Trainer, batches: Epochs, task: Task, rates: Sequence[float], stop: Stop, step: Callable[[], None]
) -> list[float]:
    """The loss of one step at each rate, as far as it goes; `trainer.rate` must give `rates` by step.

    The network is left as it was, bit for bit. `step` is called after each.
    """
    losses: list[float] = []
    cursor = Cursor()
    with untouched(trainer.strategy.network):
        for epoch in count():
            cursor.epoch, cursor.step_in_epoch = epoch, 0
            totals = Totals.zeros(task, trainer.compute.device)
            try:
                for _ in train_epoch(trainer, batches.epoch(epoch), cursor, totals):
                    trainer.settle()
                    losses.append(trainer.last_losses[-1])
                    step()
                    if stop or len(losses) == len(rates) or has_diverged(smoothed(losses)):
                        return losses
            except RunError:
                return losses  # The loss is not finite any more: the test has found its end.
    raise AssertionError("epochs never end")


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Within, train `module` at will; afterwards its tensors, modes and torch's generators are what they were.

    Bit for bit, also when training fails. No gradients are left.
    """
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = {part: part.training for part in module.modules()}
    device = next(module.parameters()).device
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type):
            yield
    finally:
        with torch.no_grad():
            for name, tensor in module.state_dict().items():
                tensor.copy_(before[name])
        for part, training in modes.items():
            part.training = training
        module.zero_grad(set_to_none=True)
