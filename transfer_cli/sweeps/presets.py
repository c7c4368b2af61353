"""What launchers of Hydra's are told where the command says nothing: how many jobs at once, with what, for how long."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from transfer_cli.command.batch_script import CORES_BESIDE_A_GPU
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.durations import wall_minutes
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.workers import cpus
from transfer_cli.gpu_slots import installed, offered

_WEEK_MINUTES = 7 * 24 * 60
_MOST_REQUEUES = 1000
_CORES_OF_A_JOB = 4


def preset_words(launcher: str, first: Experiment, overrides: Overrides) -> list[str]:
    """Overrides for a launcher, of keys that the command does not say."""
    return [
        f"hydra.launcher.{key}={value}"
        for key, value in _presets(launcher, first).items()
        if not overrides.names(f"hydra.launcher.{key}")
    ]


def _presets(launcher: str, first: Experiment) -> Mapping[str, Any]:
    limit = first.trainer.time_limit
    if launcher == "joblib":
        return {"n_jobs": at_once(first)}
    if launcher == "submitit_local":
        # An hour by default, after which a job is killed.
        return {"timeout_min": _WEEK_MINUTES if limit is None else wall_minutes(limit)}
    if launcher == "submitit_slurm":
        devices = first.trainer.known_devices
        on_gpus = {} if first.trainer.device == "cpu" else {"gpus_per_node": devices}
        time = {} if limit is None else {"timeout_min": wall_minutes(limit)}
        # A job whose time is over saves itself and is queued again.
        again = {"max_num_timeout": _MOST_REQUEUES}
        return {"cpus_per_task": CORES_BESIDE_A_GPU * devices, **on_gpus, **time, **again}
    return {}


def at_once(first: Experiment) -> int:
    """Jobs that train side by side here: as many as may claim a GPU, or one for each four cores and two at least."""
    gpus = [] if first.trainer.device == "cpu" else offered(installed(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    if gpus:
        devices = first.trainer.devices if isinstance(first.trainer.devices, int) else len(gpus)
        return max(len(gpus) * first.sweep.jobs_per_device // devices, 1)
    return max(cpus() // _CORES_OF_A_JOB, 2)
