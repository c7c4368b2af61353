"""The training loop. It knows no strategy, no data set and no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import Compute, ToDevice
from transfer_cli.engine.optimizers import set_rate
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.room import NoRoomError, half
from transfer_cli.engine.state_files import Part
from transfer_cli.engine.steps.ahead import on_device
from transfer_cli.engine.steps.check import Moment, Past, clip_and_check
from transfer_cli.engine.steps.clock import Clock, NoClock
from transfer_cli.engine.steps.guarded import GuardedSteps, can_guard
from transfer_cli.engine.steps.retrying import Moved, give_back, stepped, tried
from transfer_cli.engine.strategy import StepResult, Strategy
from transfer_cli.engine.totals import Totals
from transfer_cli.errors import RunError
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.sharpness import sharp_gradients

NO_SINGLE = (
    "trainer.batch_size=1: BatchNorm cannot train on one image where this network makes one pixel of it. "
    "Take trainer.batch_size=2 or more, or a larger image_size."
)
NO_SMALLER = (
    "out of memory with two images at a time, and BatchNorm cannot train on one where this network makes one pixel of "
    "it. Free the device, or take a smaller model or image_size, or strategy.batch_norm=frozen."
)


@dataclass
class Cursor:
    """Where training stands: the epoch, the step in it, and steps in all."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0


