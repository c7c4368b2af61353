"""Whether this process is one of several that a launcher started as one training: torchrun, srun, or this program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.errors import UserError

FROZEN, CODE = "experiment.json", "code"
"""In the folder shared with the ranks that this program starts: the settings, and the first rank's exit code."""
# A port that follows from the job, so that jobs of one machine do not meet.
_FIRST_PORT, _PORTS = 20_000, 10_000


@dataclass(frozen=True)
class Place:
    """One process among `size`; `local_rank` is its number on this machine.

    `sharers`: how many share the cores that it may use. Slurm gives each task cores of its own.
    """

    rank: int
    size: int
    local_rank: int
    launcher: str
    address: str
    port: int
    sharers: int = 1


_taken: Place | None = None


def take(place: Place) -> None:
    """Say that this process trains as one of several."""
    global _taken
    _taken = place


def taken() -> Place | None:
    """The place of this process; None where it trains alone."""
    return _taken


def share_of(cores: int) -> int:
    """How many of the cores here are this process's; one at least."""
    return max(cores // (1 if _taken is None else _taken.sharers), 1)


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place that a launcher gives this process; None for one that stands alone.

    Raises UserError where there are several processes and the environment does not say where they meet.
    """
    if _count(environment, "WORLD_SIZE") > 1:
        return _of_torchrun(environment)
    # Not SLURM_NTASKS, which an interactive shell has as well.
    return _of_srun(environment) if _count(environment, "SLURM_STEP_NUM_TASKS") > 1 else None


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    absent = [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in environment]
    size = _count(environment, "WORLD_SIZE")
    if absent:
        raise UserError(
            f"WORLD_SIZE={size}, as if torchrun had started {size} processes as one training, but {', '.join(absent)} "
            "are not set: unset WORLD_SIZE to train on one device, or start it with torchrun."
        )
    rank, local_rank, port = (_count(environment, name) for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"))
    sharers = max(_count(environment, "LOCAL_WORLD_SIZE"), 1)
    return Place(rank, size, local_rank, "torchrun", environment["MASTER_ADDR"], port, sharers)


def _of_srun(environment: Mapping[str, str]) -> Place:
    size = _count(environment, "SLURM_STEP_NUM_TASKS")
    absent = [name for name in ("SLURM_PROCID", "SLURM_LOCALID") if name not in environment]
    if absent:
        raise UserError(
            f"SLURM_STEP_NUM_TASKS={size}, as if srun had started {size} processes as one training, but "
            f"{', '.join(absent)} are not set: start one task, or start them with srun."
        )
    rank, local_rank = _count(environment, "SLURM_PROCID"), _count(environment, "SLURM_LOCALID")
    job, step = _count(environment, "SLURM_JOB_ID"), _count(environment, "SLURM_STEP_ID")
    port = _count(environment, "MASTER_PORT") or _FIRST_PORT + (job + step) % _PORTS
    address = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", ""))
    return Place(rank, size, local_rank, "srun", address, port)


def first_host(hosts: str) -> str:
    """The first of a list of hosts as Slurm writes it: `gpu[003-007,9],cpu1` begins with gpu003."""
    name, bracket, rest = hosts.partition("[")
    if "," in name or not bracket:
        return hosts.partition(",")[0] or "localhost"
    first = rest.replace("]", ",").replace("-", ",").partition(",")[0]
    return name + first


def pid_file(folder: Path, rank: int) -> Path:
    """Where a rank leaves the number of its process, from when on signals do not end it in the middle of anything."""
    return folder / f"{rank}.pid"


def _count(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    return int(value) if value.isdecimal() else 0
