"""`report.html` of a folder of runs: a sweep, a comparison, a search within a budget; known by the file it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfer_cli.command.overrides import without_repeats, words_in
from transfer_cli.errors import UserError, counted, first_line
from transfer_cli.files import atomic_write_text
from transfer_cli.methods.comparison import place, spread
from transfer_cli.records.pages.group_page import Entry, GroupFacts, Mean, group_page
from transfer_cli.records.pages.render import number
from transfer_cli.rundir import SUMMARY, name_of, read_json
from transfer_cli.runs.reports.front_report import LEADERBOARD, draw_front, front_facts, leaderboard_rows
from transfer_cli.runs.reports.pareto import front_of
from transfer_cli.runs.reports.reading import OTHER_CONTENT, PAGE, Values

COMPARISON, JOURNAL = "compare.json", "auto.json"


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
    """Write `report.html`, and of a sweep with several objectives a picture of its front.

    Raises OSError, UserError for a folder that holds none of these.
    """
    kinds = {LEADERBOARD: _sweep, COMPARISON: _comparison, JOURNAL: _search}
    for name, facts in kinds.items():
        if (folder / name).is_file():
            try:
                page = group_page(facts(folder))
            except OTHER_CONTENT as error:
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
    lines = leaderboard_rows(folder)
    words = [words_in(line["overrides"]) for line in lines]
    shared = [word for word in words[0] if all(word in other for other in words)] if len(lines) > 1 else []
    differing = [[word for word in own if word not in shared] for own in words]
    jobs = [_directory(folder, line) for line in lines]
    summaries = [read_json(folder / job / SUMMARY) for job in jobs]
    metric = next((one["metric"] for one in reversed(summaries) if one.get("metric")), "accuracy")
    entries = [
        _job(line, own, metric, _entry(folder, job, " ".join(own) or f"job {Path(job).name}", summary))
        for line, job, own, summary in zip(lines, jobs, differing, summaries, strict=True)
    ]
    front = front_of(folder, lines)
    if front:
        draw_front(folder, front)
    return GroupFacts(
        title=name_of(folder),
        kind="Sweep",
        lead=f"{counted(len(entries), 'job')}, {metric} on validation decides",
        metric=metric,
        entries=entries,
        facts=[_setting(word) for word in shared],
        over_seeds=_over_seeds(entries, differing, metric),
        front=front_facts(folder, front) if front else None,
    )


def _directory(folder: Path, line: Mapping[str, str]) -> str:
    """Of a job, from the folder: its name, also where the folder has moved, or that of a job of another folder."""
    said = Path(line["run_directory"])
    elsewhere = not (folder / said.name).is_dir() and said.is_dir()
    return os.path.relpath(said, folder) if elsewhere else said.name


def _job(line: Mapping[str, str], own: Sequence[str], metric: str, entry: Entry) -> Entry:
    """The row of a job: what the sweep says of it goes before its summary. `own`: its words that not all jobs have."""
    return replace(
        entry,
        status=line["status"] or entry.status,
        seconds=float(line["seconds"]) if line["seconds"] else entry.seconds,
        error=line["error"] or None,
        val=entry.val or _said_score(line, f"val_{metric}"),
        test=entry.test or _said_score(line, f"test_{metric}"),
        settings=dict(_setting(word.lstrip("+")) for word in own),
    )


def _said_score(line: Mapping[str, str], column: str) -> Mean | None:
    """That of a job whose directory is gone."""
    return Mean(float(line[column])) if line.get(column) else None


def _setting(word: str) -> tuple[str, str]:
    key, _, value = word.partition("=")
    return key, value


def _over_seeds(entries: Sequence[Entry], words: Sequence[Sequence[str]], metric: str) -> list[Entry]:
    """A row for jobs that differ in seed and fold alone, the best first; none where there are no such jobs."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for position, (entry, own) in enumerate(zip(entries, words, strict=True), 1):
        # Here its page is called by the number of its row in the leaderboard.
        numbered = replace(entry, pages=[(f"#{position}", path) for _, path in entry.pages])
        groups.setdefault(tuple(sorted(without_repeats(own))), []).append(numbered)
    if len(groups) == len(entries):
        return []
    return _by_validation([_configuration(" ".join(name), group) for name, group in groups.items()], metric)


def _by_validation(entries: Sequence[Entry], metric: str) -> list[Entry]:
    return sorted(entries, key=lambda one: place(None if one.val is None else one.val.value, metric))


