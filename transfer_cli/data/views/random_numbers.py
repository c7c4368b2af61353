"""Order and augmentation as pure functions of (seed, epoch or view, sample), never of a generator's state.

A counter-based generator hashes the coordinates of a random number to the number itself: any sample of any view can be
computed alone, by any worker, and a run can be replayed from any step. The hash is the finaliser of splitmix64 ("Fast
Splittable Pseudorandom Number Generators", Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def uniforms(seed: int, view: int, indices: NDArray[np.int64], count: int, stream: str) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), [B, count]: row i depends on (seed, view, indices[i], stream) alone."""
    bits = _hash_bits(seed, view, np.asarray(indices), count, stream)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def noise(seed: int, view: int, index: int, count: int, stream: str) -> NDArray[np.uint8]:
    """`count` random bytes, uint8 [count], that depend on (seed, view, index, stream) alone."""
    words = _hash_bits(seed, view, np.array([index]), -(-count // 8), f"{stream} noise")
    return words.astype("<u8").view(np.uint8)[0, :count]


def order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The permutation of range(n) in which epoch `epoch` visits its samples, int64 [n]."""
    keys = _hash_bits(seed, epoch, np.arange(n, dtype=np.int64), 1, "order")[:, 0]
    return np.argsort(keys, kind="stable").astype(np.int64)


def _hash_bits(seed: int, view: int, indices: NDArray[np.int64], count: int, stream: str) -> NDArray[np.uint64]:
    """64 random bits for each (index, column), uint64 [B, count]."""
    key = _stream_key(stream)
    for coordinate in (seed, view):
        key = int(_mix(np.array([key ^ (coordinate & _MASK)], dtype=np.uint64))[0])
    rows = _mix(np.uint64(key) ^ indices.astype(np.uint64))
    columns = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    return _mix(rows[:, None] + columns[None, :])


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The splitmix64 finaliser with its increment; arithmetic is modulo 2**64."""
    values = values + np.array([_GOLDEN], dtype=np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@functools.cache
def _stream_key(stream: str) -> int:
    """A 64-bit number for a stream's name, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "little")
