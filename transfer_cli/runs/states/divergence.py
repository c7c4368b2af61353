"""`diverged.json`: the step at which a training stopped being finite, and the images of its batch."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transfer_cli.engine.ranks.world import World
from transfer_cli.engine.steps.check import DivergedStep, DivergenceError
from transfer_cli.errors import UserError
from transfer_cli.files import parsed_json, write_json
from transfer_cli.runs.materials import Materials

FILE = "diverged.json"


def record(directory: Path, error: DivergenceError, m: Materials, world: World) -> DivergenceError:
    """Keep what the step saw in the run directory; the error, which then says how the step is looked at.

    Of several ranks all raise at the same step, each with its own images: the first writes those of all.
    """
    indices = [index for of_rank in world.gather(error.step.indices) for index in of_rank]
    if world.is_first:
        _write(directory, replace(error.step, indices=indices), m, world)
    return DivergenceError(
        f"{error} The images of that step are in {directory / FILE}; transfer-run mode=replay run={directory} shows "
        "where in the network it begins.",
        error.step,
    )


def _write(directory: Path, step: DivergedStep, m: Materials, world: World) -> None:
    # JSON has no infinity.
    figures = {key: f"{getattr(step, key):g}" for key in ("loss", "gradient_norm")}
    names = [m.images.ids[index] for index in step.indices]
    ranks = {"ranks": world.size} if world.size > 1 else {}
    write_json(directory / FILE, {**asdict(step), **figures, **ranks, "seed": m.experiment.seed, "images": names})


def forget(directory: Path) -> None:
    """A training that begins or goes on has not diverged."""
    (directory / FILE).unlink(missing_ok=True)


def read(directory: Path) -> dict[str, Any]:
    """What `record` kept. Raises UserError where a run has nothing of the kind."""
    path = directory / FILE
    try:
        values = parsed_json(path.read_text(encoding="utf-8"))
        step = values["step"]
    except FileNotFoundError as error:
        raise UserError(f"run={directory}: no step of this run has diverged (there is no {FILE}).") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({type(error).__name__}).") from error
    if not isinstance(step, int) or step < 0:
        raise UserError(f"{path}: step={step} is no step.")
    found: dict[str, Any] = values
    return found
