"""The heads of a grid, divided among threads: each thread trains its own heads, and no bit differs from one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor

from transfer_cli.methods.probes.linear_heads import HeadScores, HeadStep, ManyHeads
from transfer_cli.methods.probes.linear_layer import LinearLayer

Result = TypeVar("Result")


class ShardedHeads:
    """Heads 0 to J - 1, some in each of `shards`. Use as a context manager: its threads end with it."""

    def __init__(self, shards: Sequence[ManyHeads]) -> None:
        self._shards = list(shards)
        self._pool = ThreadPoolExecutor(len(self._shards))
        self.count = sum(shard.count for shard in self._shards)

    def __enter__(self) -> ShardedHeads:
        return self

    def __exit__(self, *ended: object) -> None:
        self._pool.shutdown()

    @property
    def steps(self) -> int:
        """Steps done."""
        return self._shards[0].steps

    @property
    def rows(self) -> int:
        """Rows of the largest weight that one product takes."""
        return max(shard.rows for shard in self._shards)

    def step(self, features: Tensor, labels: Tensor, rate_multiplier: float = 1.0) -> HeadStep:
        """One optimizer step of every head: features [B, D] float32, labels [B] int64."""
        parts = self._each(lambda shard: shard.step(features, labels, rate_multiplier))
        return HeadStep(torch.cat([part.losses for part in parts]), torch.cat([part.correct for part in parts]))

    def scores(self, features: Tensor, labels: Tensor) -> HeadScores:
        """Loss and accuracy of every head on features [N, D] with labels [N]."""
        parts = self._each(lambda shard: shard.scores(features, labels))
        return HeadScores(torch.cat([part.losses for part in parts]), torch.cat([part.accuracies for part in parts]))

    def logits_of_each(self, features: Tensor) -> Iterator[Tensor]:
        """Logits [B, K] of each head in turn."""
        return chain.from_iterable(shard.logits_of_each(features) for shard in self._shards)

    def logits_of(self, index: int, features: Tensor) -> Tensor:
        """Logits [B, K] of one head."""
        shard, place = self._find(index)
        return shard.logits(features)[place]

    def head(self, index: int) -> list[LinearLayer]:
        """The layers of one head, first to last, as copies."""
        shard, place = self._find(index)
        return shard.head(place)

    def _find(self, index: int) -> tuple[ManyHeads, int]:
        for shard in self._shards:
            if index < shard.count:
                return shard, index
            index -= shard.count
        raise IndexError(index)

    def _each(self, work: Callable[[ManyHeads], Result]) -> list[Result]:
        if len(self._shards) == 1:
            return [work(self._shards[0])]
        return list(self._pool.map(work, self._shards))
