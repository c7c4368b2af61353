"""Several ranks take the steps that one takes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.engine.trainers import CPU, TASK, trainer_of
from tests.gloo import on_ranks
from transfer_cli.data.batches import Batch, Shard, of_visit
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import Turns, evaluate, predict
from transfer_cli.engine.loop import Cursor, train_epoch
from transfer_cli.engine.ranks.agreement import agreed
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.ranks.sharding import Sharded, parts_of, share_out
from transfer_cli.engine.ranks.step import tried_out
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.strategy import StepResult
from transfer_cli.engine.totals import Totals
from transfer_cli.errors import RunError
from transfer_cli.methods.distill.contrast import Contrast
from transfer_cli.models.shards import gathered

RAGGED = [8, 8, 7, 3, 8, 2]
"""Samples of each step; the last have fewer pairs than there are ranks."""


class Net(nn.Module):
    """Its stages in `module`, as in a Network."""

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(4) if batch_norm else nn.GroupNorm(2, 4)
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        # BatchNorm takes a bias away, whose gradient would be nothing but rounding.
        self.module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=not batch_norm), norm, nn.ReLU(), pooled, nn.Linear(4, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)


class Plain(nn.Module):
    """Cross-entropy; `thaws`: the convolution trains from epoch 1 on; `headless`: by features alone."""

    def __init__(self, network: Net, *, thaws: bool = False, headless: bool = False) -> None:
        super().__init__()
        self.network, self._thaws, self._headless = network, thaws, headless

    def train_mode(self, epoch: int) -> None:
        self.network.train()
        self.network.module[0].requires_grad_(not self._thaws or epoch > 0)

    def forward(self, batch: Batch) -> StepResult:
        logits = self.network(batch.inputs)
        loss = F.cross_entropy(logits, batch.labels, reduction="none").mean()
        if self._headless:
            loss = self.network.module[:4](batch.inputs).square().sum(1).mean()
        return StepResult(loss, logits, {"all": loss.detach()})


def whole_step(step: int, count: int, dtype: torch.dtype) -> Batch:
    draw = torch.Generator().manual_seed(step)
    images = torch.randn(count, 3, 6, 6, generator=draw, dtype=dtype)
    return Batch(images, torch.randint(3, (count,), generator=draw), torch.arange(count))


def part(world: World, whole: Batch) -> Batch:
    """The share of a rank."""
    visit = world.shard.visit(whole.indices.numpy())
    positions = torch.from_numpy(visit.positions)
    return of_visit(Batch(whole.inputs[positions], whole.labels[positions], positions), visit)


def adamw(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=0.01, fused=True)


def shared(strategy: Any, world: World) -> Sharded:
    """The parameters shared out, as a run does it."""
    batch = whole_step(0, 2, next(strategy.parameters()).dtype)
    with tried_out(strategy, CPU):
        parts = parts_of(strategy, lambda: strategy(batch))
    return share_out(strategy, parts, world, CPU)


def trained(world: World, dtype: torch.dtype, sizes: list[int], options: dict[str, Any]) -> dict[str, Any]:
    """Losses of each step, sums of each epoch, and the tensors after all, of two epochs of steps of these sizes."""
    world.join()
    torch.manual_seed(5)
    weighs, synced, micro_batch = (options.pop(k, d) for k, d in (("weighs", True), ("synced", False), ("micro", 3)))
    batch_norm, rho = options.pop("batch_norm", False), options.pop("rho", 0.0)
    optimizer_of, shares = options.pop("optimizer", adamw), options.pop("shares", False)
    checks_itself = options.pop("guarded", False)
    network = Net(batch_norm=batch_norm).to(dtype)
    contrasts = options.pop("contrasts", None)
    strategy = Contrasting(network, contrasts) if contrasts else Plain(network, **options)
    sharded = shared(strategy, world) if shares else None
    parallel = Parallel(world, strategy, strategy, sync_batch_norm=synced, sharded=sharded)  # type: ignore[arg-type]
    if not weighs:
        parallel.weight = lambda batch: 0.0 if batch.idle else 1.0  # type: ignore[method-assign]
    groups = [{"params": list(strategy.parameters()), "lr_multiplier": 1.0}]
    optimizer = optimizer_of(groups)
    micro_batch = 8 if contrasts else micro_batch
    more: dict[str, Any] = {"forward": parallel, "micro_batch": micro_batch, "clip_grad": 0.4, "rho": rho}
    trainer = trainer_of(strategy, optimizer, guarded=checks_itself, **more)
    losses, sums, cursor = [], [], Cursor()
    for epoch in range(2):
        cursor.epoch, totals = epoch, Totals.zeros(TASK, CPU)
        batches = (part(world, whole_step(10 * epoch + k, n, dtype)) for k, n in enumerate(sizes))
        losses += [trainer.settle() or trainer.last_losses[-1] for _ in train_epoch(trainer, batches, cursor, totals)]
        sums.append(totals.to_dict())
    tensors = gathered(strategy.state_dict())
    return {"losses": losses, "sums": sums, "tensors": {n: t.numpy() for n, t in tensors.items()}}


def furthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of a loss or weight."""
    of_losses = [abs(a - b) for a, b in zip(one["losses"], other["losses"], strict=True)]
    return max(*of_losses, *(float(abs(one["tensors"][n] - other["tensors"][n]).max()) for n in one["tensors"]))


