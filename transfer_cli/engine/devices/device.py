"""Which device, which numeric precision, and how pixels arrive there."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices import gpus, kernels, memory
from transfer_cli.engine.state_files import Part
from transfer_cli.errors import UserError
from transfer_cli.methods.full_precision import products, set_products

_CPU_IMAGES_AT_ONCE = 8

CUBLAS_IN_ORDER = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What cuBLAS wants to see before it adds up in the same order on every stream."""

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """A device and a precision. Weights stay fp32; bf16 and fp16 are autocast."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes and losses run."""
        dtype = DTYPES[self.precision]
        return nullcontext() if dtype == torch.float32 else torch.autocast(self.device.type, dtype=dtype)

    def products(self) -> AbstractContextManager[object]:
        """The context in which networks run forward and backward: products of float32 as the precision says."""
        return products("tf32") if self.precision == "tf32" else nullcontext()

    def numerics(self) -> dict[str, Any]:
        """All that decides how a forward pass rounds, for the key of what is kept of it."""
        found: dict[str, Any] = {
            "precision": self.precision,
            "torch": torch.__version__,
            "machine": machine(self.device),
        }
        if self.device.type == "cuda":
            kind = "tf32" if self.precision == "tf32" else "ieee"
            found |= {"float32": kind, "cudnn": torch.backends.cudnn.version(), "layout": "channels_last"}
            found["deterministic"] = torch.are_deterministic_algorithms_enabled()
            found["normalised"] = "torch" if kernels.why_not(self.device) else "kernel"
        return found

    def state(self) -> Part:
        """The precision: a resumed run does not choose again."""
        return Part({"precision": self.precision})

    def restore(self, part: Part) -> None:
        """It was made from the state."""

    def grad_scaler(self, *, sharded: bool = False) -> torch.amp.GradScaler:
        """Loss scaling against fp16 underflow; does nothing in other precisions.

        `sharded`: what overflows in one rank's part of the gradients, all ranks hear of.
        """
        if not sharded or self.precision != "fp16":
            return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

        return ShardedGradScaler(self.device.type)


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
    _check_there(name, device)
    if device.type != "cuda":
        return device
    # One of several processes has its own by now.
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _check_there(name: str, device: torch.device) -> None:
    """Raises UserError, which says why, for a device that this machine lacks."""
    if device.type == "cpu" and not device.index:
        return
    reason = None
    if device.type == "cuda":
        reason = gpus.why_no_cuda()
    elif device.type == "mps" and not torch.backends.mps.is_available():
        reason = gpus.why_no_mps()
    counts = {"cuda": torch.cuda.device_count(), "mps": 1}
    if reason is None and (device.index or 0) < counts.get(device.type, 0):
        return
    here = ", ".join(["cpu", *gpus.visible(), *(["mps"] if torch.backends.mps.is_available() else [])])
    why = "this machine has no such device" if reason is None else f"no such device: {reason}"
    raise UserError(f"trainer.device={name}: {why}. Here: {here}; auto takes the best.")


def fitting_device(device: torch.device) -> torch.device:
    """Where heads are fitted to features: there, but not on MPS, which has no float64 for sums."""
    return torch.device("cpu") if device.type == "mps" else device


def prepare(device: torch.device, seed: int, *, deterministic: bool = False) -> None:
    """Seed torch, settle how a GPU computes, and count peak memory from here.

    On a CPU equal commands give equal bits; on a GPU where that is asked for.
    """
    torch.manual_seed(seed)
    memory.keep_freed()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        set_products("ieee")
    # Also elsewhere: a job of this process before may have had a GPU, and a CPU's attention hangs on it too.
    _settle_order(deterministic and device.type == "cuda")
    count_peak_from_here(device)


def _settle_order(deterministic: bool) -> None:
    """Whether a GPU adds up in the same order every time, or in that of its fastest kernels.

    What has no such order is warned of by torch as it is used. cuBLAS reads its variable when it is first used.
    """
    if deterministic:
        os.environ.setdefault(*CUBLAS_IN_ORDER)
    was = {torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()}
    if was != {deterministic}:
        # Not for nothing: it imports torch's compiler, which takes a second.
        torch.use_deterministic_algorithms(deterministic, warn_only=deterministic)
    # It would fill every new tensor, against kernels that read what nobody has written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = deterministic
    # Kernels are not tried out: a ResNet-50's first step took 13 s for it on an H200, 1.2 s without, that of an epoch's
    # last, smaller batch 9 s, and all others as long as before.
    torch.backends.cudnn.benchmark = False
    # Kernels of attention that add up in any order where torch is only to warn.
    torch.backends.cuda.enable_flash_sdp(not deterministic)
    torch.backends.cuda.enable_mem_efficient_sdp(not deterministic)
    torch.backends.cuda.enable_cudnn_sdp(not deterministic)


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


