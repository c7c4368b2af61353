"""Memory that runs out, at every place of a step: the next try begins where the first did, and ends where it would."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.engine.trainers import CPU, TASK, trainer_of
from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import Batch
from transfer_cli.data.store.parts import evaluation_pixels, view_pixels
from transfer_cli.data.store.protocol import ViewRecipe
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import outputs
from transfer_cli.engine.loop import Cursor, Trainer, train_epoch
from transfer_cli.engine.steps.retrying import stepped
from transfer_cli.engine.strategy import StepResult
from transfer_cli.engine.totals import Totals
from transfer_cli.errors import RunError, out_of_memory
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.distill.contrast import Contrast

NO_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB free."
Fail = Callable[[str, int], None]


class Failing:
    """Memory runs out at places: the name of each, and at which visits to it."""

    def __init__(self, **places: set[int]) -> None:
        self.places, self.visits = places, dict.fromkeys(places, 0)
        self.graphs: list[weakref.ref[Tensor]] = []
        self.alive_at_retry: list[int] = []

    def __call__(self, place: str) -> None:
        if place not in self.places:
            return
        self.visits[place] += 1
        if self.visits[place] in self.places[place]:
            raise torch.OutOfMemoryError(NO_MEMORY)

    def begin(self) -> None:
        """A forward pass begins: which graphs of earlier ones are alive?"""
        self.alive_at_retry.append(sum(graph() is not None for graph in self.graphs))


class Failure(torch.autograd.Function):
    """The identity, whose backward pass may fail."""

    @staticmethod
    def forward(ctx: object, value: Tensor, failing: Failing) -> Tensor:
        ctx.failing = failing  # type: ignore[attr-defined]
        return value.view_as(value)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.failing("backward")  # type: ignore[attr-defined]
        return gradient, None


class Net(nn.Module):
    """Statistics and a memory of samples that move and are not used, dropout, and one layer."""

    def __init__(self, failing: Failing) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.module = nn.ModuleDict({"norm": nn.BatchNorm1d(4), "out": nn.Linear(4, 3)})
        self.memory = Contrast(4, 4, rows=6, population=6, seed=0)
        self.failing = failing

    @property
    def network(self) -> nn.Module:
        return self

    def train_mode(self, epoch: int) -> None:
        self.train()

    def forward(self, batch: Batch) -> StepResult:
        self.failing.begin()
        self.memory(batch.inputs, batch.inputs, batch.indices, batch.indices.flip(0)[:, None])
        if len(batch) > 1:
            self.module["norm"](batch.inputs)
        hidden = nn.functional.dropout(batch.inputs, 0.5) * 1.0
        hidden = Failure.apply(self.module["out"].weight.sum() * 0 + hidden, self.failing)
        self.failing.graphs.append(weakref.ref(hidden))
        self.failing("forward")
        logits = self.module["out"](hidden)
        return StepResult(nn.functional.cross_entropy(logits, batch.labels), logits)


class AdamW(torch.optim.AdamW):
    failing: Failing

    def _init_group(self, group: object, *lists: object) -> bool:
        """Half of the first state is there when memory runs out."""
        found: bool = super()._init_group(group, *lists)  # type: ignore[no-untyped-call]
        try:
            self.failing("state")
        except torch.OutOfMemoryError:
            for parameter in group["params"]:  # type: ignore[index]
                self.state[parameter].pop("exp_avg_sq", None)
            raise
        return found


def batches(count: int = 3, size: int = 6) -> Iterator[Batch]:
    for step in range(count):
        inputs = torch.randn(size, 4, generator=torch.Generator().manual_seed(step))
        yield Batch(inputs, torch.arange(size) % 3, torch.arange(size))


def trained(
    *, guarded: bool = False, rho: float = 0.0, strategy: Net | None = None, **places: set[int]
) -> tuple[Trainer, Totals, Failing]:
    strategy = Net(Failing(**places)) if strategy is None else strategy
    failing = strategy.failing
    groups = [{"params": [p], "lr_multiplier": 1.0} for p in strategy.module.parameters()]
    optimizer = AdamW(groups, fused=True)
    optimizer.failing = failing
    average, said = Average(strategy.module, 0.9), list[str]()
    one = trainer_of(strategy, optimizer, guarded=guarded, warn=said.append, rho=rho, average=average)
    totals = Totals.zeros(TASK, CPU)
    torch.manual_seed(1)
    for _ in train_epoch(one, batches(), Cursor(), totals):
        pass
    return one, totals, failing


def same(one: tuple[Trainer, Totals, Failing], other: tuple[Trainer, Totals, Failing]) -> bool:
    """Weights, statistics, average and sums, to the bit."""
    ours, theirs = (t[0].strategy.network.state_dict() for t in (one, other))
    averages = [t[0].average.tensors for t in (one, other) if t[0].average is not None]
    return (
        all(ours[name].equal(theirs[name]) for name in ours)
        and all(averages[0][name].equal(averages[1][name]) for name in averages[0])
        and one[1].to_dict() == other[1].to_dict()
    )


@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize("place", ["forward", "backward"])
def test_a_try_that_failed_never_was(place: str, rho: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Halving changes rounding and what BatchNorm sees, so the second try is let have the same size here."""
    monkeypatch.setattr("transfer_cli.engine.loop._halve_micro_batch", lambda *_: None)
    gc.disable()
    try:
        failed = trained(rho=rho, **{place: {1, 2, 4}})
    finally:
        gc.enable()
    assert same(failed, trained(rho=rho))
    # Of a sharp step it is the second pass that fails at the fourth visit.
    assert failed[2].visits[place] == (10 if rho else 6)
    assert set(failed[2].alive_at_retry) == {0}


