"""`report.html` of a folder of runs: a sweep, a comparison, a search within a budget; known by the file it holds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfer_cli.command.overrides import words_in
from transfer_cli.errors import UserError, first_line
from transfer_cli.files import atomic_write_text
from transfer_cli.methods.comparison import spread
from transfer_cli.records.pages.group_page import Entry, GroupFacts, Mean, group_page
from transfer_cli.records.pages.render import number
from transfer_cli.rundir import SUMMARY
from transfer_cli.runs.reports.reading import PAGE, Values, read_json

_REPEATS = ("seed", "dataset.fold")
LEADERBOARD, COMPARISON, JOURNAL = "leaderboard.csv", "compare.json", "auto.json"


def leave_group_report(folder: Path, warn: Callable[[str], None]) -> None:
    """Write the page of a folder that is complete; what stands in the way is a warning."""
    try:
        write_group_report(folder)
    except Exception as error:  # the runs are done, with their page or without
        warn(
            f"{folder / PAGE} could not be written ({first_line(error)}); all else is complete. Once that is mended, "
            f"transfer-run mode=report sweep={folder} makes it."
        )


def write_group_report(folder: Path) -> None:
    """Write `report.html`. Raises OSError, UserError for a folder that holds none of these."""
    kinds = {LEADERBOARD: _sweep, COMPARISON: _comparison, JOURNAL: _search}
    for name, facts in kinds.items():
        if (folder / name).is_file():
            try:
                page = group_page(facts(folder))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{folder / name}: damaged ({first_line(error)}).") from error
            atomic_write_text(folder / PAGE, page)
            return
    raise UserError(f"sweep={folder}: {problem(folder)}")


def problem(folder: Path) -> str | None:
    """Why a folder has no page of this kind; None where it has."""
    names = (LEADERBOARD, COMPARISON, JOURNAL)
    if any((folder / name).is_file() for name in names):
        return None
    return f"no folder of a sweep, a comparison or a search (it has no {', '.join(names[:-1])} or {names[-1]})."


def _sweep(folder: Path) -> GroupFacts:
    with (folder / LEADERBOARD).open(encoding="utf-8", newline="") as file:
        lines = [*csv.DictReader(file)]
    words = [_words(line["overrides"]) for line in lines]
    shared = [word for word in words[0] if all(word in other for other in words)] if len(lines) > 1 else []
    entries, groups = [], dict[tuple[str, ...], list[Entry]]()
    metric = "accuracy"
    for line, own in zip(lines, words, strict=True):
        job = folder / Path(line["run_directory"]).name
        summary = read_json(job / SUMMARY)
        metric = summary.get("metric") or metric
        differing = [word for word in own if word not in shared]
        entry = _entry(folder, job.name, " ".join(differing) or f"job {job.name}", summary, job.name)
        status = line["status"] or entry.status
        took = float(line["seconds"]) if line["seconds"] else entry.seconds
        entry = replace(entry, status=status, seconds=took, error=line["error"] or None)
        entries.append(entry)
        # There its page is called by the number of its row here.
        numbered = replace(entry, pages=[(f"#{len(entries)}", path) for _, path in entry.pages])
        groups.setdefault(tuple(sorted(word for word in differing if not _repeats(word))), []).append(numbered)
    several = (
        [_over_seeds(" ".join(name), group) for name, group in groups.items()] if len(groups) < len(entries) else []
    )
    return GroupFacts(
        title=folder.name,
        kind="Sweep",
        lead=f"{_of(len(entries), 'job')}, {metric} on validation decides",
        metric=metric,
        entries=entries,
        facts=[_setting(word) for word in shared],
        over_seeds=sorted(several, key=lambda one: _rank(one, metric)),
    )


def _words(cell: str) -> list[str]:
    """The overrides of a job, without what keeps a spreadsheet from reading a formula."""
    text = cell[1:] if cell.startswith(("'+", "'-", "'=", "'@")) else cell
    return words_in(text)


def _repeats(word: str) -> bool:
    """Whether jobs that differ in this word alone are the same once more."""
    return word.lstrip("+").partition("=")[0] in _REPEATS


def _setting(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _rank(one: Entry, metric: str) -> tuple[bool, float]:
    if one.val is None:
        return True, 0.0
    return False, one.val.value if metric == "loss" else -one.val.value


def _over_seeds(name: str, entries: Sequence[Entry]) -> Entry:
    done = [entry for entry in entries if entry.status == "completed"]
    times = [entry.seconds for entry in done if entry.seconds is not None]
    first = done[0] if done else entries[0]
    return Entry(
        name or "(all jobs)",
        "completed" if len(done) == len(entries) else f"{len(done)} of {len(entries)}",
        val=_mean([entry.val.value for entry in done if entry.val]),
        test=_mean([entry.test.value for entry in done if entry.test]),
        seconds=sum(times) / len(times) if times else None,
        trainable=first.trainable,
        parameters=first.parameters,
        pages=[page for entry in entries for page in entry.pages],
    )


def _mean(values: Sequence[float]) -> Mean | None:
    if not values:
        return None
    found = spread(values)
    return Mean(found.mean, found.deviation)


def _comparison(folder: Path) -> GroupFacts:
    found = read_json(folder / COMPARISON)
    runs: Sequence[Values] = found["runs"]
    entries = []
    for row in found["rows"]:
        own = [run for run in runs if run["row"] == row["row"]]
        pages = [(f"seed {run['seed']}", _page(folder, run["directory"])) for run in own]
        entries.append(
            Entry(
                row["row"],
                "completed" if row["completed"] and not row["failed"] else "failed" if row["failed"] else "unfinished",
                val=_saved_mean(row["val"]),
                test=_saved_mean(row["test"]),
                seconds=None if row["seconds"] is None else float(row["seconds"]["mean"]),
                trainable=row["trainable_parameters"],
                parameters=row["parameters"],
                pages=[(name, path) for name, path in pages if path is not None],
                runs=f"{row['completed']} of {len(own)}",
                error=row["error"],
            )
        )
    recommended = found.get("recommendation") or {}
    seeds = found["seeds"]
    facts = [("model", found["model"]), ("data set", found["dataset"]), ("seeds", ", ".join(map(str, seeds)))]
    return GroupFacts(
        title=folder.name,
        kind="Comparison",
        lead=f"{_of(len(entries), 'recipe')}, {_of(len(seeds), 'seed')} each: {found['model']} on {found['dataset']}",
        metric=found["metric"],
        entries=entries,
        facts=facts,
        recommendation=recommended.get("reason"),
    )


def _saved_mean(value: Mapping[str, Any] | None) -> Mean | None:
    return None if value is None else Mean(float(value["mean"]), value.get("deviation"))


def _search(folder: Path) -> GroupFacts:
    found = read_json(folder / JOURNAL)
    decisions: Values = found["decisions"]
    asked = decisions.get("asked") or {}
    metric = asked.get("metric") or "accuracy"
    entries = []
    summary = read_json(folder / "best" / SUMMARY)
    if summary:
        name = f"best: {summary.get('strategy')} {summary.get('model')}"
        entries.append(_entry(folder, "best", name, summary, "best"))
    probes = []
    for model in decisions.get("backbones") or []:
        own, path = decisions.get(f"probe of {model}") or {}, f"probes/{model}"
        entry = _entry(folder, path, f"probe of {model}", read_json(folder / path / SUMMARY), "probe")
        status = "failed" if own.get("error") else entry.status
        probes.append(replace(entry, status=status, error=own.get("error")))
    calibration = decisions.get("calibration") or {}
    plan = decisions.get("plan") or {}
    facts = [
        ("budget", f"{found['budget']:g} s"),
        ("spent", f"{found['seconds_spent']:g} s"),
        *[(f"plan: {key}", str(value)) for key, value in plan.items() if value not in ([], None)],
    ]
    if calibration:
        before, after = number(calibration["before"]), number(calibration["after"])
        facts += [
            ("temperature", number(calibration["temperature"])),
            ("ECE on validation", f"{before} before, {after} with the temperature"),
        ]
    dataset = (asked.get("dataset") or {}).get("name")
    return GroupFacts(
        title=folder.name,
        kind="Search within a budget",
        lead=f"{_of(len(probes), 'backbone')} on {dataset}, {metric} on validation decides",
        metric=metric,
        entries=[*entries, *sorted(probes, key=lambda one: _rank(one, metric))],
        facts=facts,
    )


def _of(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _entry(folder: Path, place: str, name: str, summary: Values, called: str) -> Entry:
    """The row of one run, from its summary."""
    metric, parameters = summary.get("metric") or "accuracy", summary.get("parameters") or {}
    scores = {split: (summary.get(split) or {}).get(metric) for split in ("val", "test")}
    page = _page(folder, place)
    return Entry(
        name,
        str(summary.get("status") or "unfinished"),
        val=None if scores["val"] is None else Mean(float(scores["val"])),
        test=None if scores["test"] is None else Mean(float(scores["test"])),
        seconds=summary.get("train_seconds"),
        trainable=parameters.get("trainable"),
        parameters=parameters.get("total"),
        pages=[] if page is None else [(called, page)],
        error=summary.get("error"),
    )


def _page(folder: Path, place: str) -> str | None:
    """The path of a run's page from its folder, where there is one."""
    return f"{place}/{PAGE}" if (folder / place / PAGE).is_file() else None
