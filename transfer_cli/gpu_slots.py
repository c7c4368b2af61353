"""One GPU a job: claimed before CUDA starts, among all processes of this machine, whoever started them.

A claim is a lock on a file of the GPU's UUID, which the system takes back from a process that dies.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.config.schema import Experiment

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SMI_SECONDS = 20
_LOOK_AGAIN_SECONDS = 0.5
_MIG = re.compile(r"UUID: (MIG-[^)\s]+)\)")
_held = ExitStack()
_claimed: list[str] = []


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one (MIG), that a process can be given."""

    uuid: str
    index: str
    """What CUDA_VISIBLE_DEVICES may call it besides; empty for a part."""
    used: int
    """Memory in use, in MiB."""


def claim(e: Experiment, say: Callable[[str], None], *, wait: bool) -> None:
    """Give this process the GPUs that its training wants, those with the least memory in use first.

    Of those that CUDA_VISIBLE_DEVICES shows, each has `sweep.jobs_per_device` jobs at most. Where all have, `wait` for
    one, or else share: nothing is claimed. Nothing happens where there is no GPU, one is named, or one was claimed.
    """
    wanted, per_device = e.trainer.devices, e.sweep.jobs_per_device
    if _claimed or e.trainer.device not in ("auto", "cuda") or not isinstance(wanted, int):
        return
    gpus = offered(installed(), os.environ.get(VISIBLE))
    if not gpus or wanted > len(gpus):
        return
    said = False
    while not (found := _free(gpus, wanted, per_device)):
        if not wait:
            say(f"gpu       all {len(gpus)} have a job already; this one shares, and may run out of memory")
            return
        if not said:
            say(f"gpu       waits: each of {len(gpus)} has as many jobs as sweep.jobs_per_device={per_device} allows")
            said = True
        time.sleep(_LOOK_AGAIN_SECONDS)
    _claimed.extend(found)
    os.environ[VISIBLE] = ",".join(found)
    say(f"gpu       {', '.join(found)}")


def release() -> None:
    """Give back what this process has claimed."""
    _held.close()
    _claimed.clear()


def installed() -> list[Gpu]:
    """The GPUs of this machine, their parts in place of those that are divided; none where nvidia-smi is not there."""
    rows = _smi("--query-gpu=uuid,index,memory.used", "--format=csv,noheader,nounits")
    parts = _parts(_smi("-L"))
    gpus = []
    for row in rows:
        uuid, index, used = ([cell.strip() for cell in row.split(",")] + ["", ""])[:3]
        memory = int(used) if used.isdigit() else 0
        gpus += [Gpu(part, "", memory) for part in parts.get(uuid, [])] or [Gpu(uuid, index, memory)]
    return [gpu for gpu in gpus if gpu.uuid]


def offered(gpus: Sequence[Gpu], visible: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES shows, by index or the beginning of a UUID; all where it is not set."""
    if visible is None:
        return [*gpus]
    found = []
    for word in (part.strip() for part in visible.split(",")):
        named = [gpu for gpu in gpus if word and (word == gpu.index or gpu.uuid.startswith(word))]
        if not named:
            break  # as CUDA reads it
        found.append(named[0])
    return found


def _free(gpus: Sequence[Gpu], wanted: int, per_device: int) -> list[str]:
    """The UUIDs of so many that had a free place, which is held now; none where there are not enough."""
    from filelock import FileLock

    folder = _folder()
    ours: list[str] = []
    with ExitStack() as taken, FileLock(folder / "claim.lock"):
        for place in range(per_device):
            for gpu in sorted(gpus, key=lambda gpu: gpu.used):
                if len(ours) < wanted and gpu.uuid not in ours and _hold(folder, gpu, place, taken):
                    ours.append(gpu.uuid)
        if len(ours) < wanted:
            return []
        _held.push(taken.pop_all())
    return ours


def _hold(folder: Path, gpu: Gpu, place: int, taken: ExitStack) -> bool:
    from filelock import FileLock, Timeout

    try:
        taken.enter_context(FileLock(folder / f"{gpu.uuid.replace('/', '-')}-{place}.lock", timeout=0))
    except (Timeout, PermissionError):
        return False
    return True


def _folder() -> Path:
    """Where all users of the machine have their locks."""
    folder = Path(tempfile.gettempdir()) / "transfer-run-gpus"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o1777)
    return folder


def _smi(*arguments: str) -> list[str]:
    command = ["nvidia-smi", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in done.stdout.splitlines() if line.strip()]


def _parts(lines: Sequence[str]) -> dict[str, list[str]]:
    """The UUIDs of the parts of each divided GPU, by its own."""
    parts: dict[str, list[str]] = {}
    gpu = ""
    for line in lines:
        part, whole = _MIG.search(line), re.search(r"UUID: (GPU-[^)\s]+)\)", line)
        if part is not None:
            parts.setdefault(gpu, []).append(part[1])
        elif whole is not None:
            gpu = whole[1]
    return parts
