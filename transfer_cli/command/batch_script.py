"""A command as a batch script: for Slurm, for a shell that goes on until it is done, or as a line of a crontab.

Each starts the same command with a name and `resume=auto`, so that it goes on where a stopped or killed one was; what
several of them start at once shares the jobs of a sweep.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource, conf_dir
from transfer_cli.config.durations import wall_minutes
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, UserError

CORES_BESIDE_A_GPU = 8
_DEFAULT_LIMIT = "3h50m"
_MINUTES_BETWEEN = 10


def wanted(overrides: Overrides) -> bool:
    """Whether a command asks for a script of what else it says."""
    modes = [word for word in overrides.parsed if word.key_or_group == "mode" and not word.is_sweep_override()]
    return bool(modes) and modes[-1].value() == "script"


def without_script(overrides: Overrides) -> Overrides:
    """The command that the script starts, as it would be given by hand."""
    return overrides.without("mode", "format", "script")


@dataclass(frozen=True)
class Batch:
    """What a script starts: this many processes side by side of one command, in this folder."""

    experiment: Experiment
    """With the settings of the script; of a sweep its first job."""
    name: str
    words: tuple[str, ...]
    """All of the command but the program."""
    tasks: int
    folder: Path

    @property
    def limit(self) -> str:
        """The time after which the program is to save and end, as `trainer.time_limit` has it."""
        return self.experiment.trainer.time_limit or _DEFAULT_LIMIT

    @property
    def command(self) -> str:
        """Quoted for a shell."""
        return shlex.join([*program(), *self.words])

    @property
    def log(self) -> str:
        """Where a crontab's command writes what it says; quoted."""
        return shlex.quote(str(self.folder / f"{self.name}.log"))


def batch(
    source: ConfigSource, overrides: Overrides, e: Experiment, name: str, at_most: int, flags: Sequence[str] = ()
) -> Batch:
    """The processes that do what `overrides` say: `at_most` for Slurm, one for a shell, where nothing is said."""
    kind = _kind(e)
    if kind == "cron" and e.script.tasks not in (None, 1):
        raise UserError(f"script.tasks={e.script.tasks}: a crontab starts one process; leave it out.")
    if kind != "slurm" and e.script.sbatch is not None:
        raise UserError(f"script.sbatch={e.script.sbatch}: only a script for Slurm takes it; add format=slurm.")
    words = overrides.without("name", "resume").arguments
    several = (*flags, *_places(source), *words, f"name={name}", "resume=auto")
    return Batch(e, name, several, e.script.tasks or (at_most if kind == "slurm" else 1), Path.cwd())


def script(one: Batch) -> str:
    """The text, of the kind that `format` says; `auto`: for Slurm where that is, else for a shell."""
    return {"slurm": _slurm, "loop": _loop, "cron": _cron}[_kind(one.experiment)](one)


def _kind(e: Experiment) -> str:
    return ("slurm" if shutil.which("sbatch") else "loop") if e.format == "auto" else e.format


def program() -> list[str]:
    """The words that start this program, whatever the search path of the shell that runs them."""
    installed = Path(sys.executable).with_name("transfer-run")
    return [str(installed)] if installed.is_file() else [sys.executable, "-m", "transfer_cli"]


