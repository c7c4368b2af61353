"""What each mode needs of the keys that are set, and keys that it does not read.

Each function returns pairs: whether it is so, and the message.
"""

from __future__ import annotations

import os

from transfer_cli.config.auto import AUTO
from transfer_cli.config.commands import (
    AuditCommand,
    EvaluateCommand,
    ExplainCommand,
    ExportCommand,
    PredictCommand,
    PushCommand,
    ReportCommand,
    ScriptCommand,
)
from transfer_cli.config.distill import Distill
from transfer_cli.config.durations import EXPECTED, seconds_of
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.modes import MODES
from transfer_cli.config.schema import Experiment
from transfer_cli.config.using import export_problems, push_problems, report_problems

_EXPECTED = {
    "run": "run directory",
    "input": "image file, folder, pattern or list",
    "output": "file",
    "sweep": "folder of a sweep",
}


def mode_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Keys that the mode needs and that are not set, and keys that are set and that it does not read."""
    mode, values = MODES[e.mode], {"run": e.run, "input": e.input, "output": e.output, "sweep": e.sweep.folder}
    checks = []
    for key, value in values.items():
        readers = [name for name, other in MODES.items() if key in other.needs + other.takes]
        only = f"{said(key, value)}: only {_modes(readers)} read{'s' * (len(readers) == 1)} {key}."
        checks += [
            (key in mode.needs and value is None, f"{key}: mode={e.mode} needs {key}=<{_EXPECTED[key]}>."),
            (e.mode not in readers and value is not None and (e.mode, key) != ("train", "run"), only),
        ]
    return [*checks, *_format_problems(e), *_several_problems(e)]


def _format_problems(e: Experiment) -> list[tuple[bool, str]]:
    """A format that the mode does not write."""
    readers, formats = [name for name, mode in MODES.items() if mode.formats], MODES[e.mode].formats
    return [
        (e.format != AUTO and not formats, f"format={e.format}: only {_modes(readers)} read format."),
        (
            formats != () and e.format not in (AUTO, *formats),
            f"format={e.format}: mode={e.mode} writes {', '.join(formats)}; format=auto chooses.",
        ),
    ]


def _several_problems(e: Experiment) -> list[tuple[bool, str]]:
    """A list of runs or sweeps where one is meant, or that is none."""
    return [
        *_list_problems(e.mode, "run", e.run, [name for name, mode in MODES.items() if mode.takes_runs]),
        *_list_problems(e.mode, "sweep", e.sweep.folder, [name for name, mode in MODES.items() if mode.takes_sweeps]),
    ]


def _list_problems(
    mode: str, key: str, value: str | tuple[str, ...] | None, takers: list[str]
) -> list[tuple[bool, str]]:
    """Of a `key` that `takers` read several of."""
    if not isinstance(value, tuple):
        return []
    named = f"{said(key, value)}: only {_modes(takers)} take{'s' * (len(takers) == 1)} several {key}s."
    example = f"{key}=[outputs/{key}s/a,outputs/{key}s/b]"
    return [
        (not value, f"{key}=[]: name the folders of the {key}s, as in {example}."),
        (len({*map(os.path.realpath, value)}) < len(value), f"{said(key, value)}: each {key} once."),
        (MODES[mode].needs != () and mode not in takers, named),
    ]


def said(key: str, value: str | tuple[str, ...] | None) -> str:
    """A key and its value, a list among them, as the command line writes it."""
    return f"{key}={value}" if not isinstance(value, tuple) else f"{key}=[{','.join(value)}]"


def _modes(names: list[str]) -> str:
    """`mode=a, mode=b and mode=c`."""
    *others, last = [f"mode={name}" for name in names]
    return f"{', '.join(others)} and {last}" if others else last


def mode_key_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Keys of single modes."""
    return [
        (
            e.find_lr.lowest >= e.find_lr.highest,
            f"find_lr.lowest={e.find_lr.lowest}: must be below find_lr.highest={e.find_lr.highest}.",
        ),
        (
            e.mode == "find_lr" and isinstance(e.strategy, Extract),
            "mode=find_lr: strategy=extract tries rates itself; see strategy.grid.lr.",
        ),
        (
            e.mode == "rank" and not e.rank.models,
            "rank.models: mode=rank needs the backbones to rank, as in rank.models=[efficientnet_lite0,resnet18].",
        ),
        (
            e.mode != "cache" and (e.cache.action, e.cache.kind) != ("list", "all"),
            f"cache.action={e.cache.action}, cache.kind={e.cache.kind}: only mode=cache reads these.",
        ),
        (
            not MODES[e.mode].resumes and e.resume != "never",
            f"resume={e.resume}: only mode={', '.join(name for name, mode in MODES.items() if mode.resumes)} resumes.",
        ),
        (
            e.mode == "soup" and e.resume not in ("never", "auto"),
            f"resume={e.resume}: mode=soup goes on with name=<name> resume=auto.",
        ),
        *_auto_problems(e),
        *_compare_problems(e),
        (e.mode != "predict" and e.predict != PredictCommand(), "predict: only mode=predict reads its keys."),
        (e.mode != "export" and e.export != ExportCommand(), "export: only mode=export reads its keys."),
        (e.mode != "push" and e.push != PushCommand(), "push: only mode=push reads its keys."),
        (e.mode != "report" and e.report != ReportCommand(), "report: only mode=report reads its keys."),
        (e.mode != "explain" and e.explain != ExplainCommand(), "explain: only mode=explain reads its keys."),
        (e.mode != "evaluate" and e.evaluate != EvaluateCommand(), "evaluate: only mode=evaluate reads its keys."),
        (e.mode != "audit" and e.audit != AuditCommand(), "audit: only mode=audit reads its keys."),
        (
            e.mode == "audit" and e.dataset.labels == "none",
            "dataset.labels=none: mode=audit looks for wrong labels; leave it out.",
        ),
        (e.mode != "script" and e.script != ScriptCommand(), "script: only mode=script reads its keys."),
        *(export_problems(e) if e.mode == "export" else []),
        *(push_problems(e) if e.mode == "push" else []),
        *(report_problems(e) if e.mode == "report" else []),
        *_fetch_problems(e),
    ]


