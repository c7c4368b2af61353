"""The training loop. It knows no strategy, no data set and no file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.checkpoints import Part
from transfer_cli.engine.device import Compute, ToDevice
from transfer_cli.engine.optimizers import set_rate
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.room import NoRoomError, half
from transfer_cli.engine.strategy import StepResult, Strategy
from transfer_cli.engine.totals import Totals
from transfer_cli.errors import RunError, first_line, is_out_of_memory
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.sharpness import sharp_gradients

# Loss scaling overflows now and then, by design; more in a row than this is divergence.
MAX_SKIPPED_STEPS = 25
NO_SINGLE = (
    "trainer.batch_size=1: BatchNorm cannot train on one image where this network makes one pixel of it. "
    "Take trainer.batch_size=2 or more, or a larger image_size."
)


@dataclass(frozen=True)
class DivergedStep:
    """The step, from 0, whose loss or gradient was not finite, and the images that it saw."""

    step: int
    epoch: int
    """From 1."""
    loss: float
    gradient_norm: float
    learning_rate: float
    indices: list[int]
    """In the data set; of several ranks, this one's."""


class DivergenceError(RunError):
    """Training cannot go on: a step was not finite. Its weights are those before it."""

    def __init__(self, message: str, step: DivergedStep) -> None:
        super().__init__(message)
        self.step = step


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
    skipped: int = 0
    last_losses: list[float] = field(default_factory=list)

    def state(self) -> Part:
        """What memory and loss scaling have taught it."""
        scaler = self.scaler.state_dict()
        values = {"micro_batch": self.micro_batch, "skipped": self.skipped, "last_losses": self.last_losses}
        return Part({**values, "scaler": scaler})

    def restore(self, part: Part) -> None:
        """Take over a saved state."""
        self.micro_batch, self.skipped = part.values["micro_batch"], part.values["skipped"]
        self.last_losses = part.values["last_losses"]
        self.scaler.load_state_dict(part.values["scaler"])


def train_epoch(trainer: Trainer, batches: Iterable[Batch], cursor: Cursor, totals: Totals) -> Iterator[int]:
    """Train on `batches`, those of the epoch from the cursor on; yields the images of each step once it is done.

    Whoever reads this may stop between two steps. Raises DivergenceError for a loss or gradient that is not finite,
    before the weights move.
    """
    network = trainer.strategy.network
    trainer.strategy.train_mode(cursor.epoch)
    trainer.forward.begin_epoch()
    for batch in batches:
        set_rate(trainer.optimizer, trainer.rate(cursor.step))
        trainer.forward.begin(cursor.step)
        placed = trainer.to_device(batch)
        backward = partial(_forward_backward, trainer, placed)
        result = sharp_gradients(network.module, trainer.rho, backward) if trainer.rho else backward()
        sums = None if batch.whole is None else _over_ranks(trainer, result, placed, batch.whole, totals)
        if _clip_and_check(trainer, result.loss if sums is None else sums.loss / sums.seen, cursor, placed.own):
            trainer.scaler.step(trainer.optimizer)
            totals.add(result, placed.labels) if sums is None else totals.merge(sums)
            if trainer.average is not None:
                trainer.average.update(network.module, cursor.step)
        trainer.scaler.update()
        cursor.step += 1
        cursor.step_in_epoch += 1
        yield len(batch) if sums is None else sums.seen


def _forward_backward(trainer: Trainer, batch: Batch) -> StepResult:
    """Gradients of the mean loss of one batch, in micro-batches; halves these when memory runs out.

    Returns the batch's result, detached.
    """
    generator = torch.get_rng_state()
    while True:
        trainer.optimizer.zero_grad(set_to_none=True)
        try:
            return _accumulated(trainer, batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(NO_SINGLE) from error
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            reason = first_line(error)
        # Out of the block: the error holds on to the graph of what failed, and so to the memory that is wanted.
        _halve_micro_batch(trainer, len(batch), reason)
        torch.set_rng_state(generator)


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
            with trainer.compute.autocast():
                result = trainer.forward(micro)
            trainer.scaler.scale(result.loss * (share * weight)).backward()
        losses.append(result.loss.detach() * share)
        logits.append(result.logits.detach())
        for name, value in result.parts.items():
            parts[name] = parts.get(name, torch.zeros_like(value)) + value * share
    return StepResult(torch.stack(losses).sum(), torch.cat(logits), parts)


def _over_ranks(trainer: Trainer, result: StepResult, batch: Batch, images: int, totals: Totals) -> Totals:
    """The sums of a step of so many images on all ranks, of which this one has the result of `batch`."""
    own = Totals.zeros(totals.task, totals.loss.device)
    own.add(result, batch.labels, idle=batch.idle)
    trainer.forward.share_memories(batch)
    return own.over(trainer.forward, images)


def _halve_micro_batch(trainer: Trainer, images: int, reason: str) -> None:
    size = min(trainer.micro_batch, images)
    smaller = half(size, reason)
    if trainer.forward.world.size > 1:
        # Others may be in the middle of this step's sums: it cannot be done again.
        raise NoRoomError(size, reason, smaller)
    trainer.micro_batch = smaller
    if trainer.compute.device.type == "cuda":
        torch.cuda.empty_cache()
    trainer.warn(
        f"out of memory: going on with {trainer.micro_batch} images at a time; the step still averages the whole "
        "batch, but BatchNorm now normalises over fewer images"
    )


def _clip_and_check(trainer: Trainer, loss: Tensor, cursor: Cursor, own: Tensor) -> bool:
    """Unscale and clip the gradients; whether the step may be taken. The one place where a step synchronises.

    Raises DivergenceError, naming the images of the step, before the weights move.
    """
    trainer.scaler.unscale_(trainer.optimizer)
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, trainer.clip_grad or math.inf)
    value, norm_value = torch.stack([loss.float(), norm.float()]).tolist()
    if math.isfinite(value) and math.isfinite(norm_value):
        trainer.skipped = 0
        trainer.last_losses = [*trainer.last_losses[-4:], value]
        return True
    trainer.skipped += 1
    if trainer.scaler.is_enabled() and trainer.skipped <= MAX_SKIPPED_STEPS:
        return False
    rate = trainer.rate(cursor.step)
    history = ", ".join(f"{past:.4g}" for past in trainer.last_losses) or "none"
    seen = DivergedStep(cursor.step, cursor.epoch + 1, value, norm_value, rate, own.tolist())
    raise DivergenceError(
        f"the loss or its gradient is not finite at step {cursor.step} (epoch {cursor.epoch + 1}): loss {value:g}, "
        f"gradient norm {norm_value:g}, learning rate {rate:.3g}, last finite losses {history}. Lower optimizer.lr, "
        "raise scheduler.warmup, or set trainer.clip_grad=1; states saved so far are kept.",
        seen,
    )
