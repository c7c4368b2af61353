"""Ranks for tests: a few processes that stay, each with torch imported, and talk over gloo."""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import os
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 120


def on_ranks(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(world, *arguments)` returns on each of `size` ranks; it is a function of a module."""
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        futures = [_pool(rank).submit(_as_rank, rank, size, store, work, arguments) for rank in range(size)]
        return [future.result(_TIMEOUT_SECONDS) for future in futures]


def on_ranks_that_end(size: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """`on_ranks` in processes of their own: of one that has ended the others see that it is gone."""
    with tempfile.TemporaryDirectory() as folder:
        store, results = str(Path(folder) / "store"), [Path(folder) / str(rank) for rank in range(size)]
        ranks = [
            _context().Process(target=_to_file, args=(result, rank, size, store, work, arguments))
            for rank, result in enumerate(results)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(_TIMEOUT_SECONDS)
            process.kill()
        return [pickle.loads(result.read_bytes()) for result in results]


def _to_file(result: Path, *rank: Any) -> None:
    result.write_bytes(pickle.dumps(_as_rank(*rank)))
    os._exit(0)


def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transfer_cli.runs.train", "timm", "matplotlib.figure", "torch.nn.parallel"])
    return context


@functools.cache
def _pool(rank: int) -> ProcessPoolExecutor:
    """Of one process, which is always the same rank: torch remembers what it has found out for its own."""
    pool = ProcessPoolExecutor(1, mp_context=_context())
    atexit.register(pool.shutdown, cancel_futures=True)
    return pool


def _as_rank(rank: int, size: int, store: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    import torch
    from torch import distributed as dist

    from transfer_cli.engine.ranks.world import World

    torch.set_num_threads(1)
    world = World(rank, size, dist.FileStore(store, size))  # type: ignore[attr-defined]
    try:
        return work(world, *arguments)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
