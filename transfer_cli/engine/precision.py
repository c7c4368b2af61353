"""The fastest precision for a network on this machine: measured once, remembered in the cache folder.

A GPU that knows bf16 takes bf16. On a CPU it depends on the model: dense convolutions gain threefold, depthwise ones
lose, so a few training steps of each are timed: in seconds of one thread's own work, which other programs on the
machine hardly change. By the clock a busy machine once timed bf16 at 8 times the speed where it has half.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute, cpu_name
from transfer_cli.engine.strategy import Strategy
from transfer_cli.files import atomic_write_text

# bf16 must win clearly, so that a noisy machine does not choose by chance.
CLEAR_GAIN = 1.25
TIMED_STEPS = 2
# As many pixels as eight images of 64 pixels: a large network at 224 pixels would take half a minute with eight.
TIMED_PIXELS = 8 * 64 * 64


@dataclass
class PrecisionMemory:
    """What was measured before, a file for each network, size and machine; counts its hits and misses."""

    folder: Path
    hits: int = 0
    misses: int = 0

    def get(self, key: dict[str, Any], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Seconds of a training step by precision, remembered or measured now."""
        file = self.folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
        seconds = _read(file)
        self.hits += seconds is not None
        self.misses += seconds is None
        if seconds is None:
            seconds = measure()
            _remember(file, {"seconds": seconds, **key})
        return seconds


def choose_precision(
    wanted: str,
    device: torch.device,
    memory: PrecisionMemory,
    work: dict[str, Any],
    measure: Callable[[], dict[str, float]],
) -> tuple[str, str]:
    """(precision, why). `work` names what is computed; on a CPU that has both, `measure` tells which is faster."""
    if wanted != "auto":
        return wanted, f"precision {wanted}"
    if device.type == "cuda":
        best = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return best, f"precision {best} (the fastest of this GPU)"
    if device.type != "cpu" or not _cpu_has_bf16():
        return "fp32", f"precision fp32 (this {device.type} has no fast bf16)"
    machine = {"torch": torch.__version__, "cpu": cpu_name()}
    seconds = memory.get({**work, **machine}, measure)
    ratio = seconds["fp32"] / seconds["bf16"]
    best = "bf16" if ratio > CLEAR_GAIN else "fp32"
    return best, f"precision {best} (measured here: bf16 runs at {ratio:.2f} times the speed of fp32)"


def training_work(strategy: Strategy, image_size: int) -> dict[str, Any]:
    """What a training step depends on: the tensors of the network, and which of them train."""
    shapes = [(name, list(p.shape), p.requires_grad) for name, p in strategy.network.named_parameters()]
    digest = hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]
    return {"work": "training step", "network": digest, "image_size": image_size}


def plain_batch(images: Tensor) -> Batch:
    """Images [B, 3, S, S] that all belong to the first class."""
    zeros = torch.zeros(len(images), dtype=torch.int64)
    return Batch(images, zeros, zeros)


def time_training(
    strategy: Strategy, image_size: int, epoch: int, batch_of: Callable[[Tensor], Batch] = plain_batch
) -> dict[str, float]:
    """Least seconds of a training step of an epoch in each precision; all that it moves in the network is put back."""
    generator = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    strategy.network.to(memory_format=torch.channels_last)
    strategy.train_mode(epoch)
    batch = batch_of(_images(image_size))

    def step(compute: Compute) -> None:
        with compute.autocast():
            loss = strategy(batch).loss
        loss.backward()

    seconds = _time(step)
    strategy.network.zero_grad(set_to_none=True)
    strategy.network.load_state_dict(before)
    torch.set_rng_state(generator)
    return seconds


@torch.inference_mode()
def time_inference(forward: Callable[[Tensor], Tensor], image_size: int) -> dict[str, float]:
    """Least seconds of a forward pass in each precision."""
    images = _images(image_size)

    def run(compute: Compute) -> None:
        with compute.autocast():
            forward(images)

    return _time(run)


def _images(image_size: int) -> Tensor:
    count = max(2, TIMED_PIXELS // image_size**2)
    return torch.rand(count, 3, image_size, image_size).to(memory_format=torch.channels_last)


def _time(work: Callable[[Compute], None]) -> dict[str, float]:
    """Least seconds of `work` in each precision, alternating; the first round warms up."""
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(TIMED_STEPS + 1):
        for precision, times in seconds.items():
            start = time.thread_time()
            work(Compute(torch.device("cpu"), precision))
            times.append(time.thread_time() - start)
    torch.set_num_threads(threads)
    return {precision: min(times[1:]) for precision, times in seconds.items()}


def _read(file: Path) -> dict[str, float] | None:
    try:
        seconds = json.loads(file.read_text(encoding="utf-8"))["seconds"]
        return {precision: float(seconds[precision]) for precision in ("fp32", "bf16") if seconds[precision] > 0}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(file: Path, content: dict[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, json.dumps(content, indent=1) + "\n")
    except OSError:
        pass  # A memory that cannot be written costs a measurement next time, nothing else.


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
