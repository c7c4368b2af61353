"""The fastest precision for a network on this machine: by rule, which a measurement may refute by a wide margin alone.

The choice changes the weights that come out, so it must not hang on noise: equal commands give equal bytes, whatever
is remembered and whatever else the machine does. A GPU takes bf16, or fp16 where it lacks that, unless steps in TF32
(or fp32 where it lacks that) are clearly faster: around many small operations casts cost more than they save. On a CPU
it depends on the network: dense convolutions and attention gain, depthwise convolutions lose where they train. Speed of
bf16 against fp32, measured on a CPU with AVX512-BF16, one thread, 32 to 224 pixels:

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
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import DTYPES, Compute, cpu_name, machine
from transfer_cli.engine.measured.memory import file_of, remember
from transfer_cli.engine.steps.retrying import give_back, tried
from transfer_cli.engine.strategy import Strategy
from transfer_cli.errors import RunError, UserError
from transfer_cli.files import read_signed_json
from transfer_cli.models.families import family_of
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import load_into

WIDE_MARGIN = {"cpu": 3.0, "cuda": 1.25}
"""So many times slower the rule's choice must be to be wrong on this machine: far from all that was measured above.

On a GPU, whose kernels nobody interrupts, less is no noise.
"""
SMALL_PARAMETERS = 2_000_000
"""A network with fewer, but for its head, spends its time on other things than arithmetic."""
TIMED_STEPS = 2
# As many pixels as eight images of 64 pixels: a large network at 224 pixels would take half a minute with eight.
TIMED_PIXELS = 8 * 64 * 64
# A GPU is only busy with as many as it would train on: 32 images of 224 pixels.
GPU_WARM_STEPS, GPU_TIMED_STEPS, GPU_TIMED_PIXELS = 3, 10, 32 * 224 * 224


@dataclass(frozen=True)
class Looked:
    """What a network is thought to want, and why; and what was measured."""

    rule: str
    why: str
    seconds: dict[str, float]
    """By precision: that of the rule, and another."""

    @property
    def other(self) -> str:
        """What could be taken in place of the rule's."""
        return next(precision for precision in self.seconds if precision != self.rule)

    @property
    def slower(self) -> float:
        """How many times as long the rule's takes."""
        return self.seconds[self.rule] / self.seconds[self.other]


@dataclass
class PrecisionMemory:
    """What was found before, a file for each network, size and machine; counts its hits and misses."""

    folder: Path
    hits: int = 0
    misses: int = 0

    def get(self, key: dict[str, Any], look: Callable[[], Looked]) -> Looked:
        """Remembered, or found now."""
        file = file_of(self.folder, key)
        found = _read(file)
        self.hits += found is not None
        self.misses += found is None
        if found is None:
            found = look()
            remember(file, {**asdict(found), **key})
        return found


def choose_precision(
    wanted: str,
    device: torch.device,
    memory: PrecisionMemory,
    work: dict[str, Any],
    look: Callable[[], Looked],
) -> tuple[str, str]:
    """(precision, why). `work` names what is computed; where a device has several, `look` tells which is faster.

    Raises UserError for one that this device does not have.
    """
    check_has(wanted, device)
    if wanted != "auto":
        return wanted, f"precision {wanted}"
    if device.type == "mps" or (device.type == "cpu" and not _cpu_has_bf16()):
        return "fp32", f"precision fp32 (this {device.type} has no fast bf16)"
    here: dict[str, Any] = {"torch": torch.__version__}
    here |= {"cpu": cpu_name()} if device.type == "cpu" else {"gpu": machine(device)}
    found = memory.get({**work, **here}, look)
    if found.slower > WIDE_MARGIN[device.type]:
        speed = f"{found.rule} runs at {1 / found.slower:.2f} times the speed of {found.other}"
        return found.other, f"precision {found.other} (measured here: {speed})"
    return found.rule, f"precision {found.rule} (by rule: {found.why})"


