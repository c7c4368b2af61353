"""What is known of GPUs: which one this is, and why there is none."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch

from transfer_cli.errors import first_line

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
_DRIVER = Path("/proc/driver/nvidia")


def why_no_cuda() -> str | None:
    """A part of a sentence that says why no CUDA device can be used; None where one can."""
    if torch.cuda.is_available() and torch.cuda.device_count():
        return None
    if not torch.backends.cuda.is_built():
        return f"this torch ({torch.__version__}) is built for CPUs alone; install one for CUDA from pytorch.org"
    hiding = next((name for name in VISIBLE if os.environ.get(name, "0").strip() in ("", "-1")), None)
    if hiding is not None:
        return f"{hiding} is {os.environ[hiding]!r}, which hides all GPUs"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        if "no nvidia driver" in str(error).lower():
            return "no NVIDIA driver was found (does nvidia-smi run here? A container needs --gpus all)"
        return first_line(error).rstrip(".")
    return "torch finds none"


def hides_one() -> str | None:
    """Why a GPU that is there cannot be used, though nobody has hidden it; None where none is there, or it can."""
    if not _DRIVER.is_dir() or any(name in os.environ for name in VISIBLE):
        return None
    return why_no_cuda()


def why_no_mps() -> str:
    """A part of a sentence, likewise, for Apple's GPUs."""
    if not torch.backends.mps.is_built():
        return "this torch is built without it; it is for Macs with Apple silicon"
    return "it needs macOS 14 or newer on Apple silicon"


def visible() -> list[str]:
    """What the CUDA devices of this process are called, and how many an environment variable shows of them."""
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    limit = next((f"{name}={os.environ[name]}" for name in VISIBLE if os.environ.get(name)), None)
    return [*names[:-1], f"{names[-1]} ({limit})"] if names and limit else names


def facts(device: torch.device) -> dict[str, Any]:
    """Which GPU it is and what drives it, for environment.json; nothing of other devices."""
    if device.type != "cuda":
        return {}
    found = torch.cuda.get_device_properties(device)
    uuid = getattr(found, "uuid", None)
    return {
        "name": found.name,
        "uuid": None if uuid is None else f"GPU-{uuid}",
        "memory_bytes": found.total_memory,
        "capability": f"{found.major}.{found.minor}",
        "driver": driver(),
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cudnn": torch.backends.cudnn.version(),
        "visible": next((f"{name}={os.environ[name]}" for name in VISIBLE if name in os.environ), None),
    }


def driver() -> str | None:
    """The version of NVIDIA's driver; None where it cannot be read."""
    try:
        text = (_DRIVER / "version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+(?:\.\d+)+)\s", text)
    return None if found is None else found[1]
