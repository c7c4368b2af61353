"""`diverged.json`: the step at which a training stopped being finite, and the images of its batch."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.loop import DivergenceError
from transfer_cli.errors import UserError
from transfer_cli.files import write_json

FILE = "diverged.json"


def record(directory: Path, error: DivergenceError, images: ImageSet, seed: int) -> DivergenceError:
    """Keep what the step saw in the run directory; the error, which then says how the step is looked at."""
    # JSON has no infinity.
    figures = {key: f"{getattr(error.step, key):g}" for key in ("loss", "gradient_norm")}
    names = [images.ids[index] for index in error.step.indices]
    values = {**asdict(error.step), **figures, "seed": seed, "images": names}
    write_json(directory / FILE, values)
    return DivergenceError(
        f"{error} The images of that step are in {directory / FILE}; transfer-run mode=replay run={directory} shows "
        "where in the network it begins.",
        error.step,
    )


def forget(directory: Path) -> None:
    """A training that begins or goes on has not diverged."""
    (directory / FILE).unlink(missing_ok=True)


def read(directory: Path) -> dict[str, Any]:
    """What `record` kept. Raises UserError where a run has nothing of the kind."""
    path = directory / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        step = values["step"]
    except FileNotFoundError as error:
        raise UserError(f"run={directory}: no step of this run has diverged (there is no {FILE}).") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}).") from error
    if not isinstance(step, int) or step < 0:
        raise UserError(f"{path}: step={step} is no step.")
    found: dict[str, Any] = values
    return found