def check_has(wanted: str, device: torch.device) -> None:
    """Raises UserError for TF32 where there is none: it would be fp32 without a word."""
    if wanted == "tf32" and not _has_tf32(device):
        raise UserError(f"trainer.precision=tf32: {device.type} has no TF32 here; GPUs from Ampere (2020) on have it.")


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def by_rule(network: Network, *, training: bool) -> tuple[str, str]:
    """(precision, why) where there are several; on a CPU the head, which differs from set to set, does not count."""
    device = next(network.parameters()).device
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the fastest of this GPU") if has_bf16 else ("fp16", "this GPU has no bf16")
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
    zeros = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    return Batch(images, zeros, zeros)


def time_training(
    strategy: Strategy, image_size: int, epoch: int, batch_of: Callable[[Tensor], Batch] = plain_batch
) -> Looked:
    """The rule, and least seconds of a step in each precision; all that it moves in the network is put back."""
    rule = by_rule(strategy.network, training=True)
    device = next(strategy.network.parameters()).device
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    strategy.network.to(memory_format=torch.channels_last)
    strategy.train_mode(epoch)

    def measured(count: int) -> dict[str, float]:
        batch = batch_of(_images(count, image_size, strategy.network.channels, device))
        return _time(partial(step, batch), rule[0], device)

    def step(batch: Batch, compute: Compute) -> None:
        with compute.products():
            with compute.autocast():
                loss = strategy(batch).loss
            loss.backward()

    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type=device.type):
        seconds = _where_there_is_room(measured, image_size, device)
    strategy.network.zero_grad(set_to_none=True)
    load_into(strategy.network, before)
    return Looked(*rule, seconds)


@torch.inference_mode()
def time_inference(network: Network, forward: Callable[[Tensor], Tensor], image_size: int) -> Looked:
    """The rule, and least seconds of a forward pass, that of `network` or a part of it, in each precision."""
    device = next(network.parameters()).device
    rule = by_rule(network, training=False)

    def measured(count: int) -> dict[str, float]:
        images = _images(count, image_size, network.channels, device)
        return _time(partial(run, images), rule[0], device)

    def run(images: Tensor, compute: Compute) -> None:
        with compute.autocast(), compute.products():
            forward(images)

    return Looked(*rule, _where_there_is_room(measured, image_size, device))


def _where_there_is_room(
    measured: Callable[[int], dict[str, float]], image_size: int, device: torch.device
) -> dict[str, float]:
    """`measured` with as many images as are timed, or fewer where memory runs out; RunError with two."""
    count = max(2, (GPU_TIMED_PIXELS if device.type == "cuda" else TIMED_PIXELS) // image_size**2)
    while True:
        found, reason = tried(partial(measured, count))
        if found is not None:
            return found
        if count == 2:
            raise RunError(
                f"out of memory with two images of {image_size} pixels ({reason}). Take a smaller image_size or model."
            )
        give_back(device)
        count = max(2, count // 2)


def _images(count: int, image_size: int, channels: int, device: torch.device) -> Tensor:
    images = torch.rand(count, channels, image_size, image_size)
    return images.to(device, memory_format=torch.channels_last)


def _time(work: Callable[[Compute], None], rule: str, device: torch.device) -> dict[str, float]:
    """Least seconds of `work` in the rule's precision and in another, alternating; the first rounds warm up."""
    if device.type == "cuda":
        return _time_on_gpu(work, (rule, "tf32" if _has_tf32(device) else "fp32"), device)
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


def _time_on_gpu(
    work: Callable[[Compute], None], precisions: tuple[str, str], device: torch.device
) -> dict[str, float]:
    """The same by the clock of the GPU, from when it begins to when it is done, what the host is late with included."""
    seconds: dict[str, list[float]] = {precision: [] for precision in precisions}
    for turn in range(GPU_WARM_STEPS + GPU_TIMED_STEPS):
        for precision, times in seconds.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work(Compute(device, precision))
            end.record()
            end.synchronize()
            times.extend([start.elapsed_time(end) / 1000] if turn >= GPU_WARM_STEPS else [])
    return {precision: min(times) for precision, times in seconds.items()}


def _read(file: Path) -> Looked | None:
    try:
        values = read_signed_json(file)
        seconds = {str(precision): float(value) for precision, value in values["seconds"].items()}
        if len(seconds) != 2 or not seconds.keys() <= DTYPES.keys():
            return None
        if min(seconds.values()) <= 0 or values["rule"] not in seconds:
            return None
        return Looked(values["rule"], str(values["why"]), seconds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
