"""Ranks that each keep a part of the parameters take the steps of one that has them all."""

from __future__ import annotations

import copy
import math
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from timm.optim.lamb import Lamb
from timm.optim.lion import Lion
from timm.optim.nadamw import NAdamW
from torch import Tensor, nn
from torch import distributed as dist

from tests.engine.ranks.test_parallel import RAGGED, Net, Plain, furthest, shared, trained, whole_step
from tests.engine.trainers import CPU
from tests.gloo import on_ranks
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.ranks.sharding import parts_of, share_out
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.steps.check import Moment, Past, clip_and_check
from transfer_cli.models.shards import gathered, like, local, put, whole

SIZES = [8, 7, 3, 2]
OTHERS = ("lamb", "adam", "radam", "nadamw", "rmsprop", "lion")


def optimizer(kind: str, groups: Any) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {
        "sgd": partial(torch.optim.SGD, momentum=0.9),
        "adam": partial(torch.optim.Adam, fused=True),
        "radam": partial(torch.optim.RAdam, decoupled_weight_decay=True, foreach=True),
        "nadamw": NAdamW,
        "rmsprop": torch.optim.RMSprop,
        "lion": Lion,
        "lamb": partial(Lamb, max_grad_norm=None),
    }
    made: torch.optim.Optimizer = kinds[kind](groups, lr=0.01)
    return made


def apart(size: int, dtype: torch.dtype, sizes: list[int], options: dict[str, Any]) -> float:
    """How far ranks with parts of the parameters come from one process."""
    one = trained(ALONE, dtype, sizes, dict(options))
    return furthest(one, on_ranks(size, trained, dtype, sizes, {**options, "shares": True})[0])


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_ragged_steps_in_micro_batches_clipped_are_those_of_one_process(size: int) -> None:
    assert apart(size, torch.float64, RAGGED, {}) < 1e-12
    assert apart(size, torch.float32, RAGGED, {}) < 1e-6


@pytest.mark.parametrize(
    "options", [{"thaws": True}, {"headless": True}, {"rho": 0.05}, {"batch_norm": True, "synced": True, "micro": 8}]
)
def test_whatever_trains_ranks_with_parts_take_the_steps_of_one(options: dict[str, Any]) -> None:
    """What thaws later, parameters that the loss leaves out, sharpness-aware steps, and common statistics."""
    assert apart(2, torch.float64, SIZES, options) < 1e-12


@pytest.mark.parametrize("kind", ["sgd", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)])
def test_every_optimizer_takes_parts(kind: str) -> None:
    assert apart(2, torch.float64, SIZES, {"optimizer": partial(optimizer, kind)}) < 1e-12


def test_steps_that_a_device_checks_itself_take_parts() -> None:
    assert apart(2, torch.float32, SIZES, {"guarded": True}) < 1e-6


def overflows(world: World) -> tuple[bool, float, bool]:
    """Of a step in which one rank's part of the gradient overflows: may it be taken, the scale, did nothing move."""
    world.join()
    torch.manual_seed(0)
    strategy: Any = Plain(Net(batch_norm=False))
    before = strategy.network.module[0].weight.detach().clone()
    shared(strategy, world)
    groups = [{"params": list(strategy.parameters()), "lr_multiplier": 1.0}]
    optimizer, scaler = torch.optim.SGD(groups, lr=0.1), Compute(CPU, "fp16").grad_scaler(sharded=True)
    scaler.scale(torch.zeros(()))
    for parameter in strategy.parameters():
        parameter.grad = torch.ones_like(parameter)
    with warnings.catch_warnings():
        # That a number is one for all ranks.
        warnings.simplefilter("ignore")
        if world.rank == 1:
            local(strategy.network.module[0].weight.grad).fill_(math.inf)
        may = clip_and_check(optimizer, scaler, None, torch.zeros(()), Past(), Moment(1, 1, 0.1, torch.zeros(1)))
        scaler.step(optimizer)
        scaler.update()
    return may, scaler.get_scale(), bool(whole(strategy.network.module[0].weight).equal(before))


def test_what_overflows_in_the_part_of_one_rank_all_hear_of() -> None:
    assert on_ranks(2, overflows) == [(False, 2.0**15, True)] * 2


class Reads(nn.Module):
    """Its `outside` is read by its owner, `twice` runs twice, `tiny` hardly has anything."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
        self.outside, self.twice, self.tiny = nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        assert self.large[0].weight.shape == (40, 40)
        penalty = self.outside.weight.square().sum()
        return self.tiny(self.twice(self.twice(self.outside(self.large(inputs))))) + penalty


def test_parts_are_what_runs_once_and_nobody_else_reads() -> None:
    module = Reads()
    names = {part: name for name, part in module.named_modules()}
    found = parts_of(module, lambda: module(torch.ones(2, 40)))
    assert [names[part] for part in found] == ["large.0", "large.1"]
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in module.modules())
    half = nn.Sequential(module.large, *(nn.Linear(40, 40) for _ in range(6)))
    assert parts_of(half, lambda: half(torch.ones(2, 40)))[0] is module.large, "no more than a quarter of it"


def puts(world: World) -> list[Any]:
    """A tensor of five rows, shared out, and made again."""
    world.join()
    strategy: Any = nn.Linear(3, 5)
    shared_out_here(strategy, world)
    full = torch.arange(15.0).view(5, 3)
    put(full, strategy.weight.detach())
    back = gathered({"weight": strategy.weight, "plain": full})
    all_of_it = whole(strategy.weight).tolist()
    return [len(local(strategy.weight)), all_of_it, back["weight"].tolist(), back["plain"] is full]


def shared_out_here(module: nn.Module, world: World) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=init_device_mesh("cpu", (world.size,)))


def test_tensors_are_put_and_gathered_whole() -> None:
    """On the first rank alone, where they are shared out."""
    full = torch.arange(15.0).view(5, 3).tolist()
    assert on_ranks(3, puts) == [[2, full, full, True], [2, full, [], True], [1, full, [], True]]
    plain = torch.ones(2)
    assert local(plain) is whole(plain) is like(plain, plain) is plain


def on_device(world: World, name: str) -> float:
    """How far gradients and evaluation of a rank that shares with itself are from plain ones."""
    device, store = torch.device(name), dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=0, world_size=1)
    torch.manual_seed(0)
    plain: Any = Plain(Net(batch_norm=True)).to(device)
    ours: Any = copy.deepcopy(plain)
    batch = whole_step(0, 8, torch.float32).to(device)
    parts = parts_of(ours, lambda: ours(batch))
    ours.load_state_dict(plain.state_dict())
    sharded = share_out(ours, parts, world, device)
    gaps = []
    for _ in range(2):
        plain.zero_grad(), ours.zero_grad()
        plain(batch).loss.backward(), sharded(batch).loss.backward()
        pairs = zip(plain.parameters(), ours.parameters(), strict=True)
        gaps += [float((a.grad - whole(b.grad)).abs().max()) for a, b in pairs]
        with sharded.whole(), torch.inference_mode():
            gaps.append(float((plain.network.eval()(batch.inputs) - ours.network.eval()(batch.inputs)).abs().max()))
        assert all(hasattr(parameter, "full_tensor") for parameter in ours.parameters())
        plain.train_mode(0), ours.train_mode(0)
    return max(gaps)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_gradients_and_evaluation_are_plain_ones_on(device: str) -> None:
    assert on_ranks(1, on_device, device)[0] < 1e-5