def _auto_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What mode=auto needs, and what it alone reads."""
    budget = e.trainer.budget
    return [
        (budget is not None and seconds_of(budget) is None, f"trainer.budget={budget}: {EXPECTED}."),
        (e.mode != "auto" and budget is not None, f"trainer.budget={budget}: only mode=auto reads it."),
        (e.mode == "auto" and budget is None, f"trainer.budget: mode=auto needs it; {EXPECTED}."),
        (
            e.mode == "auto" and e.resume not in ("never", "auto"),
            f"resume={e.resume}: mode=auto goes on with name=<name> resume=auto.",
        ),
        (
            e.mode == "auto" and not isinstance(e.strategy, Finetune),
            f"strategy={e.strategy.name}: mode=auto probes and finetunes; leave strategy out.",
        ),
    ]


def _compare_problems(e: Experiment) -> list[tuple[bool, str]]:
    """Comparisons that compare nothing."""
    if e.mode != "compare":
        return []
    rows = e.compare.rows
    return [
        (not rows, "compare.rows=[]: name the recipes to compare, as in compare.rows=[probe,lora]."),
        (len({*rows}) < len(rows), f"compare.rows={[*rows]}: each recipe once."),
        (e.trainer.epochs == 0, "trainer.epochs=0: nothing trains, so there is nothing to compare."),
        (e.dataset.labels == "none", "dataset.labels=none: mode=compare needs labels to score by."),
        (
            e.resume not in ("never", "auto"),
            f"resume={e.resume}: a comparison is continued by its name, with name=<name> resume=auto.",
        ),
        (
            "distill" in rows and not isinstance(e.strategy, Distill),
            "compare.rows: distill needs a teacher: strategy=distill strategy.teacher.weights=<run directory>.",
        ),
    ]


def _fetch_problems(e: Experiment) -> list[tuple[bool, str]]:
    """What mode=fetch alone reads, and does one at a time."""
    f = e.fetch
    made = {"fetch.models": f.models, "fetch.datasets": f.datasets, "fetch.pack": f.pack}
    named = ", ".join(said(key, value) for key, value in {**made, "fetch.unpack": f.unpack}.items() if value)
    others = [key for key, value in made.items() if value]
    return [
        (e.mode != "fetch" and bool(named), f"{named}: only mode=fetch reads this."),
        (
            e.mode == "fetch" and f.unpack is not None and bool(others),
            f"fetch.unpack={f.unpack}: an archive is unpacked as a whole; leave {' and '.join(others)} out.",
        ),
    ]