@pytest.mark.parametrize("times", [1, 2])
def test_smaller_parts_make_the_same_step(times: int) -> None:
    """To rounding where nothing looks at the other samples: here BatchNorm's output is not used."""
    whole, _, _ = trained()
    parts, _, failing = trained(forward=set(range(1, times + 1)))
    assert parts.micro_batch == math.ceil(6 / 2**times)
    ours, theirs = (one.strategy.network.module["out"].weight for one in (parts, whole))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert set(failing.alive_at_retry) == {0}


def test_at_one_image_it_ends_with_numbers() -> None:
    with pytest.raises(RunError, match=r"out of memory with one image at a time \(CUDA out of memory. Tried to alloc"):
        trained(forward=set(range(1, 20)))


def test_where_batch_norm_needs_two_images_that_is_said() -> None:
    failing = Failing(forward={1, 2, 3})

    class Two(Net):
        def forward(self, batch: Batch) -> StepResult:
            self.module["norm"](batch.inputs)
            return super().forward(batch)

    with pytest.raises(RunError, match="out of memory with two images at a time, and BatchNorm cannot train on one"):
        trained(strategy=Two(failing))


@pytest.mark.parametrize("guarded", [False, True])
def test_the_first_state_of_an_optimizer_is_made_again(guarded: bool) -> None:
    assert same(trained(guarded=guarded, state={3}), trained(guarded=guarded))


def test_a_gpu_makes_the_state_of_all_groups_before_a_weight_moves() -> None:
    failed = trained(guarded=True, state={4})
    assert same(failed, trained(guarded=True))


def test_a_step_that_has_moved_something_is_not_taken_twice() -> None:
    """The first group has moved when the second finds no room."""
    with pytest.raises(RunError, match=r"what the optimizer keeps of each weight \(CUDA.*15 weights train"):
        trained(state={4})
    with pytest.raises(RunError, match="what the optimizer keeps"):
        trained(state={3, 6})


