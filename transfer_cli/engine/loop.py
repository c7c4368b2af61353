"""The training loop and the evaluation loop. Neither knows a strategy, a data set or a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute, Place
from transfer_cli.engine.optimizers import set_rate
from transfer_cli.engine.strategy import StepResult, Strategy
from transfer_cli.errors import RunError
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.sharpness import sharp_gradients
from transfer_cli.models.network import run_frozen

# Loss scaling overflows now and then, by design; more in a row than this is divergence.
MAX_SKIPPED_STEPS = 25
NO_SINGLE = (
    "trainer.batch_size=1: BatchNorm cannot train on one image where this network makes one pixel of it. "
    "Take trainer.batch_size=2 or more, or a larger image_size."
)


@dataclass
class Cursor:
    """Where training stands: all that order, augmentation, schedule and freezing depend on."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0


@dataclass
class Totals:
    """Running sums of one epoch, on the device: loss [], labelled images and the correct ones [], and images seen."""

    loss: Tensor
    correct: Tensor
    labelled: Tensor
    seen: int = 0

    @classmethod
    def zeros(cls, device: torch.device) -> Totals:
        """Sums of nothing. MPS has no float64."""
        precise = torch.float32 if device.type == "mps" else torch.float64
        correct, labelled = torch.zeros(2, dtype=torch.int64, device=device).unbind()
        return cls(torch.zeros((), dtype=precise, device=device), correct, labelled)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count one batch; `loss` is its mean. Images without a label (-1) are neither right nor wrong."""
        self.loss += loss.to(self.loss.dtype) * len(labels)
        self.correct += (logits.argmax(1) == labels).sum()
        self.labelled += (labels >= 0).sum()
        self.seen += len(labels)

    def means(self) -> tuple[float, float]:
        """(loss, accuracy of the images with labels, nan without any); the device synchronises here."""
        labelled = int(self.labelled)
        return float(self.loss) / max(self.seen, 1), float(self.correct) / labelled if labelled else math.nan


@dataclass
class Trainer:
    """What one optimizer step needs, and what it has used up."""

    strategy: Strategy
    step: Callable[[Batch], StepResult]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    compute: Compute
    place: Place
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


def train_epoch(
    trainer: Trainer,
    batches: Iterable[Batch],
    cursor: Cursor,
    totals: Totals,
    *,
    stop: Callable[[], bool],
    progress: Callable[[int, Totals], None],
) -> bool:
    """Train from the cursor to the end of the epoch; False if `stop` asked for an end at a step boundary.

    `progress` gets the images of each step and the sums so far. Raises RunError for a loss or gradient that is not
    finite, before the weights move.
    """
    network = trainer.strategy.network
    trainer.strategy.train_mode(cursor.epoch)
    for batch in batches:
        if stop():
            return False
        set_rate(trainer.optimizer, trainer.rate(cursor.step))
        placed = trainer.place(batch)
        backward = partial(_forward_backward, trainer, placed)
        loss, logits = sharp_gradients(network.module, trainer.rho, backward) if trainer.rho else backward()
        if _is_finite(trainer, loss, cursor):
            trainer.scaler.step(trainer.optimizer)
            totals.add(loss, logits, placed.labels)
            if trainer.average is not None:
                trainer.average.update(network.module, cursor.step)
        trainer.scaler.update()
        cursor.step += 1
        cursor.step_in_epoch += 1
        progress(len(batch), totals)
    return True


def _forward_backward(trainer: Trainer, batch: Batch) -> tuple[Tensor, Tensor]:
    """Gradients of the mean loss of one batch, in micro-batches; halves these when memory runs out.

    Returns the loss [] and the logits [B, K], detached.
    """
    while True:
        trainer.optimizer.zero_grad(set_to_none=True)
        losses, logits = [], []
        try:
            for part in batch.split(trainer.micro_batch):
                with trainer.compute.autocast():
                    result = trainer.step(part)
                share = len(part) / len(batch)
                trainer.scaler.scale(result.loss * share).backward()
                losses.append(result.loss.detach() * share)
                logits.append(result.logits.detach())
            return torch.stack(losses).sum(), torch.cat(logits)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(NO_SINGLE) from error
        except torch.OutOfMemoryError as error:
            _halve_micro_batch(trainer, len(batch), error)


def _halve_micro_batch(trainer: Trainer, batch: int, error: Exception) -> None:
    size = min(trainer.micro_batch, batch)
    if size <= 1:
        raise RunError(
            f"out of memory with one image at a time ({error}). Free the device, or take a smaller model or image_size."
        ) from error
    trainer.micro_batch = math.ceil(size / 2)
    if trainer.compute.device.type == "cuda":
        torch.cuda.empty_cache()
    trainer.warn(
        f"out of memory: going on with {trainer.micro_batch} images at a time; the step still averages the whole "
        "batch, but BatchNorm now normalises over fewer images"
    )


def _is_finite(trainer: Trainer, loss: Tensor, cursor: Cursor) -> bool:
    """Clip, and look at loss and gradient norm before the weights move: the one place where a step synchronises."""
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
    raise RunError(
        f"the loss or its gradient is not finite at step {cursor.step} (epoch {cursor.epoch + 1}): loss {value:g}, "
        f"gradient norm {norm_value:g}, learning rate {rate:.3g}, last finite losses {history}. Lower optimizer.lr, "
        "raise scheduler.warmup, or set trainer.clip_grad=1; the last good state is kept."
    )


def predict_logits(
    forward: Callable[[Tensor], Tensor],
    batches: Iterable[Batch],
    compute: Compute,
    place: Place,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Logits [N, K] float32 and labels [N] in the order of `batches`; None if `stop` asked for an end.

    `forward` is a network in eval mode, or the part of it that takes the batches' inputs.
    """
    logits, labels = [], []
    for batch, output in outputs(forward, batches, compute, place):
        if stop():
            return None
        logits.append(output.float().cpu().numpy())
        labels.append(batch.labels.numpy())
    return np.concatenate(logits), np.concatenate(labels)


def outputs(
    forward: Callable[[Tensor], Tensor], batches: Iterable[Batch], compute: Compute, place: Place
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with what `forward` makes of its inputs, on the device; nothing is kept for a backward pass."""
    for batch in batches:
        with torch.inference_mode(), compute.autocast():
            output = run_frozen(forward, place(batch).inputs)
        yield batch, output