@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_ragged_steps_in_micro_batches_clipped_are_those_of_one_process(size: int) -> None:
    alone = trained(ALONE, torch.float64, RAGGED, {})
    ranks = on_ranks(size, trained, torch.float64, RAGGED, {})
    assert furthest(alone, ranks[0]) < 1e-12
    for ours, theirs in zip(alone["sums"], ranks[0]["sums"], strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-11)
        assert [theirs[key] for key in ("correct", "labelled", "seen")] == [
            ours[key] for key in ("correct", "labelled", "seen")
        ]
        assert theirs["parts"]["all"] == pytest.approx(ours["parts"]["all"], abs=1e-11)
    # The control: shards that count alike, however many samples they have.
    assert furthest(alone, on_ranks(size, trained, torch.float64, RAGGED, {"weighs": False})[0]) > 1e-4


def starved(world: World) -> str:
    """What a rank says that has no memory for its samples."""

    def forward(self: Plain, batch: Batch) -> StepResult:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it, line by line")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plain, "forward", forward)
        with pytest.raises(RunError) as error:
            trained(world, torch.float32, [8], {})
    return str(error.value)


def test_a_rank_without_memory_says_so_in_a_line() -> None:
    for message in on_ranks(2, starved):
        assert message.startswith("out of memory with 3 images at a time, one rank's share of a step (CUDA out of mem")
        assert message.endswith("goes on with 2 at a time.")
        assert "GiB.). States" in message and "\n" not in message and "rank 1" not in message


def test_in_single_precision_twenty_steps_stay_within_rounding() -> None:
    sizes = [*RAGGED, 8, 8, 5, 7]
    assert furthest(trained(ALONE, torch.float32, sizes, {}), on_ranks(2, trained, torch.float32, sizes, {})[0]) < 1e-6


@pytest.mark.parametrize("options", [{"thaws": True}, {"headless": True}, {"rho": 0.05}])
def test_whatever_trains_all_ranks_take_the_steps_of_one(options: dict[str, Any]) -> None:
    """What thaws later, parameters that the loss leaves out, and sharpness-aware steps."""
    alone = trained(ALONE, torch.float64, RAGGED, dict(options))
    assert furthest(alone, on_ranks(2, trained, torch.float64, RAGGED, options)[0]) < 1e-12


