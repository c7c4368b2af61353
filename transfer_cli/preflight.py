"""Checks against this machine's files that need neither torch nor a second: before anything is imported or written."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from transfer_cli import launched, plugins, rundir
from transfer_cli.config.distill import Distill
from transfer_cli.config.extract import Extract
from transfer_cli.config.loggers import LOGGERS, PACKAGES
from transfer_cli.config.modes import MODES
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import STREAM
from transfer_cli.data.reading.paths import missing, path_problem
from transfer_cli.data.sources.load import source_of
from transfer_cli.errors import UserError, did_you_mean, unknown
from transfer_cli.extras import lacking
from transfer_cli.files import is_special


def preflight(experiment: Experiment, in_sweep: bool = False) -> None:
    """Raises UserError with every path and name that cannot work here. A sweep looks after its own directory."""
    checks = [
        _no_ranks if in_sweep else ranks_problem,
        _device,
        _weights,
        _teacher,
        _run,
        _sweep,
        _input,
        _output,
        _loggers,
    ]
    checks.append(_cache_dir)
    if MODES[experiment.mode].reads_images:
        checks += [_dataset_path, _unlabelled]
    if experiment.mode == "fetch":
        checks += [_archive]
    if experiment.mode == "train" and not in_sweep:
        checks.append(_run_directory)
    problems = [problem for check in checks if (problem := check(experiment))]
    if problems:
        raise UserError("\n".join(problems))


def ranks_problem(experiment: Experiment) -> str | None:
    """What does not run on several processes, and processes that do not agree on how many they are."""
    place, devices, reason = launched.taken(), experiment.trainer.devices, alone(experiment)
    if place is None:
        asked = devices not in (1, "auto")
        return f"trainer.devices={devices}: {reason}." if asked and reason is not None else None
    started = f"{place.launcher} has started {place.size} processes as one training"
    if devices not in (1, "auto", place.size):
        return f"trainer.devices={devices}: {started}; leave trainer.devices out."
    return None if reason is None else f"{started}: {reason}."


def alone(experiment: Experiment) -> str | None:
    """Why a command runs on one device whatever there is, or None."""
    if re.fullmatch(r"cuda:\d+", experiment.trainer.device):
        return f"trainer.device={experiment.trainer.device} names one device; say trainer.device=cuda"
    if experiment.mode != "train":
        return f"mode={experiment.mode} runs on one device"
    if isinstance(experiment.strategy, Extract) and not experiment.strategy.cache:
        return "strategy.cache=false runs the backbone in every epoch, on one device"
    return None


def _no_ranks(experiment: Experiment) -> str | None:
    """A sweep starts the processes of each job itself."""
    place = launched.taken()
    if place is None:
        return ranks_problem(experiment)
    return (
        f"{place.launcher} has started {place.size} processes as one training: start a sweep as one process, with "
        "trainer.devices for its jobs."
    )


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
    absent = [problem for weights in several if (problem := _missing_weights(key, weights))]
    if absent:
        return "\n".join(absent)
    if teacher.model is not None:
        return None
    no_runs = [path for path in several if path != "auto" and not (Path(path) / "model.json").is_file()]
    if not no_runs:
        return None
    return f"{key}={no_runs[0]}: no finished run (it has no model.json); weights of other kinds need {key[:-8]}.model."


def _missing_weights(key: str, weights: str) -> str | None:
    looks_like_a_path = "/" in weights or weights.endswith((".pt", ".pth", ".safetensors", ".bin"))
    return missing(key, weights) if looks_like_a_path else None


def _unlabelled(experiment: Experiment) -> str | None:
    path = experiment.dataset.unlabelled
    if path is None:
        return None
    name = experiment.dataset.name
    if source_of(name).PATH is None:
        return f"dataset.unlabelled: dataset={name} is in memory; only sets that are read from files can be joined."
    if Path(path).expanduser().is_file():
        return f"dataset.unlabelled={path}: not a folder."
    return missing("dataset.unlabelled", path)


def _dataset_path(experiment: Experiment) -> str | None:
    try:
        return path_problem(experiment.dataset, source_of(experiment.dataset.name).PATH)
    except UserError as error:
        return str(error)


def _run(experiment: Experiment) -> str | None:
    problems = [problem for run in experiment.runs if (problem := _no_run(run, experiment))]
    return "\n".join(problems) or None


def _no_run(run: str, experiment: Experiment) -> str | None:
    problem = missing("run", run, Path(experiment.output_dir) / rundir.RUNS)
    if problem is not None:
        return problem
    if experiment.mode in ("replay", "report"):
        begun = (Path(run) / rundir.CONFIG).is_file()
        return None if begun else f"run={run}: no run directory (it has no {rundir.CONFIG})."
    finished = (Path(run) / "model.json").is_file()
    return None if finished else f"run={run}: no finished run (it has no model.json)."


def _loggers(experiment: Experiment) -> str | None:
    found = [_logger(name) for name in experiment.loggers]
    return "\n".join(one for one in found if one) or None


def _logger(name: str) -> str | None:
    if name in PACKAGES:
        return lacking(PACKAGES[name], name, f"logger={name}")
    if name in LOGGERS or name in plugins.names("loggers"):
        return None
    return str(unknown("logger", name, [*LOGGERS, *plugins.names("loggers")]))


def _sweep(experiment: Experiment) -> str | None:
    found = [_no_sweep(folder, experiment) for folder in experiment.sweep.folders]
    return "\n".join(one for one in found if one) or None


def _no_sweep(folder: str, experiment: Experiment) -> str | None:
    problem = missing("sweep", folder, Path(experiment.output_dir) / rundir.SWEEPS)
    if problem is not None:
        return problem
    return None if Path(folder).is_dir() else f"sweep={folder}: expected a folder, found a file."


def _input(experiment: Experiment) -> str | None:
    path = experiment.input
    if path is None or (path == STREAM and experiment.mode == "predict"):
        return None
    if glob.has_magic(path) and not os.path.exists(os.path.expanduser(path)):
        found = any(glob.iglob(os.path.expanduser(path), recursive=True))
        return None if found else f"input={path}: nothing matches this pattern."
    return missing("input", path)


def _output(experiment: Experiment) -> str | None:
    if experiment.output is None or (experiment.output == STREAM and experiment.mode in ("predict", "report")):
        return None
    path = Path(experiment.output)
    if experiment.mode == "export":
        is_other = path.exists() and not path.is_dir()
        found_file = f"output={path}: expected a folder, found a file." if is_other else None
        return found_file or _no_folder(path)
    if path.is_dir():
        return f"output={path}: expected a file, found a folder."
    if is_special(path):
        return f"output={path}: expected a file, found a device or a pipe; output={STREAM} writes to standard output."
    source = Path(experiment.input or STREAM).expanduser()
    if path.exists() and source.exists() and path.samefile(source):
        return f"output={path}: is the input, which is never changed; name another file."
    return _no_folder(path)


def _no_folder(output: Path) -> str | None:
    folder = output.absolute().parent
    return None if folder.is_dir() else f"output={output}: there is no folder {folder}; make it first."


def _archive(experiment: Experiment) -> str | None:
    pack, unpack = experiment.fetch.pack, experiment.fetch.unpack
    if unpack is not None:
        problem = missing("fetch.unpack", unpack)
        return problem or (None if Path(unpack).is_file() else f"fetch.unpack={unpack}: expected a tar archive.")
    if pack is None:
        return None
    if os.path.lexists(pack):
        return f"fetch.pack={pack}: is there already; choose another name, or remove it first."
    return missing("fetch.pack", str(Path(pack).parent))


def _cache_dir(experiment: Experiment) -> str | None:
    path = Path(experiment.cache_dir)
    return f"cache_dir={path}: expected a folder, found a file." if path.is_file() else None


def _run_directory(experiment: Experiment) -> str | None:
    try:
        rundir.planned(experiment)
    except UserError as error:
        return str(error)
    return None
