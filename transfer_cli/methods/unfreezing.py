"""Gradual unfreezing: what trains is a function of the epoch alone, so that resuming cannot get it wrong."""

from __future__ import annotations


def boundary_at(epoch: int, stages: int, *, every: int, lowest: int = 0) -> int:
    """The first stage that trains in `epoch` (from 0), of `stages` stages; all above it train too (Howard 2018).

    The head trains from the start; every `every` epochs the next stage below thaws, down to stage `lowest`.
    """
    return max(lowest, stages - 1 - epoch // every)


def thaw_epoch(stage: int, stages: int, *, every: int, lowest: int = 0) -> int | None:
    """The epoch in which a stage begins to train; None for one below `lowest`, which never does."""
    return every * (stages - 1 - stage) if stage >= lowest else None
