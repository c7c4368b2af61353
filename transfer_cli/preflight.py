"""Checks against this machine's files that need neither torch nor a second: before anything is imported or written."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from transfer_cli import rundir
from transfer_cli.config.dataset_problems import IN_MEMORY
from transfer_cli.config.distill import Distill
from transfer_cli.config.modes import MODES
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError, did_you_mean

_EXPECTED = {
    "folder": "folder of images",
    "manifest": "CSV, TSV or Parquet file",
    "webdataset": "folder or pattern of .tar shards",
}
_PATTERNS = ("webdataset", "hf")


def preflight(experiment: Experiment, in_sweep: bool = False) -> None:
    """Raises UserError with every path and name that cannot work here. A sweep looks after its own directory."""
    checks = [_device, _weights, _teacher, _run, _input, _output, _cache_dir]
    if MODES[experiment.mode].reads_images:
        checks += [_dataset_path, _unlabelled]
    if experiment.mode == "train" and not in_sweep:
        checks.append(_run_directory)
    problems = [problem for check in checks if (problem := check(experiment))]
    if problems:
        raise UserError("\n".join(problems))


def _device(experiment: Experiment) -> str | None:
    name = experiment.trainer.device
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        return None
    hint = did_you_mean(name, ["auto", "cpu", "cuda", "mps"])
    return f"trainer.device={name}: expected auto, cpu, cuda, cuda:<number> or mps.{hint}"


def _weights(experiment: Experiment) -> str | None:
    return _missing_weights("model.weights", experiment.model.weights)


def _teacher(experiment: Experiment) -> str | None:
    if not isinstance(experiment.strategy, Distill):
        return None
    teacher, key = experiment.strategy.teacher, "strategy.teacher.weights"
    several = (teacher.weights,) if isinstance(teacher.weights, str) else teacher.weights
    missing = [problem for weights in several if (problem := _missing_weights(key, weights))]
    if missing:
        return "\n".join(missing)
    if teacher.model is not None:
        return None
    no_runs = [path for path in several if path != "auto" and not (Path(path) / "model.json").is_file()]
    if not no_runs:
        return None
    return f"{key}={no_runs[0]}: no finished run (it has no model.json); weights of other kinds need {key[:-8]}.model."


def _missing_weights(key: str, weights: str) -> str | None:
    looks_like_a_path = "/" in weights or weights.endswith((".pt", ".pth", ".safetensors", ".bin"))
    return _missing(key, weights) if looks_like_a_path else None


def _unlabelled(experiment: Experiment) -> str | None:
    path = experiment.dataset.unlabelled
    if path is None:
        return None
    place = Path(path).expanduser()
    if place.exists() and not place.is_dir():
        return f"dataset.unlabelled={path}: not a folder."
    return _missing("dataset.unlabelled", str(place))


def _dataset_path(experiment: Experiment) -> str | None:
    dataset = experiment.dataset
    name, path = dataset.name, dataset.path
    if name in IN_MEMORY:
        return f"dataset.path={path}: dataset={name} reads no files; leave dataset.path out." if path else None
    if name == "hf" and (path is None) == (dataset.hub is None):
        return "dataset.path, dataset.hub: dataset=hf needs one of them, a folder or files, or a name on the hub."
    if path is None:
        return f"dataset.path: dataset={name} needs dataset.path=<{_EXPECTED[name]}>." if name in _EXPECTED else None
    if dataset.download:
        return None
    place = os.path.expanduser(path)
    if name in _PATTERNS and glob.has_magic(place) and not os.path.exists(place):
        found = any(glob.iglob(place, recursive=True))
        return None if found else f"dataset.path={path}: nothing matches this pattern."
    problem = _missing("dataset.path", place)
    if problem is not None and name not in _EXPECTED and name not in _PATTERNS:
        problem += f" dataset.download=true makes it and fetches {name} there."
    return problem or _wrong_kind(name, place)


def _wrong_kind(name: str, path: str) -> str | None:
    """Says that a folder was expected and a file found, or the other way round."""
    is_folder = os.path.isdir(path)
    if name in _PATTERNS or is_folder == (name != "manifest"):
        return None
    found = "folder" if is_folder else "file"
    return f"dataset.path={path}: expected a {_EXPECTED.get(name, 'folder')}, found a {found}."


def _run(experiment: Experiment) -> str | None:
    if experiment.run is None:
        return None
    problem = _missing("run", experiment.run)
    if problem is None and not (Path(experiment.run) / "model.json").is_file():
        return f"run={experiment.run}: no finished run (it has no model.json)."
    return problem


def _input(experiment: Experiment) -> str | None:
    return _missing("input", experiment.input) if experiment.input else None


def _output(experiment: Experiment) -> str | None:
    if experiment.output is None:
        return None
    path = Path(experiment.output)
    if path.is_dir():
        return f"output={path}: expected a CSV file, found a folder."
    return _missing("output", str(path.parent))


def _cache_dir(experiment: Experiment) -> str | None:
    path = Path(experiment.cache_dir)
    return f"cache_dir={path}: expected a folder, found a file." if path.is_file() else None


def _run_directory(experiment: Experiment) -> str | None:
    try:
        rundir.planned(experiment)
    except UserError as error:
        return str(error)
    return None


def _missing(key: str, text: str) -> str | None:
    """Says that a path does not exist, and which sibling of its first missing part looks like it."""
    path = Path(text)
    if path.exists():
        return None
    first_missing = path
    while not first_missing.parent.exists():
        first_missing = first_missing.parent
    siblings = [str(sibling) for sibling in first_missing.parent.iterdir()] if first_missing.parent.is_dir() else []
    return f"{key}={text}: no such file or folder.{did_you_mean(str(first_missing), siblings)}"
