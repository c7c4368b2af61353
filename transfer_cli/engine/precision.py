"""The fastest precision for a network on this machine: by rule, which a measurement may refute by a wide margin alone.

The choice changes the weights that come out, so it must not hang on noise: equal commands give equal bytes, whatever
is remembered and whatever else the machine does. A GPU that knows bf16 takes bf16. On a CPU it depends on the network:
dense convolutions and attention gain, depthwise convolutions lose where they train. Speed of bf16 against fp32,
measured on a CPU with AVX512-BF16, one thread, 32 to 224 pixels:

- training: ResNet 1.4 to 1.9, DenseNet 1.7, RegNet 1.2, ViT and Swin 1.7 to 1.9, ConvNeXt 1.4, BiT 1.3, VGG 1.0 to 1.3;
  EfficientNet and MobileNet 0.4 to 0.9; networks of less than two million parameters 0.5 to 1.2;
- inference: VGG 0.8 to 1.1, all others 1.0 to 1.8; networks of less than two million parameters 0.9 to 1.2.

With AMX dense convolutions gain threefold and depthwise ones lose. What refutes this (an emulated unit, say) are a few
steps of each, in seconds of one thread's own work, which other programs on the machine hardly change.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.device import Compute, cpu_name
from transfer_cli.engine.strategy import Strategy
from transfer_cli.files import atomic_write_text
from transfer_cli.models.families import family_of
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import load_into

WIDE_MARGIN = 3.0
"""So many times slower the rule's choice must be to be wrong on this machine: far from all that was measured above."""
SMALL_PARAMETERS = 2_000_000
"""A network with fewer, but for its head, spends its time on other things than arithmetic."""
TIMED_STEPS = 2
# As many pixels as eight images of 64 pixels: a large network at 224 pixels would take half a minute with eight.
TIMED_PIXELS = 8 * 64 * 64


@dataclass(frozen=True)
class Looked:
    """What a network is thought to want, and why; and what was measured."""

    rule: str
    why: str
    seconds: dict[str, float]
    """By precision."""

    @property
    def ratio(self) -> float:
        """The speed of bf16 as a multiple of that of fp32."""
        return self.seconds["fp32"] / self.seconds["bf16"]


@dataclass
class PrecisionMemory:
    """What was found before, a file for each network, size and machine; counts its hits and misses."""

    folder: Path
    hits: int = 0
    misses: int = 0

    def get(self, key: dict[str, Any], look: Callable[[], Looked]) -> Looked:
        """Remembered, or found now."""
        file = self.folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
        found = _read(file)
        self.hits += found is not None
        self.misses += found is None
        if found is None:
            found = look()
            _remember(file, {**asdict(found), **key})
        return found


def choose_precision(
    wanted: str,
    device: torch.device,
    memory: PrecisionMemory,
    work: dict[str, Any],
    look: Callable[[], Looked],
) -> tuple[str, str]:
    """(precision, why). `work` names what is computed; on a CPU that has both, `look` tells which is faster."""
    if wanted != "auto":
        return wanted, f"precision {wanted}"
    if device.type == "cuda":
        best = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        return best, f"precision {best} (the fastest of this GPU)"
    if device.type != "cpu" or not _cpu_has_bf16():
        return "fp32", f"precision fp32 (this {device.type} has no fast bf16)"
    machine = {"torch": torch.__version__, "cpu": cpu_name()}
    found = memory.get({**work, **machine}, look)
    slower = 1 / found.ratio if found.rule == "bf16" else found.ratio
    if slower > WIDE_MARGIN:
        best = "fp32" if found.rule == "bf16" else "bf16"
        return best, f"precision {best} (measured here: bf16 runs at {found.ratio:.2f} times the speed of fp32)"
    return found.rule, f"precision {found.rule} (by rule: {found.why})"


def by_rule(network: Network, *, training: bool) -> tuple[str, str]:
    """(precision, why) on a CPU that has both; the head, which differs from data set to data set, does not count."""
    head = tuple(f"{path}." for path in network.stages[-1].modules) if len(network.stages) > 1 else ()
    names = dict(network.module.named_parameters())
    if sum(p.numel() for name, p in names.items() if not name.startswith(head)) < SMALL_PARAMETERS:
        return "fp32", "a small network"
    if family_of(network) == "depthwise" and (training or torch.cpu._is_amx_tile_supported()):
        return "fp32", f"depthwise convolutions {'in training' if training else 'on this CPU'}"
    return "bf16", f"{family_of(network)} network" + ("" if training else ", inference")


def training_work(strategy: Strategy, image_size: int) -> dict[str, Any]:
    """What a training step depends on: the tensors of the network, and which of them train."""
    shapes = [(name, list(p.shape), p.requires_grad) for name, p in strategy.network.named_parameters()]
    digest = hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]
    return {"work": "training step", "network": digest, "image_size": image_size}


def plain_batch(images: Tensor) -> Batch:
    """Images [B, C, S, S] that all belong to the first class."""
    zeros = torch.zeros(len(images), dtype=torch.int64)
    return Batch(images, zeros, zeros)


def time_training(
    strategy: Strategy, image_size: int, epoch: int, batch_of: Callable[[Tensor], Batch] = plain_batch
) -> Looked:
    """The rule, and least seconds of a step in each precision; all that it moves in the network is put back."""
    rule = by_rule(strategy.network, training=True)
    generator = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    strategy.network.to(memory_format=torch.channels_last)
    strategy.train_mode(epoch)
    batch = batch_of(_images(image_size, strategy.network.channels))

    def step(compute: Compute) -> None:
        with compute.autocast():
            loss = strategy(batch).loss
        loss.backward()

    seconds = _time(step)
    strategy.network.zero_grad(set_to_none=True)
    load_into(strategy.network, before)
    torch.set_rng_state(generator)
    return Looked(*rule, seconds)


@torch.inference_mode()
def time_inference(network: Network, forward: Callable[[Tensor], Tensor], image_size: int) -> Looked:
    """The rule, and least seconds of a forward pass, that of `network` or a part of it, in each precision."""
    images = _images(image_size, network.channels)

    def run(compute: Compute) -> None:
        with compute.autocast():
            forward(images)

    return Looked(*by_rule(network, training=False), _time(run))


def _images(image_size: int, channels: int) -> Tensor:
    count = max(2, TIMED_PIXELS // image_size**2)
    return torch.rand(count, channels, image_size, image_size).to(memory_format=torch.channels_last)


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


def _read(file: Path) -> Looked | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        seconds = {precision: float(values["seconds"][precision]) for precision in ("fp32", "bf16")}
        if min(seconds.values()) <= 0 or values["rule"] not in seconds:
            return None
        return Looked(values["rule"], str(values["why"]), seconds)
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
