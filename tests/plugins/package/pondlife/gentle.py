"""A strategy: `Config`, its options, and `prepare`, which makes a training of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.runs.finetune import job


@dataclass(frozen=True)
class Config(Finetune):
    """Finetuning whose gradients are never longer than `longest`."""

    name: Literal["gentle"]  # type: ignore[assignment]
    longest: float = 0.5


def prepare(e: Experiment, *rest: Any, **more: Any) -> Any:
    """A finetuning with that limit."""
    assert isinstance(e.strategy, Config)
    return job.prepare(replace(e, trainer=replace(e.trainer, clip_grad=e.strategy.longest)), *rest, **more)
