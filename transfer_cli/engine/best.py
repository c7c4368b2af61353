"""The rule of the best epoch, one for every training: the highest rank on validation, or the last epoch without it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from transfer_cli.engine.task import Task
from transfer_cli.methods.scores import Scores

Kept = TypeVar("Kept")


@dataclass
class Best(Generic[Kept]):
    """The epoch to keep so far, its scores on validation, and whatever brings its weights back."""

    epoch: int = 0
    val: Scores | None = None
    kept: Kept | None = None
    margin: float | None = 0.0
    """By how much the metric of epoch 0, a network that was not trained yet, must be beaten: by more than chance.

    None: whatever is trained takes its place, since what to keep of the two is decided later.
    """

    def offer(self, epoch: int, val: Scores | None, task: Task, keep: Callable[[], Kept]) -> bool:
        """Take an epoch if it is better than the best so far; `keep` gives what brings its weights back."""
        margin = self.margin if self.epoch == 0 else 0.0
        if self.kept is not None and margin is not None and not _beats(val, self.val, task, margin):
            return False
        self.epoch, self.val, self.kept = epoch, val, keep()
        return True

    def to_dict(self) -> dict[str, Any]:
        """Plain values where `kept` is one."""
        return {"epoch": self.epoch, "val": self.val, "kept": self.kept, "margin": self.margin}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Best[Kept]:
        """What `to_dict` gave."""
        return cls(**values)


def standard_error(metric: str, share: float, images: int) -> float:
    """Of a score that is a share of so many images; 0 for a loss, which is none."""
    return 0.0 if metric == "loss" else math.sqrt(max(share * (1 - share), 0.0) / max(images, 1))


def _beats(val: Scores | None, best: Scores | None, task: Task, margin: float) -> bool:
    if val is None or best is None:
        return True
    if margin:
        return task.rank(val)[0] > task.rank(best)[0] + margin
    return task.rank(val) > task.rank(best)
