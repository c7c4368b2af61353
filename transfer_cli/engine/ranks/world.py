"""The processes that train one network together, a rank each: what they tell each other, and how they wait.

All ranks are alike but for the first, which alone prints, writes and chooses. Long work of the first is waited for by
looking at a store now and then, and never inside a collective, which would run out of time.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from transfer_cli.data.batches import Shard
from transfer_cli.engine.ranks.pulse import Pulse, beat
from transfer_cli.errors import FirstRankEnded, LostRankError
from transfer_cli.launched import Place

T = TypeVar("T")

TIMEOUT = timedelta(minutes=10)
"""In which all ranks must come to a collective: some compile their first step longer than others."""
_POLL_SECONDS, _PATIENCE_SECONDS = 0.02, 10.0
_END, _LOST, _ASKED = "end", "lost", "asked"
# What gloo and NCCL begin or end their errors with; both raise nothing but RuntimeErrors.
_OF_TRANSPORT = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "socket")


@dataclass(frozen=True)
class World:
    """One process among `size`; `store` is what torch keeps for them, where there are several."""

    rank: int = 0
    size: int = 1
    store: Any = None
    _turns: Iterator[int] = field(default_factory=count, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this rank prints, writes and chooses."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """Which samples are this rank's."""
        return Shard(self.rank, self.size)

    def join(self) -> None:
        """Go on when all ranks are here, however long that takes: collectives work from then on."""
        if self.size == 1 or dist.is_initialized():
            return
        self._meet()
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "cpu:gloo"
        dist.init_process_group(backend, store=self.store, rank=self.rank, world_size=self.size, timeout=TIMEOUT)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all ranks, in place, the same bits on each."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """What each rank has, by rank, on all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def gather_first(self, value: T) -> list[T]:
        """What each rank has, by rank, on the first; an empty list on the others."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.gather_object(value, values if self.is_first else None)
        return values if self.is_first else []

    def copy_first(self, module: nn.Module) -> None:
        """Give every rank the tensors of the first, bit for bit."""
        if self.size > 1:
            for tensor in [*module.parameters(), *module.buffers()]:
                # Not every backend takes channels last.
                sent = tensor.detach().contiguous()
                dist.broadcast(sent, 0)
                tensor.detach().copy_(sent)

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, however long it takes: plain values, as JSON has them."""
        if self.size == 1:
            return make()
        key = f"value {next(self._turns)}"
        if self.is_first:
            value = make()
            self.store.set(key, json.dumps(value))
            return value
        self._wait(key)
        found: T = json.loads(self.store.get(key))
        return found

    def ask(self, code: int) -> None:
        """Let the first rank end with this exit code, which was asked for here, outside of what all do together."""
        with lost_ranks():
            self.store.set(_ASKED, str(code))

    def asked(self) -> int | None:
        """What other ranks asked for."""
        return int(self.store.get(_ASKED)) if self.size > 1 and self.store.check([_ASKED]) else None

    def check_first(self) -> None:
        """Raises FirstRankEnded or LostRankError where nobody will wait for this rank any more."""
        with lost_ranks():
            if self.store.check([_LOST]):
                raise LostRankError(_MESSAGE)
            if not self.is_first and self.store.check([_END]):
                raise FirstRankEnded(int(self.store.get(_END)))

    def end(self, code: int, *, lost: bool, waits: bool = True) -> None:
        """Tell the others that this rank ends, and how; `lost`: in the middle of what they do together.

        The first keeps the store, and so waits a moment for them to learn of it, where they are there.
        """
        with suppress(RuntimeError):  # the first is gone, and the store with it
            if lost and not self.is_first:
                self.store.set(_LOST, str(code))
            gone = self.store.add("gone", 1)
            if self.is_first:
                self.store.set(_END, str(code))
                deadline = time.monotonic() + _PATIENCE_SECONDS
                while waits and gone < self.size and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
                    gone = self.store.add("gone", 0)
        if not lost and dist.is_initialized():
            dist.destroy_process_group()

    def first_ends(self) -> bool:
        """Whether the first rank ends as well, of the same error: looked for a moment."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with suppress(RuntimeError):
            while time.monotonic() < deadline:
                if self.store.check([_END]):
                    return True
                time.sleep(_POLL_SECONDS)
        return False

    def _meet(self) -> None:
        number = next(self._turns)
        if self.store.add(f"here {number}", 1) == self.size:
            self.store.set(f"all {number}", "")
        self._wait(f"all {number}")

    def _wait(self, key: str) -> None:
        """Raises FirstRankEnded or LostRankError where nobody will set the key any more."""
        # The first is there as long as its store is.
        pulse = Pulse(self.store, range(1, self.size))
        with lost_ranks():
            while not self.store.check([key]):
                if self.store.check([_LOST]) or (self.is_first and pulse.lost() is not None):
                    raise LostRankError(_MESSAGE)
                if not self.is_first and self.store.check([_END]) and not self.store.check([key]):
                    raise FirstRankEnded(int(self.store.get(_END)))
                time.sleep(_POLL_SECONDS)


_MESSAGE = (
    "another process of this training has ended or does not answer. States saved so far are kept: go on with the same "
    "command and resume=auto."
)


@contextmanager
def lost_ranks() -> Iterator[None]:
    """Errors of a transport to a rank that is gone, as LostRankError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_TRANSPORT):
            raise LostRankError(_MESSAGE) from error
        raise


ALONE = World()
"""Of one process, as most are."""
_joined = ALONE


def current() -> World:
    """The world that this process belongs to."""
    return _joined


def enter(place: Place) -> World:
    """Become a rank: find the store that all share, and take a device."""
    global _joined
    os.environ |= {"MASTER_ADDR": place.address, "MASTER_PORT": str(place.port)}
    of_launcher, _, _ = next(iter(rendezvous("env://", place.rank, place.size, timeout=TIMEOUT)))
    store = _own_store(place, PrefixStore("transfer-run", of_launcher))
    come = store.add("come", 1)
    while place.rank == 0 and come < place.size:
        # Each must find the store, were it only to learn that the command is wrong.
        time.sleep(_POLL_SECONDS)
        come = store.add("come", 0)
    if torch.cuda.is_available():
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
    beat(store, place.rank)
    _joined = World(place.rank, place.size, store)
    return _joined


def _own_store(place: Place, of_launcher: Store) -> TCPStore:
    """One that the first rank keeps: a state is saved even if the launcher, and its store, are gone."""
    if place.rank == 0:
        store = TCPStore(place.address, 0, is_master=True, wait_for_workers=False, timeout=TIMEOUT)
        of_launcher.set("port", str(store.port))
        return store
    return TCPStore(place.address, int(of_launcher.get("port")), is_master=False, timeout=TIMEOUT)