def _configuration(name: str, entries: Sequence[Entry]) -> Entry:
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
    runs, seeds = found["runs"], found["seeds"]
    entries = [_recipe(folder, row, [run for run in runs if run["row"] == row["row"]]) for row in found["rows"]]
    facts = [("model", found["model"]), ("data set", found["dataset"]), ("seeds", ", ".join(map(str, seeds)))]
    each = f"{counted(len(entries), 'recipe')}, {counted(len(seeds), 'seed')} each"
    return GroupFacts(
        title=name_of(folder),
        kind="Comparison",
        lead=f"{each}: {found['model']} on {found['dataset']}",
        metric=found["metric"],
        entries=entries,
        facts=facts,
        recommendation=(found.get("recommendation") or {}).get("reason"),
    )


def _recipe(folder: Path, row: Values, runs: Sequence[Values]) -> Entry:
    """The row of a recipe, from that of the comparison and its runs."""
    pages = [(f"seed {run['seed']}", _page(folder, run["directory"])) for run in runs]
    return Entry(
        row["row"],
        "failed" if row["failed"] else "completed" if row["completed"] else "unfinished",
        val=_saved_mean(row["val"]),
        test=_saved_mean(row["test"]),
        seconds=None if row["seconds"] is None else float(row["seconds"]["mean"]),
        trainable=row["trainable_parameters"],
        parameters=row["parameters"],
        pages=[(name, path) for name, path in pages if path is not None],
        runs=f"{row['completed']} of {len(runs)}",
        error=row["error"],
    )


def _saved_mean(value: Mapping[str, Any] | None) -> Mean | None:
    return None if value is None else Mean(float(value["mean"]), value.get("deviation"))


def _search(folder: Path) -> GroupFacts:
    found = read_json(folder / JOURNAL)
    decisions: Values = found["decisions"]
    asked = decisions.get("asked") or {}
    metric = asked.get("metric") or "accuracy"
    summary = read_json(folder / "best" / SUMMARY)
    name = f"best: {summary.get('strategy')} {summary.get('model')}"
    best = [_entry(folder, "best", name, summary)] if summary else []
    probes = [_probe(folder, model, decisions) for model in decisions.get("backbones") or []]
    dataset = (asked.get("dataset") or {}).get("name")
    spent = [(name, f"{found[key]:g} s") for name, key in (("budget", "budget"), ("spent", "seconds_spent"))]
    return GroupFacts(
        title=name_of(folder),
        kind="Search within a budget",
        lead=f"{counted(len(probes), 'backbone')} on {dataset}, {metric} on validation decides",
        metric=metric,
        entries=[*best, *_by_validation(probes, metric)],
        facts=[*spent, *_decided(decisions)],
    )


def _probe(folder: Path, model: str, decisions: Values) -> Entry:
    path, error = f"probes/{model}", (decisions.get(f"probe of {model}") or {}).get("error")
    entry = _entry(folder, path, f"probe of {model}", read_json(folder / path / SUMMARY))
    return replace(entry, status="failed" if error else entry.status, error=error)


def _decided(decisions: Values) -> list[tuple[str, str]]:
    plan, calibration = decisions.get("plan") or {}, decisions.get("calibration") or {}
    facts = [(f"plan: {key}", str(value)) for key, value in plan.items() if value not in ([], None)]
    if calibration:
        before, after = number(calibration["before"]), number(calibration["after"])
        facts += [
            ("temperature", number(calibration["temperature"])),
            ("ECE on validation", f"{before} before, {after} with the temperature"),
        ]
    return facts


def _entry(folder: Path, directory: str, name: str, summary: Values) -> Entry:
    """The row of one run, from its summary."""
    metric, parameters = summary.get("metric") or "accuracy", summary.get("parameters") or {}
    scores = {split: (summary.get(split) or {}).get(metric) for split in ("val", "test")}
    page = _page(folder, directory)
    return Entry(
        name,
        str(summary.get("status") or "unfinished"),
        val=None if scores["val"] is None else Mean(float(scores["val"])),
        test=None if scores["test"] is None else Mean(float(scores["test"])),
        seconds=summary.get("train_seconds"),
        trainable=parameters.get("trainable"),
        parameters=parameters.get("total"),
        pages=[] if page is None else [(directory, page)],
        error=summary.get("error"),
    )


def _page(folder: Path, directory: str) -> str | None:
    """The path of a run's page from its folder, where there is one."""
    return f"{directory}/{PAGE}" if (folder / directory / PAGE).is_file() else None