def _slurm(one: Batch) -> str:
    e, array = one.experiment, one.tasks > 1
    minutes = wall_minutes(one.limit)
    devices = e.trainer.known_devices
    options = [
        f"--job-name={one.name}",
        *([f"--array=0-{one.tasks - 1}"] if array else []),
        "--nodes=1",
        "--ntasks=1",
        f"--cpus-per-task={CORES_BESIDE_A_GPU * devices}",
        *([] if e.trainer.device == "cpu" else [f"--gpus-per-node={devices}"]),
        f"--time={minutes // 60:02}:{minutes % 60:02}:00",
        f"--output={'%x_%A_%a' if array else '%x_%j'}.log",
        "--open-mode=append",
        "--requeue",
        *_sbatch_options(e.script.sbatch or ""),
    ]
    limit = [] if e.trainer.time_limit else [f"trainer.time_limit={one.limit}"]
    return "\n".join(
        [
            "#!/bin/bash",
            *_about(one, "submit it with sbatch"),
            *(f"#SBATCH {option}" for option in options),
            "",
            f"cd {shlex.quote(str(one.folder))} || exit",
            f"srun {shlex.join([*program(), *one.words, *limit])}",
            "code=$?",
            f"# {EXIT_PREEMPTED}: stopped with its state saved; in the queue again it goes on from there.",
            f'if [ "$code" -eq {EXIT_PREEMPTED} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
            'exit "$code"',
            "",
        ]
    )


def _sbatch_options(text: str) -> list[str]:
    """Options for Slurm, each as a line of a script takes it. Raises UserError for what are none."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"script.sbatch={text}: a quote is not closed ({error}).") from error
    if (words and not words[0].startswith("-")) or any("\n" in word for word in words):
        raise UserError(f"script.sbatch={text}: expected options of sbatch, as in '--partition=gpu --mem=32G'.")
    options: list[list[str]] = []
    for word in words:
        if word.startswith("-"):
            options.append([])
        # The value of an option may be a word of its own.
        options[-1].append(word)
    return [shlex.join(option) for option in options]


def _loop(one: Batch) -> str:
    start = [
        "ended=",
        "go_on() {",
        "    while :; do",
        f"        {one.command}",
        "        code=$?",
        f"        # {EXIT_PREEMPTED}: stopped with its state saved; it goes on from there.",
        f'        [ "$code$ended" = {EXIT_PREEMPTED} ] || return "$code"',
        "    done",
        "}",
        "",
    ]
    lines = ["#!/bin/sh", *_about(one, "run it with sh"), f"cd {shlex.quote(str(one.folder))} || exit", "", *start]
    if one.tasks == 1:
        return "\n".join([*lines, "go_on", ""])
    several = [
        "# What a shell starts in the background hears nothing of Ctrl-C: it is told to save and end.",
        f"trap 'trap \"\" TERM; kill -s TERM 0; wait; exit {EXIT_INTERRUPTED}' INT",
        "pids=",
        f"for task in $(seq {one.tasks}); do",
        "    { trap 'ended=.' TERM; go_on; } &",
        '    pids="$pids $!"',
        "done",
        "code=0",
        "for pid in $pids; do",
        '    wait "$pid" || code=$?',
        "done",
        'exit "$code"',
        "",
    ]
    return "\n".join([*lines, *several])


def _cron(one: Batch) -> str:
    """One line: a crontab has no search path, gives % a meaning, and starts a job though its last one still runs."""
    folder = shlex.quote(str(one.folder))
    line = f"cd {folder} && flock -n {one.log} {one.command} >> {one.log} 2>&1"
    if "\n" in line:
        raise UserError(
            "format=cron: the command or its folder holds a line break, which a crontab cannot; use format=loop."
        )
    escaped = line.replace("%", "\\%")
    return "\n".join([*_about(one, "add the line to crontab -e"), f"*/{_MINUTES_BETWEEN} * * * * {escaped}", ""])


def _about(one: Batch, how: str) -> list[str]:
    shared = f", shared by {one.tasks} processes" if one.tasks > 1 else ""
    return [f"# {one.name}{shared}: {how}. Started again it goes on with what is missing."]


def _places(source: ConfigSource) -> list[str]:
    """The flags that tell where the YAML of a command lies, with whole paths."""
    flags = [] if source.path == conf_dir() else [f"--config-path={source.path}"]
    flags += [] if source.name in (None, "config") else [f"--config-name={source.name}"]
    return flags + ([] if source.extra is None else [f"--config-dir={source.extra}"])
