"""What launchers of Hydra's are told where the command says nothing: how many jobs at once, with what, for how long."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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


def preset_words(launcher: str, several: Sequence[Experiment], overrides: Overrides) -> list[str]:
    """Overrides for a launcher, of keys that the command does not say: enough for each of several experiments."""
    return [
        f"hydra.launcher.{key}={value}"
        for key, value in _presets(launcher, several).items()
        if not overrides.names(f"hydra.launcher.{key}")
    ]


def _presets(launcher: str, several: Sequence[Experiment]) -> Mapping[str, Any]:
    if launcher == "joblib":
        return {"n_jobs": at_once(several)}
    limits = [e.trainer.time_limit for e in several]
    minutes = None if None in limits else max(wall_minutes(limit) for limit in limits if limit is not None)
    if launcher == "submitit_local":
        # An hour by default, after which a job is killed.
        return {"timeout_min": _WEEK_MINUTES if minutes is None else minutes}
    if launcher == "submitit_slurm":
        devices = max(e.trainer.known_devices for e in several)
        on_gpus = {"gpus_per_node": devices} if _want_gpus(several) else {}
        time = {} if minutes is None else {"timeout_min": minutes}
        # A job whose time is over saves itself and is queued again.
        again = {"max_num_timeout": _MOST_REQUEUES}
        return {"cpus_per_task": CORES_BESIDE_A_GPU * devices, **on_gpus, **time, **again}
    return {}


def at_once(several: Sequence[Experiment]) -> int:
    """Jobs that train side by side here: as many as may claim a GPU, or one for each four cores and two at least."""
    gpus = offered(installed(), os.environ.get("CUDA_VISIBLE_DEVICES")) if _want_gpus(several) else []
    if gpus:
        devices = max(e.trainer.devices if isinstance(e.trainer.devices, int) else len(gpus) for e in several)
        return max(len(gpus) * several[0].sweep.jobs_per_device // devices, 1)
    return max(cpus() // _CORES_OF_A_JOB, 2)


def _want_gpus(several: Sequence[Experiment]) -> bool:
    return any(e.trainer.device != "cpu" for e in several)
