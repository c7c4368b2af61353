"""The machine that a run computes on: its device, and what the cache folder remembers from run to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.place import open_cache
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.devices import device as devices
from transfer_cli.engine.devices import gpus, kernels
from transfer_cli.engine.measured.precision import PrecisionMemory, check_has
from transfer_cli.engine.measured.speed import SpeedMemory
from transfer_cli.models.published import SeenWeights
from transfer_cli.records.terminal import Reporter


@dataclass(frozen=True)
class Machine:
    """A device, ready to compute, and the caches."""

    device: torch.device
    cache: Cache
    seen_weights: SeenWeights
    precisions: PrecisionMemory
    speeds: SpeedMemory


def open_machine(e: Experiment, reporter: Reporter) -> Machine:
    """Select and seed the device, open the caches.

    Raises UserError for a device that this machine lacks, or a precision that the device does.
    """
    device = devices.select_device(e.trainer.device)
    check_has(e.trainer.precision, device)
    hidden = gpus.hides_one() if e.trainer.device == "auto" and device.type == "cpu" else None
    if hidden is not None:
        reporter.warn(f"trainer.device=auto: the CPU, though a GPU is there: {hidden}")
    devices.prepare(device, e.seed, deterministic=e.trainer.deterministic)
    problem = kernels.why_not(device) if device.type == "cuda" else None
    if problem is not None:
        reporter.warn(f"pixels are normalised on the GPU without Triton, which is slower: {problem}")
    cache = open_cache(e.cache_dir, e.cache_size, reporter.warn)
    precisions, speeds = PrecisionMemory(cache.root / "precision"), SpeedMemory(cache.root / "speed")
    return Machine(device, cache, SeenWeights(known_folder(cache.root)), precisions, speeds)


def known_folder(root: Path) -> Path:
    """Where is kept what libraries said of their weights and networks, in the cache at `root`."""
    return root / "known"


def say_device(device: torch.device, precision_reason: str, reporter: Reporter) -> None:
    """One line that says on what, and at which precision."""
    threads = f" ({torch.get_num_threads()} threads)" if device.type == "cpu" else ""
    reporter.say(f"device    {devices.device_name(device)}{threads}, {precision_reason}")
