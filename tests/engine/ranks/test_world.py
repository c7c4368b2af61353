"""How ranks wait for the first, and what they learn of its end."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from tests.gloo import on_ranks
from transfer_cli.engine.ranks import pulse
from transfer_cli.engine.ranks.world import ALONE, World, lost_ranks
from transfer_cli.errors import FirstRankEnded, LostRankError


def ends(world: World) -> int:
    if world.is_first:
        world.of_first(lambda: {"told": 1})
        world.end(2, lost=True)
        return 0
    assert world.of_first(dict) == {"told": 1}
    with pytest.raises(FirstRankEnded) as ended:
        world.of_first(dict)
    return ended.value.code


@pytest.mark.slow
def test_the_others_end_with_the_code_of_the_first() -> None:
    assert on_ranks(3, ends) == [0, 2, 2]


def loses(world: World) -> None:
    if world.rank == 1:
        world.end(3, lost=True)
    else:
        with pytest.raises(LostRankError, match="resume=auto"):
            world.join()


def test_a_rank_that_fails_before_all_have_come_together_is_not_waited_for() -> None:
    on_ranks(3, loses)


def waits(world: World) -> float:
    """How long the first waits for one that gives signs of life for a while, and then none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pulse, "LOST_SECONDS", 0.4)
        started = time.monotonic()
        if world.is_first:
            with pytest.raises(LostRankError, match="resume=auto"):
                world.join()
        else:
            for number in range(8):
                world.store.set(f"alive {world.rank}", str(number))
                time.sleep(0.1)
        return time.monotonic() - started


def test_a_rank_that_gives_no_sign_of_life_is_not_waited_for() -> None:
    assert 1.0 < on_ranks(2, waits)[0] < 20


def test_signs_of_life_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.01)
    signs: list[str] = []

    class Store:
        def set(self, key: str, value: str) -> None:
            signs.append(f"{key}: {value}")
            if len(signs) == 3:
                raise RuntimeError("the first is gone")

    pulse.beat(Store(), 2)
    deadline = time.monotonic() + 10
    while len(signs) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert signs == ["alive 2: 0", "alive 2: 1", "alive 2: 2"]


def copies(world: World) -> list[float]:
    world.join()
    torch.manual_seed(world.rank)
    module = nn.Sequential(nn.Conv2d(3, 2, 2), nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module[1].running_mean += world.rank
    world.copy_first(module)
    return [float(tensor.double().sum()) for tensor in module.state_dict().values()]


def test_tensors_of_the_first_go_to_all() -> None:
    first, second = on_ranks(2, copies)
    assert first == second


def test_alone_nobody_is_waited_for() -> None:
    ALONE.join()
    ALONE.copy_first(nn.Linear(1, 1))
    assert ALONE.gather(3) == [3] and ALONE.of_first(lambda: 4) == 4
    assert ALONE.sum(torch.ones(1)) == 1


def test_errors_of_a_transport_are_told_from_others() -> None:
    with pytest.raises(LostRankError), lost_ranks():
        raise RuntimeError("[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), lost_ranks():
        raise RuntimeError("shapes do not match")