def test_all_ranks_have_the_same_bits_and_statistics_of_all_of_them() -> None:
    ranks = on_ranks(3, trained, torch.float32, RAGGED, {"batch_norm": True})
    for other in ranks[1:]:
        floats = [name for name, tensor in other["tensors"].items() if tensor.dtype.kind == "f"]
        assert all((other["tensors"][name] == ranks[0]["tensors"][name]).all() for name in floats)
        assert other["losses"] == ranks[0]["losses"] and other["sums"] == ranks[0]["sums"]
    assert (ranks[0]["tensors"]["network.module.1.running_mean"] != 0).all()


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_statistics_of_all_ranks_are_those_of_one_process(dtype: torch.dtype, within: float) -> None:
    options = {"batch_norm": True, "micro": 8}
    alone = trained(ALONE, dtype, RAGGED, dict(options))
    for size in (2, 3):
        ranks = on_ranks(size, trained, dtype, RAGGED, {**options, "synced": True})
        assert list(ranks[0]["tensors"]) == list(alone["tensors"])
        assert furthest(alone, ranks[0]) < within
        for name in ranks[0]["tensors"]:
            assert all((rank["tensors"][name] == ranks[0]["tensors"][name]).all() for rank in ranks)
    # The control: each rank by its own samples.
    assert furthest(alone, on_ranks(2, trained, dtype, RAGGED, options)[0]) > 1e-3


@pytest.mark.parametrize("micro", [1, 2, 3])
def test_ranks_with_common_statistics_take_equally_many_micro_batches(micro: int) -> None:
    """Though some have samples for one more: else they would wait for each other for ever."""
    ranks = on_ranks(3, trained, torch.float32, [8, 7, 3, 9, 2], {"batch_norm": True, "synced": True, "micro": micro})
    assert all(rank["losses"] == ranks[0]["losses"] for rank in ranks) and np.isfinite(ranks[0]["losses"]).all()


class Contrasting(Plain):
    """A contrast of images with a memory of earlier ones, beside cross-entropy."""

    def __init__(self, network: Net, normalizer: float) -> None:
        super().__init__(network)
        self.contrast = Contrast(4, 108, rows=24, population=24, seed=1)
        for name in ("student", "teacher"):
            self.contrast.get_buffer(f"{name}_log_normalizer").fill_(normalizer)

    def forward(self, batch: Batch) -> StepResult:
        features = self.network.module[:4](batch.inputs)
        loss = self.contrast(features, batch.inputs.flatten(1), batch.indices, batch.indices.view(-1, 1) + 1)
        logits = self.network.module[4](features)
        return StepResult(loss, logits, {"crd": loss.detach()})


@pytest.mark.parametrize("normalizer", [4.0, math.inf])
def test_memories_of_samples_are_those_of_one_process(normalizer: float) -> None:
    sizes = [8, 7, 3, 2]
    ranks = on_ranks(3, trained, torch.float32, sizes, {"contrasts": normalizer})
    for rank in ranks:
        assert all((rank["tensors"][name] == ranks[0]["tensors"][name]).all() for name in rank["tensors"])
    # Where it is not fixed yet, each rank has an estimate of its own in the first step.
    if normalizer != math.inf:
        assert furthest(trained(ALONE, torch.float32, sizes, {"contrasts": normalizer}), ranks[0]) < 1e-5


def test_a_step_that_failed_is_undone_where_what_it_moved_is_known() -> None:
    strategy = Plain(Net(batch_norm=True).train())
    parallel, mean = Parallel(ALONE, strategy, strategy), strategy.network.module[1].running_mean  # type: ignore[arg-type]
    strategy(whole_step(0, 8, torch.float32))
    assert not parallel.undo_step(), "there is no step before it"
    parallel.agree(torch.zeros(1, dtype=torch.float64))
    before = mean.clone()
    strategy(whole_step(1, 8, torch.float32))
    assert not mean.equal(before)
    assert parallel.undo_step() and mean.equal(before)
    contrasts = Contrasting(Net(batch_norm=False), 4.0)
    assert not Parallel(ALONE, contrasts, contrasts).undo_step(), "its memory has moved"  # type: ignore[arg-type]


