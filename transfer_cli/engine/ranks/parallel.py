"""One step of a training on all ranks: each has a part of its samples, and all take the same step.

Losses are weighted so that the gradient is that of the mean over the whole step, however its samples fall to the ranks.
At the end of a step all ranks are equal to the bit: weights, running statistics of BatchNorm, sums; so any number of
ranks goes on with a state of any other.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parallel import DistributedDataParallel

from transfer_cli.data.batches import Batch, Shard
from transfer_cli.engine.ranks.batch_norm import SyncedBatchNorm
from transfer_cli.engine.ranks.sharding import Sharded
from transfer_cli.engine.ranks.step import PROBED_SAMPLES, Step, memories_of, module_of, tried_out
from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.strategy import StepResult, Strategy


@dataclass
class Parallel:
    """The forward pass of a strategy on this rank, whose gradients become the mean over all ranks."""

    world: World
    strategy: Strategy
    forward: Callable[[Batch], StepResult]
    """The strategy's forward pass, compiled or plain."""
    seed: int = 0
    sync_batch_norm: bool = False
    """Whether BatchNorm normalises over the samples of all ranks."""
    sharded: Sharded | None = None
    """The forward pass where the parameters are shared out over the ranks; None: each has all of them."""
    _wrapped: DistributedDataParallel | None = field(default=None, init=False)
    _training: tuple[int, ...] = field(default=(), init=False)
    _step: int = field(default=0, init=False)
    _agreed: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False)
    """Running statistics, and what they were after the last step."""

    def begin_epoch(self) -> None:
        """Where other parameters train than before, they are to be wrapped anew."""
        if self.world.size > 1 and self.sharded is None:
            training = tuple(id(p) for p in module_of(self.strategy).parameters() if p.requires_grad)
            self._wrapped = self._wrapped if training == self._training else None
            self._training = training

    def begin(self, step: int) -> None:
        """Before each try of a step: the random numbers of each rank follow from the run's seed and the step alone.

        So no state keeps a generator, and a try after one that failed draws the same dropout and stochastic depth.
        """
        self._step = step
        text = f"{self.seed} {step} {self.world.rank}"
        torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big"))

    def __call__(self, batch: Batch) -> StepResult:
        """The loss of this rank's samples, or of some of them."""
        if self.world.size == 1:
            return self.forward(batch)
        wrapped = self.sharded or self._ddp(batch)
        with SyncedBatchNorm(self.world, counts=not batch.idle) if self.sync_batch_norm else nullcontext():
            result: StepResult = wrapped(batch)
        return result

    def parts(self, batch: Batch, size: int) -> list[Batch]:
        """Micro-batches of this rank's samples, of at most `size` each.

        Ranks that normalise together, or have the parameters together, take equally many: as the one with most samples
        needs, where all have so many.
        """
        if batch.whole is None or not (self.sync_batch_norm or self.sharded):
            return batch.split(size)
        counts = [len(Shard(rank, self.world.size).visit(np.arange(batch.whole)).positions) for rank in self._ranks]
        count = min(-(-max(counts) // size), min(counts))
        edges = [len(batch) * part // count for part in range(count + 1)]
        return [batch[start:end] for start, end in pairwise(edges)]

    def summing(self, batch: Batch, *, last: bool) -> AbstractContextManager[None]:
        """Within, gradients are added up on this rank; those of the `last` part of a step go to all.

        Where they are shared out every part's do: no rank has room for all of them.
        """
        if last or self.world.size == 1 or self.sharded is not None:
            return nullcontext()
        return self._ddp(batch).no_sync()

    def weight(self, batch: Batch) -> float:
        """What the mean loss of this rank's samples counts in the mean over ranks, so that that is one over samples."""
        if batch.idle:
            return 0.0
        return 1.0 if batch.whole is None else self.world.size * len(batch) / batch.whole

    def agree(self, sums: Tensor) -> Tensor:
        """After a backward pass: `sums` [n] float64 of all ranks; running statistics become their mean."""
        statistics = self._statistics()
        message = torch.cat([sums, *(tensor.flatten().to(sums.dtype) for tensor in statistics)])
        self.world.sum(message)
        found: Tensor
        found, *means = message.split([len(sums), *(tensor.numel() for tensor in statistics)])
        self._agreed = [(t, (mean / self.world.size).view_as(t)) for t, mean in zip(statistics, means, strict=True)]
        self._reset_statistics()
        return found

    def undo_step(self) -> bool:
        """After a step that failed before the weights moved: whether all is again what it was before.

        What a memory of samples has learnt meanwhile stays.
        """
        moved = [id(tensor) for tensor in self._statistics()]
        if memories_of(self.strategy) or moved != [id(tensor) for tensor, _ in self._agreed]:
            return False
        self._reset_statistics()
        return True

    def _reset_statistics(self) -> None:
        for tensor, agreed in self._agreed:
            tensor.copy_(agreed)

    def share_memories(self, batch: Batch) -> None:
        """After a backward pass on `batch`: what each rank has learnt of its samples all remember."""
        memories = memories_of(self.strategy)
        if not memories:
            return
        assert batch.whole is not None
        first, last = self.world.shard.stretch(batch.whole)
        indices = torch.zeros(batch.whole, dtype=torch.int64)
        indices[first:last] = batch.indices[: last - first]
        of_all, device = self.world.sum(indices), batch.inputs.device
        for memory in memories:
            own = memory.rows(batch.indices[: last - first].to(device))
            rows = own.new_zeros(batch.whole, own.shape[1])
            rows[first:last] = own
            memory.remember_rows(of_all.to(device), self.world.sum(rows))
            if self._step == 0:
                memory.average_normalizers((last - first) / batch.whole, self.world.sum)

    @property
    def _ranks(self) -> range:
        return range(self.world.size)

    def _statistics(self) -> list[Tensor]:
        """What BatchNorm changes in training."""
        layers = [layer for layer in self.strategy.network.modules() if isinstance(layer, _NormBase) and layer.training]
        found = [tensor for layer in layers for tensor in (layer.running_mean, layer.running_var)]
        return [tensor for tensor in found if tensor is not None]

    def _ddp(self, batch: Batch) -> DistributedDataParallel:
        """The wrapped forward pass, made with the first batch that it gets."""
        if self._wrapped is None:
            unused = self._leaves_some_unused(batch)
            with warnings.catch_warnings():
                # torch 2.14 has another name for it, which torch 2.10 does not know.
                warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
                self._wrapped = DistributedDataParallel(
                    Step(module_of(self.strategy), self.forward),
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                    find_unused_parameters=unused,
                )
        return self._wrapped

    def _leaves_some_unused(self, batch: Batch) -> bool:
        """Whether the loss leaves out parameters that train, such as a head that only features are compared of.

        Found on a few samples; nothing but the gradients, which come next, is moved.
        """
        parameters = [p for p in module_of(self.strategy).parameters() if p.requires_grad]
        with tried_out(self.strategy, batch.inputs.device):
            loss = self.strategy(batch[:PROBED_SAMPLES]).loss
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        return any(gradient is None for gradient in found)