@dataclass
class Trainer:
    """What one optimizer step needs, and what it has adapted."""

    strategy: Strategy
    forward: Parallel
    """The strategy's forward pass, on all ranks."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    compute: Compute
    to_device: ToDevice
    rate: Callable[[int], float]
    micro_batch: int
    clip_grad: float | None
    warn: Callable[[str], None]
    rho: float = 0.0
    """How far sharpness-aware minimisation looks (SAM); 0: not at all."""
    average: Average | None = None
    """Of the weights, where one is kept."""
    clock: Clock = field(default_factory=NoClock)
    """Who looks at what each step spends its time on."""
    past: Past = field(default_factory=Past)
    asked: int = field(init=False)
    """How many images at once were asked for; `micro_batch` is fewer once memory has run out."""
    moved: Moved = field(init=False)
    """What has to be put back where memory runs out in a step."""
    guarded: GuardedSteps | None = field(init=False)
    """Where the device checks its own steps; None: the host looks before each."""

    def __post_init__(self) -> None:
        assert isinstance(self.strategy, nn.Module)
        self.asked = self.micro_batch
        self.moved = Moved(self.strategy)
        on_gpu = self.compute.device.type == "cuda" and can_guard(self.optimizer)
        self.guarded = self.guard() if on_gpu else None

    def guard(self) -> GuardedSteps:
        """Steps that the device checks."""
        return GuardedSteps(self.optimizer, self.scaler, self.clip_grad, self.past, self.compute.device)

    @property
    def last_losses(self) -> list[float]:
        """The last finite ones that the host knows of."""
        return self.past.losses

    def settle(self) -> None:
        """Hear of all steps so far, before anything is made of them. Raises DivergenceError."""
        if self.guarded is not None:
            self.guarded.settle()

    def state(self) -> Part:
        """What memory and loss scaling have taught it."""
        scaler = self.scaler.state_dict()
        values = {"micro_batch": self.micro_batch, "skipped": self.past.skipped, "last_losses": self.past.losses}
        return Part({**values, "scaler": scaler})

    def restore(self, part: Part) -> None:
        """Take over a saved state."""
        self.micro_batch, self.past.skipped = part.values["micro_batch"], part.values["skipped"]
        self.past.losses = part.values["last_losses"]
        self.scaler.load_state_dict(part.values["scaler"])


def train_epoch(trainer: Trainer, batches: Iterable[Batch], cursor: Cursor, totals: Totals) -> Iterator[int]:
    """Train on `batches`, those of the epoch from the cursor on; yields the images of each step once it is done.

    Whoever reads this may stop between two steps. Raises DivergenceError for a loss or gradient that is not finite,
    before the weights move.
    """
    trainer.strategy.train_mode(cursor.epoch)
    trainer.forward.begin_epoch()
    trainer.moved.begin_epoch()
    for batch in trainer.clock.batches(on_device(batches, trainer.to_device, trainer.compute.device)):
        moment = Moment(cursor.step, cursor.epoch + 1, trainer.rate(cursor.step), batch.own)
        set_rate(trainer.optimizer, moment.rate)
        result = _gradients(trainer, batch, cursor.step)
        sums = None if batch.whole is None else _over_ranks(trainer, result, batch, batch.whole, totals)
        images = len(batch) if sums is None else sums.seen
        with trainer.clock("optimizer"):
            _step(trainer, result, batch.labels, sums, totals, moment)
            trainer.scaler.update()
        cursor.step += 1
        cursor.step_in_epoch += 1
        # Its memory is for the batch that comes.
        del batch, result
        trainer.clock.step()
        yield images
    trainer.settle()


def _step(
    trainer: Trainer, result: StepResult, labels: Tensor, sums: Totals | None, totals: Totals, moment: Moment
) -> None:
    """Take the step by the gradients that are there, and count it, if its loss and gradient are finite.

    `sums` are those of all ranks where there are several. The one place where a step may wait for the device.
    """
    loss = result.loss if sums is None else sums.loss / sums.seen
    module, average = trainer.strategy.network.module, trainer.average
    if trainer.guarded is not None:
        own = totals.of(result, labels) if sums is None else sums
        left_out, reading = trainer.guarded.step(loss)
        totals.merge(own.unless(left_out))
        if average is not None:
            average.update(module, moment.step, unless=left_out)
        with trainer.clock("waiting"):
            trainer.guarded.tell(reading, moment, totals, own.seen)
    elif _may_step(trainer, loss, moment):
        stepped(trainer.optimizer, lambda: trainer.scaler.step(trainer.optimizer), trainer.compute.device)
        totals.add(result, labels) if sums is None else totals.merge(sums)
        if average is not None:
            average.update(module, moment.step)


def _may_step(trainer: Trainer, loss: Tensor, moment: Moment) -> bool:
    """Whether loss and gradient are finite; the gradient is clipped. A GPU is waited for."""
    with trainer.clock("optimizer" if trainer.compute.device.type == "cpu" else "waiting"):
        return clip_and_check(trainer.optimizer, trainer.scaler, trainer.clip_grad, loss, trainer.past, moment)


def _gradients(trainer: Trainer, batch: Batch, step: int) -> StepResult:
    """Gradients of the mean loss of one batch, in micro-batches; halves these when memory runs out.

    Each try begins as the first did: no graph of an earlier one lives, and statistics and random numbers are put back.
    Returns the batch's result, detached.
    """
    trainer.moved.remember()
    while True:
        trainer.forward.begin(step)
        result, reason = tried(lambda: _once(trainer, batch))
        if result is not None:
            return result
        assert reason is not None
        trainer.optimizer.zero_grad(set_to_none=True)
        _halve_micro_batch(trainer, len(batch), reason)
        trainer.moved.put_back()


def _once(trainer: Trainer, batch: Batch) -> StepResult:
    """One try: plain gradients, or those at the worst weights nearby."""

    def backward() -> StepResult:
        trainer.optimizer.zero_grad(set_to_none=True)
        return _accumulated(trainer, batch)

    module = trainer.strategy.network.module
    try:
        with trainer.compute.products():
            return sharp_gradients(module, trainer.rho, backward) if trainer.rho else backward()
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RunError(NO_SINGLE if trainer.micro_batch == trainer.asked else NO_SMALLER) from error


def _accumulated(trainer: Trainer, batch: Batch) -> StepResult:
    """One pass over the micro-batches of a batch, their gradients added up."""
    losses: list[Tensor] = []
    logits: list[Tensor] = []
    parts: dict[str, Tensor] = {}
    parts_of_batch = trainer.forward.parts(batch, trainer.micro_batch)
    weight = trainer.forward.weight(batch)
    for micro in parts_of_batch:
        share = len(micro) / len(batch)
        with trainer.forward.summing(micro, last=micro is parts_of_batch[-1]):
            with trainer.clock("forward"), trainer.compute.autocast():
                result = trainer.forward(micro)
            with trainer.clock("backward"):
                trainer.scaler.scale(result.loss * (share * weight)).backward()
        losses.append(result.loss.detach() * share)
        logits.append(result.logits.detach())
        for name, value in result.parts.items():
            parts[name] = parts.get(name, torch.zeros_like(value)) + value * share
    return StepResult(torch.stack(losses).sum(), torch.cat(logits), parts)


def _over_ranks(trainer: Trainer, result: StepResult, batch: Batch, images: int, totals: Totals) -> Totals:
    """The sums of a step of so many images on all ranks, of which this one has the result of `batch`."""
    own = totals.of(result, batch.labels, idle=batch.idle)
    trainer.forward.share_memories(batch)
    return own.over(trainer.forward, images)


def _halve_micro_batch(trainer: Trainer, images: int, reason: str) -> None:
    size = min(trainer.micro_batch, images)
    smaller = half(size, reason)
    if trainer.forward.world.size > 1:
        # Others may be in the middle of this step's sums: it cannot be done again.
        raise NoRoomError(size, reason, smaller)
    trainer.micro_batch = smaller
    give_back(trainer.compute.device)
    trainer.warn(
        f"out of memory: going on with {trainer.micro_batch} images at a time; the step still averages the whole "
        "batch, but BatchNorm now normalises over fewer images"
    )
