"""Which device, which numeric precision, and how pixels arrive there."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from transfer_cli.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device and a precision. Weights stay fp32; bf16 and fp16 are autocast."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes and losses run."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=DTYPES[self.precision])

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling against fp16 underflow; does nothing in other precisions."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def select_device(name: str) -> torch.device:
    """`auto` takes cuda, then mps, then cpu. Raises UserError for a device that this machine lacks."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"trainer.device={name}: expected auto, cpu, cuda, cuda:<number> or mps.") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(
        device.type, 0
    )
    if (device.index or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise UserError(f"trainer.device={name}: this machine has no such device. Here: {there}; auto takes the best.")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def prepare(device: torch.device, seed: int) -> None:
    """Seed torch, and make equal commands give equal bits on every device."""
    torch.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("high")


def device_name(device: torch.device) -> str:
    """What summary.json calls the device: its type, and the GPU's name where it has one."""
    return f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else device.type


def machine(device: torch.device) -> str:
    """What the rounding of a computation may depend on: the GPU, or the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} {cpu_name()}"


def cpu_name() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use so far: allocated on a GPU, resident for this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Normalize:
    """Uint8 pixels [B, 3, H, W] on the host into normalised float32 on the device, channels last."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self.device = device
        self.mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """(pixels / 255 - mean) / std, in torchvision's order of operations."""
        moved = images.to(self.device, non_blocking=True).to(torch.float32, memory_format=torch.channels_last)
        return moved.div_(255).sub_(self.mean).div_(self.std)
