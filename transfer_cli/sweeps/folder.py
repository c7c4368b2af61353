"""The folder of a sweep: where it is, and that all of its jobs belong together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError
from transfer_cli.sweeps.jobs import OF_THE_SWEEP
from transfer_cli.sweeps.ledger import Ledger


def planned(several: Sequence[Experiment]) -> Path:
    """The folder for these jobs. Raises UserError where they can have none in common, or it is taken."""
    first = several[0]
    for key in OF_THE_SWEEP:
        if any(getattr(one, key) != getattr(first, key) for one in several):
            raise UserError(f"{key}: belongs to the whole sweep and cannot be swept over.")
    if first.mode != "train":
        raise UserError(f"mode={first.mode}: a sweep trains; leave -m out to {first.mode}.")
    if first.resume not in ("never", "auto"):
        raise UserError(f"resume={first.resume}: a sweep is continued by its name, with name=<name> resume=auto.")
    folder = Path(first.output_dir) / rundir.SWEEPS / (first.name or time.strftime("%Y-%m-%d_%H-%M-%S"))
    if first.name and first.resume == "never" and folder.exists():
        raise UserError(f"name={first.name}: {folder} exists. Choose another name, or continue it with resume=auto.")
    rundir.check_writable(folder.parent)
    return folder


def check_images(folder: Path, ledger: Ledger) -> None:
    """Raises UserError where jobs that are there saw other images: they cannot be ranked together."""
    from transfer_cli.data.same_images import check_listed

    check_listed(*((folder / name, job.experiment) for name, job in ledger.jobs.items()))
