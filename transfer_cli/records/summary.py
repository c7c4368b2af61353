"""`summary.json`, which scripts read, and `environment.json`, which says where its numbers come from."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from transfer_cli.files import write_json
from transfer_cli.records.events import Recorder, RunEnd

STATUSES = ("completed", "failed", "preempted", "interrupted", "pruned")
KEYS = (
    "status",
    "strategy",
    "model",
    "dataset",
    "seed",
    "epochs",
    "best_epoch",
    "val",
    "test",
    "parameters",
    "train_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "device",
    "precision",
    "weights_sha256",
    "cache",
    "config_hash",
)
_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "hydra-core",
    "omegaconf",
    "numpy",
    "pillow",
    "safetensors",
    "scikit-learn",
)
_GIT_SECONDS = 2.0


def write_summary(run_dir: Path, **fields: Any) -> None:
    """Write `summary.json` atomically: every key of `KEYS`, null where a run did not get that far, then any others."""
    assert fields["status"] in STATUSES
    write_json(run_dir / "summary.json", {**dict.fromkeys(KEYS), **fields})


class SummaryRecorder(Recorder):
    """Writes `summary.json`: the last file of a run, and the only one of a run that failed or was stopped."""

    def run_ends(self, end: RunEnd) -> None:
        """Raises OSError; of a run that did not complete it is left out where the disk refuses."""
        try:
            write_summary(end.directory, **end.summary)
        except OSError:
            if end.completed:
                raise


def environment(seed: int, device: str, gpu: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a run depends on besides its configuration; `device` is its display name, `gpu` what is known of one."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "device": device,
        **({"gpu": gpu} if gpu else {}),
        "command": shlex.join(sys.argv),
        "folder": os.getcwd(),
        "git_commit": _git_commit(),
        "seed": seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("transfer-run", *_PACKAGES)},
        },
    }


def version(package: str) -> str | None:
    """A package's version without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the repository around the current folder, if there is one."""
    command = ["git", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
