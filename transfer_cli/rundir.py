"""Run directories: where a run goes, who owns it, and that two never share one."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from transfer_cli.config.parse import parse
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError
from transfer_cli.files import like, unfinished
from transfer_cli.locks import locked
from transfer_cli.yaml_files import loaded_yaml

CONFIG = "config.yaml"
SUMMARY = "summary.json"
_HOLDER = ".holder.json"
DATASET = "dataset.json"
RUNS, SWEEPS, REPORTS = "runs", "sweeps", "reports"
"""In `output_dir`: the folders of single runs, of those of sweeps, and of reports on several sweeps."""
_LOCK = ".lock"
_MOST_DIGITS = 300


def planned(experiment: Experiment, kind: str = RUNS) -> Path:
    """Where this run goes, in the folder for its kind.

    Raises UserError for a taken name, no run to resume, a folder that cannot be written.
    """
    if experiment.resume not in ("never", "auto"):
        path = Path(experiment.resume)
        if not (path / CONFIG).is_file():
            hint = like(experiment.resume, Path(experiment.output_dir) / kind)
            raise UserError(f"resume={path}: expected never, auto, or a run directory (a folder with {CONFIG}).{hint}")
        return path
    name = experiment.name or automatic_name(experiment)
    path = Path(experiment.output_dir) / kind / name
    if path.exists() and experiment.name and experiment.resume == "never":
        raise UserError(
            f"name={name}: {path} exists{_held_by(path)}. Choose another name, or continue it with resume=auto."
        )
    check_writable(path.parent)
    return path


def fresh(experiment: Experiment, kind: str, name: str | None = None) -> Path:
    """Where something goes that is made at once, so that nothing goes on with it; without a name, that of the data.

    What a kill left of the same is written over: see `is_abandoned`.
    Raises UserError for a taken name, a folder that cannot be written.
    """
    name = experiment.name or name or stamped(experiment.dataset.name)
    path = Path(experiment.output_dir) / kind / name
    if experiment.name and path.exists() and not is_abandoned(path):
        raise UserError(f"name={experiment.name}: {path} exists. Choose another name.")
    check_writable(path.parent)
    return path


def check_writable(folder: Path) -> None:
    """Raises UserError if nothing can be written in `folder`, or in its nearest existing parent."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        # The library that writes weights would fail once all is trained.
        raise UserError(f"output_dir: {folder.absolute()}: its name is no UTF-8; choose another.") from error
    existing = next(parent for parent in [folder.absolute(), *folder.absolute().parents] if parent.exists())
    if not existing.is_dir():
        raise UserError(f"output_dir: {existing} is a file, not a folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UserError(f"output_dir: nothing can be written in {existing} ({error.strerror}).") from error


@contextmanager
def claim(path: Path, *, named: bool, may_exist: bool) -> Iterator[Path]:
    """Own a run directory until the block ends; of two processes one wins and the other gets UserError.

    An automatic name that was taken in the same second gets a number behind it.
    """
    path = make(path, named=named, may_exist=may_exist)
    with locked(path / _LOCK) as ours:
        if not ours:
            raise UserError(f"{path} is in use{_held_by(path)}. Wait for that run to end, or choose another name.")
        try:
            holder = {"host": platform.node(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            (path / _HOLDER).write_text(json.dumps(holder), encoding="utf-8")
            clear_unfinished(path)
            yield path
        finally:
            (path / _HOLDER).unlink(missing_ok=True)


def claim_fresh(path: Path, *, named: bool) -> AbstractContextManager[Path]:
    """`claim` for what has its place from `fresh`: what a kill left there is written over."""
    return claim(path, named=named, may_exist=is_abandoned(path))


def name_of(directory: Path) -> str:
    """What to call a directory, which may be given as `.`, from within."""
    return directory.resolve().name


def clear_unfinished(path: Path) -> None:
    """Remove what killed processes have left half written in a run directory of one's own.

    Not in predict/, where another command may be writing just now.
    """
    for left in [*unfinished(path), *unfinished(path, "plots/")]:
        left.unlink(missing_ok=True)


def make(path: Path, *, named: bool, may_exist: bool = False) -> Path:
    """Create a directory of one's own. Raises UserError for a taken name; an automatic one gets a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(2, 1000):
        try:
            path.mkdir()
            return path
        except FileExistsError as error:
            if may_exist:
                return path
            if named:
                raise UserError(
                    f"{path} exists{_held_by(path)}. Choose another name, or continue it with resume=auto."
                ) from error
            path = path.with_name(f"{path.name.removesuffix(f'-{number - 1}')}-{number}")
    raise UserError(f"{path}: no free name; a thousand runs began in this second. Say name=<name>.")


def automatic_name(experiment: Experiment) -> str:
    """A folder's name from the time and what is trained on what."""
    return stamped(experiment.strategy.name, experiment.model.name, experiment.dataset.name)


def stamped(*parts: str) -> str:
    """A folder's name from the time and these parts, with no character that a path gives a meaning."""
    words = "_".join("".join(c if c.isalnum() or c in "._-" else "-" for c in part) for part in parts)
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{words}"


def is_held(path: Path) -> bool:
    """Whether a process trains in a run directory; one that was killed on this machine is known to be gone."""
    holder = read_json(path / _HOLDER)
    if not holder or holder.get("host") != platform.node():
        return bool(holder)
    try:
        os.kill(int(holder["pid"]), 0)
    except (KeyError, TypeError, ValueError, OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        pass  # it is there, and another user's
    return True


def is_abandoned(path: Path) -> bool:
    """Whether the process that made a directory was killed before all was in it: it is there, and nobody's any more."""
    if not path.is_dir() or is_held(path):
        return False
    return (path / _HOLDER).exists() or all(one.name.startswith(".") for one in path.iterdir())


def _held_by(path: Path) -> str:
    """Who is at work there; nothing of a process that was killed."""
    holder = read_json(path / _HOLDER) if is_held(path) else {}
    try:
        return f", held by process {holder['pid']} on {holder['host']} since {holder['since']}"
    except KeyError:
        return ""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_int=_whole)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _whole(digits: str) -> int | float:
    """A whole number; as a float, infinite, where it is larger than those."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


def completed_summary(path: Path) -> dict[str, Any] | None:
    """The summary of a run that is done, else None."""
    summary = read_json(path / SUMMARY)
    return summary if summary.get("status") == "completed" else None


def saved_experiment(path: Path) -> Experiment:
    """The configuration that a run directory was made with. Raises UserError for a damaged one."""
    try:
        values = loaded_yaml((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path / CONFIG} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path / CONFIG} holds no configuration.")
    try:
        return parse(values)
    except UserError as error:
        raise UserError(f"{path / CONFIG}: {error}") from error