def first_normalizers(world: World, estimates: list[float]) -> float:
    world.join()
    contrast = Contrast(1, 1, rows=2, population=2, seed=1)
    for name in ("student", "teacher"):
        contrast.get_buffer(f"{name}_log_normalizer").fill_(estimates[world.rank])
    contrast.average_normalizers([0.75, 0.25][world.rank], world.sum)
    return float(contrast.get_buffer("student_log_normalizer"))


def test_what_the_first_batch_fixes_is_its_mean_over_all_ranks() -> None:
    expected = math.log(0.75 * 8 + 0.25 * 4)
    assert on_ranks(2, first_normalizers, [math.log(8), math.log(4)]) == pytest.approx([expected] * 2)


def evaluated(world: World, images: int) -> Any:
    """Scores and outputs for so many images, two a batch."""
    world.join()
    torch.manual_seed(1)
    network: Any = Net(batch_norm=True)
    whole = whole_step(3, images, torch.float32)
    batches = [whole[first : first + 2] for first in world.shard.mine(range(0, images, 2))]
    turns = Turns.of(world, images, 2)
    on = Compute(CPU, "fp32"), lambda batch: batch, agreed(Stop(), world), turns
    # Without images nobody asks for scores.
    return evaluate(network, batches, TASK, *on) if images else None, predict(network, batches, *on)


@pytest.mark.parametrize("images", [7, 2, 0])
def test_each_image_is_evaluated_once_however_many_ranks_there_are(images: int) -> None:
    scores, outputs = evaluated(ALONE, images)
    for size in (2, 3):
        ranks = on_ranks(size, evaluated, images)
        assert [rank[0] for rank in ranks] == [scores] * size
        assert (outputs is None) == (images == 0) and (ranks[0][1] is None) == (images == 0)
        assert all((a == b).all() for a, b in zip(ranks[0][1] or (), outputs or (), strict=True))
        assert ranks[1][1] is None


def stopped_at(world: World, asked: int) -> list[int]:
    """The looks at which each of two evaluations of a kind ends, the last rank being asked at one of them."""
    world.join()
    own = Stop()
    stop = agreed(own, world)
    for look in range(10):
        if look == asked and world.rank == world.size - 1:
            own.code = 75
        if stop.agree():
            assert stop.code == 75
            return [look]
    return []


def test_a_signal_to_one_rank_ends_all_at_the_same_step() -> None:
    assert on_ranks(3, stopped_at, 4) == [[5]] * 3


def due_at(world: World, asked: int) -> list[int]:
    """The looks at which a state is due, the last rank asking for one at a look, and again while it is saved."""
    world.join()
    stop, found = agreed(Stop(), world), []
    for look in range(8):
        stop.agree(world.rank == world.size - 1 and look in (asked, asked + 1))
        found += [look] if stop.due else []
    return found


def test_a_state_that_is_due_on_one_rank_is_saved_by_all_at_the_same_step_and_once() -> None:
    assert on_ranks(3, due_at, 3) == [[4]] * 3


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 33])
def test_shards_are_pairs_that_together_are_the_step(size: int, count: int) -> None:
    step = torch.randperm(count).numpy()
    visits = [Shard(rank, size).visit(step) for rank in range(size)]
    assert [index for visit in visits if not visit.idle for index in visit.positions] == list(step)
    in_a_chain = [Shard(rank, size).visit(step, np.arange(count)) for rank in range(size)]
    for seen in (visits, in_a_chain):
        batches = [of_visit(whole_step(0, len(v.positions), torch.float32), v) for v in seen]
        own = [replace(b, indices=torch.from_numpy(v.positions)).own for b, v in zip(batches, seen, strict=True)]
        assert torch.cat(own).tolist() == list(step)
    # One sample alone would end BatchNorm.
    assert all(len(visit.positions) > 1 or count == 1 for visit in visits)
    assert all(visit.whole == (None if size == 1 else count) for visit in visits)