@pytest.mark.parametrize(
    ("known", "moves_weight", "fails", "tries"),
    [(False, False, 1, 2), (False, False, 2, 2), (False, True, 1, 1), (True, False, 1, 1)],
    ids=["once", "again", "a weight has moved", "moments may have moved"],
)
def test_a_step_is_taken_twice_where_nothing_can_have_moved(
    known: bool, moves_weight: bool, fails: int, tries: int
) -> None:
    """Of an optimizer that counts by group, and moves weights one by one."""
    weight, seen = nn.Parameter(torch.zeros(2)), []
    optimizer = torch.optim.AdamW([{"params": [weight], "step": 3}])
    optimizer.state.update({weight: {"exp_avg": torch.zeros(2)}} if known else {})

    def step() -> None:
        (group,) = optimizer.param_groups
        seen.append(group["step"])
        group["step"] += 1
        if moves_weight:
            weight.detach().add_(1)
        if len(seen) <= fails:
            raise torch.OutOfMemoryError(NO_MEMORY)

    if (fails, tries) == (1, 2):
        stepped(optimizer, step, CPU)
    else:
        with pytest.raises(RunError, match="what the optimizer keeps of each weight"):
            stepped(optimizer, step, CPU)
    assert seen == [3] * tries


def test_an_average_is_exchanged_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    module = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    average = Average(module, 0.5)
    with torch.no_grad():
        module.weight.add_(1)
    weights, averaged = module.weight.detach().clone(), average.tensors["weight"].clone()
    clone = Tensor.clone

    def small(tensor: Tensor, **words: object) -> Tensor:
        if tensor.numel() > 60:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return clone(tensor)

    monkeypatch.setattr(Tensor, "clone", small)
    with average.swapped(module):
        assert module.weight.equal(averaged) and average.tensors["weight"].equal(weights)
    assert module.weight.equal(weights)


def test_a_pass_without_gradients_goes_on_in_parts() -> None:
    """Validation, prediction and frozen prefix alike; the next batch is not tried whole again."""
    layer, room, seen = nn.Linear(4, 3), 32, []

    def forward(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        if len(inputs) > room:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return layer(inputs)

    given = list(batches(count=2, size=64))
    found = [output for _, output in outputs(lambda _: forward, given, Compute(CPU, "fp32"), lambda batch: batch)]
    expected = [output for _, output in outputs(lambda _: layer, given, Compute(CPU, "fp32"), lambda batch: batch)]
    assert all(one.equal(other) for one, other in zip(found, expected, strict=True))
    assert seen == [64, 32, 32, 32, 32]


class Store:
    """Of samples whose pixels are their number."""

    where, decodes, images_decoded = "device", False, 0

    def __init__(self, room: int) -> None:
        self.room = room

    def batch(self, indices: np.ndarray) -> Tensor:
        if len(indices) > self.room:
            raise torch.OutOfMemoryError(NO_MEMORY)
        return torch.from_numpy(indices).to(torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)

    def views(self, indices: np.ndarray, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        colour = torch.from_numpy(indices).float().repeat_interleave(12).view(-1, 3, 4)
        return self.batch(indices), colour if recipe.augment.brightness else None


@pytest.mark.parametrize("brightness", [0.0, 0.5])
def test_views_are_made_in_parts(brightness: float) -> None:
    recipe = ViewRecipe(Augment("own", brightness=brightness), 0, 2, "bilinear")
    indices = np.arange(11)
    pixels, colour = view_pixels(Store(3), indices, recipe, 0)  # type: ignore[arg-type]
    whole, its = view_pixels(Store(99), indices, recipe, 0)  # type: ignore[arg-type]
    assert pixels.equal(whole) and pixels.equal(evaluation_pixels(Store(3), indices))  # type: ignore[arg-type]
    assert (colour is None and its is None) or torch.equal(colour, its)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        view_pixels(Store(0), indices, recipe, 0)  # type: ignore[arg-type]
    assert "Tried to allocate 2.00 GiB" in out_of_memory(raised.value)
    with pytest.raises(RuntimeError, match="shape"):
        evaluation_pixels(replace_batch(RuntimeError("shape")), indices)


def replace_batch(error: Exception) -> Store:
    class Broken(Store):
        def batch(self, indices: np.ndarray) -> Tensor:
            raise error

    return Broken(0)