def count_peak_from_here(device: torch.device) -> None:
    """Let `peak_memory_bytes` forget what was needed before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        memory.count_peak_from_here()


def peak_memory_bytes(device: torch.device) -> int:
    """The most memory in use since it was last counted from: allocated on a GPU, resident for this process on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else memory.peak_bytes()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, which neither waits for the other."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


ToDevice = Callable[[Batch], Batch]
"""A batch of the host to the device, its inputs as the network takes them."""


class PixelsToDevice:
    """Batches of pixels, normalised on the way."""

    def __init__(self, normalize: Normalize) -> None:
        self._normalize = normalize

    def __call__(self, batch: Batch) -> Batch:
        """Inputs uint8 [B, C, S, S] to float32."""
        inputs = self._normalize(batch.inputs, batch.colour)
        return batch.to(self._normalize.device, inputs=inputs, colour=None)


class ActivationsToDevice:
    """Batches of activations, as they are."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, batch: Batch) -> Batch:
        """Inputs [B, ...] in their own dtype."""
        return batch.to(self._device)


class Normalize:
    """Uint8 pixels [B, C, H, W] on the host into normalised float32 on the device, channels last.

    Multiplications and additions are rounded one by one, never fused or summed in a product of matrices, so that what
    becomes of a sample depends on neither the batch, the number of threads nor reduced precision.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self.device = device
        self._mean, self._std = torch.tensor(mean, device=device), torch.tensor(std, device=device)
        # What black and white become. As numbers: clamping to tensors takes ten times as long.
        self._limits = [(-m / s, (1 - m) / s) for m, s in zip(mean, std, strict=True)]
        self._has_kernel = device.type == "cuda" and kernels.why_not(device) is None
        self._lows, self._highs = (torch.tensor(side, device=device) for side in zip(*self._limits, strict=True))

    def __call__(self, images: Tensor, colour: Tensor | None = None) -> Tensor:
        """(pixels / 255 - mean) / std, in torchvision's order of operations.

        `colour` float32 [B, 3, 4]: a map of each sample's RGB values (of 0..255; the last column is added) to apply
        first. What it takes below 0 or above 255 is clipped.
        """
        moved = images.to(self.device, non_blocking=True)
        maps = None if colour is None else self._folded(colour.to(self.device, non_blocking=True))
        if self._has_kernel:
            return self._by_kernel(moved, maps)
        out = torch.empty(images.shape, device=self.device, memory_format=torch.channels_last)
        if maps is None:
            self._write_scaled(moved, out)
            return out
        # On a CPU a few images at a time: what is computed on the way stays in the cache.
        step = _CPU_IMAGES_AT_ONCE if self.device.type == "cpu" else max(1, len(images))
        for part in (slice(first, first + step) for first in range(0, len(images), step)):
            self._write_mapped(moved[part], maps[part], out[part])
        return out

    def _folded(self, colour: Tensor) -> Tensor:
        """Maps [B, 3, 4] from RGB values to normalised values."""
        offset = (colour[:, :, 3:] / 255 - self._mean[:, None]) / self._std[:, None]
        return torch.cat([colour[:, :, :3] / (255 * self._std[:, None]), offset], dim=2)

    def _by_kernel(self, pixels: Tensor, maps: Tensor | None) -> Tensor:
        from transfer_cli.engine.devices.normalize_kernel import normalized

        if maps is None:
            return normalized(pixels, self._mean, self._std)
        return normalized(pixels, self._lows, self._highs, maps)

    def _write_scaled(self, pixels: Tensor, out: Tensor) -> None:
        """Normalise [B, C, H, W] into `out`, as rows of whole pixels: a loop over channels would be slow."""
        rows = out.copy_(pixels).permute(0, 2, 3, 1).flatten(2)
        width = pixels.shape[3]
        rows.div_(255).sub_(self._mean.repeat(width)).div_(self._std.repeat(width))

    def _write_mapped(self, pixels: Tensor, maps: Tensor, out: Tensor) -> None:
        """Apply maps [b, 3, 4] to [b, 3, H, W], channel by channel, into `out`."""
        red, green, blue = pixels.to(torch.float32, memory_format=torch.contiguous_format).unbind(1)
        for channel, (low, high) in enumerate(self._limits):
            by_red, by_green, by_blue, offset = maps[:, channel, :, None, None].unbind(1)
            values = (red * by_red).add_(green * by_green).add_(blue * by_blue).add_(offset)
            out[:, channel] = values.clamp_(low, high)
