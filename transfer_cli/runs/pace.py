"""How fast a training goes, evaluation and all: remembered on this machine for whoever trains so next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from transfer_cli.engine.devices.device import machine
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.ranks.world import World
from transfer_cli.runs.materials import Materials


@contextmanager
def remembered(m: Materials, fit: Fit, world: World) -> Iterator[None]:
    """Within, the fit trains to its end. Less than an epoch says little: most of its time would be evaluation's."""
    before, first, started = fit.progress.images, fit.progress.cursor.step, time.perf_counter()
    yield
    images, steps = fit.progress.images - before, fit.progress.cursor.step - first
    if steps >= fit.batches.steps_per_epoch and world.is_first:
        m.machine.speeds.remember(_work(m, fit, world), images / (time.perf_counter() - started))


def known(m: Materials, fit: Fit, world: World) -> float | None:
    """Images a second of the last training like this one; None where there was none."""
    return m.machine.speeds.recall(_work(m, fit, world))


def _work(m: Materials, fit: Fit, world: World) -> dict[str, Any]:
    """What a training's speed depends on."""
    e, trainer = m.experiment, fit.trainer
    groups = trainer.optimizer.param_groups
    return {
        "model": e.model.name,
        "strategy": e.strategy.name,
        "image_size": m.preprocessing.crop_pixels,
        "trained": sum(p.numel() for group in groups for p in group["params"]),
        "step_images": e.trainer.step_images,
        "augment": e.augment.name,
        "device": machine(trainer.compute.device),
        "precision": trainer.compute.precision,
        "threads": torch.get_num_threads(),
        "ranks": world.size,
    }
