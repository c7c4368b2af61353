"""What is said of the keys of the modes that use what runs have left: `predict`, `export`, `push` and `report`."""

from __future__ import annotations

import re

from transfer_cli.config.auto import AUTO
from transfer_cli.config.schema import Experiment

STREAM = "-"
"""As `input` or `output`: standard input, standard output."""
_LONGEST = 96
"""Characters of the name of a repository with its owner."""


def export_format(e: Experiment) -> str:
    """What mode=export writes: onnx where nothing is said."""
    return "onnx" if e.format == AUTO else e.format


def list_format(e: Experiment) -> str:
    """How mode=report lists runs: as `output` ends, else as a table, where nothing is said."""
    if e.format != AUTO:
        return e.format
    ending = (e.output or "").lower().rpartition(".")[2]
    return {"csv": "csv", "html": "page", "htm": "page"}.get(ending, "table")


def report_problems(experiment: Experiment) -> list[tuple[bool, str]]:
    """Settings that one use of mode=report has and another has not: (whether it is so, what to say)."""
    e = experiment
    named = [key for key, value in (("run", e.run), ("sweep", e.sweep.folder)) if value is not None]
    lists = {"report.where": e.report.where, "report.sort": e.report.sort, "output": e.output}
    said = [f"{key}={value}" for key, value in lists.items() if value is not None]
    said += [f"format={e.format}"] if e.format != AUTO else []
    return [
        (
            bool(e.sweep.objectives) and e.sweep.folder is None,
            f"sweep.objectives=[{','.join(e.sweep.objectives)}]: mode=report draws the front of a sweep; name its "
            "folder with sweep=<folder>.",
        ),
        (
            bool(e.sweep.objectives) and len(e.sweep.folders) > 1,
            f"sweep.objectives=[{','.join(e.sweep.objectives)}]: the front is that of one sweep; name one folder.",
        ),
        (len(named) == 2, "run, sweep: one of the two; name run directories, or folders of sweeps."),
        (
            bool(named and said),
            f"{', '.join(said)}: only read where mode=report lists runs; with {' and '.join(named)} it writes the page "
            "into that folder.",
        ),
        (
            not named and e.output is not None and list_format(e) == "table",
            f"output={e.output}: a table goes to the terminal; say format=csv or format=page.",
        ),
    ]


def push_problems(experiment: Experiment) -> list[tuple[bool, str]]:
    """A name that no repository can have: (whether it is so, what to say)."""
    to = experiment.push.to
    expected = "<owner>/<name>, a repository of the model hub"
    return [
        (to is None, f"push.to: mode=push needs push.to={expected}."),
        (to is not None and not _is_repository(to), f"push.to={to}: expected {expected}."),
    ]


def _is_repository(name: str) -> bool:
    """Whether a name is one by the rules of the hub."""
    return (
        re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name, re.ASCII) is not None
        and len(name) <= _LONGEST
        and not re.search(r"--|\.\.|[.-](/|$)|\.git$", name)
    )


def export_problems(experiment: Experiment) -> list[tuple[bool, str]]:
    """Settings that not every format has: (whether it is so, what to say)."""
    e, form = experiment.export, export_format(experiment)
    programs = form in ("onnx", "torch_export")
    return [
        (
            e.quantize != "none" and form != "onnx",
            f"export.quantize={e.quantize}: only format=onnx is quantised.",
        ),
        (
            e.preprocessing and not programs,
            f"export.preprocessing=true: format={form} holds weights alone; onnx and torch_export hold a "
            "program that preprocessing can be a part of. It is described beside every file.",
        ),
        (
            e.layout != "nhwc" and not e.preprocessing,
            f"export.layout={e.layout}: only read with export.preprocessing=true; without it images are NCHW.",
        ),
    ]
