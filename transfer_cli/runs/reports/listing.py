"""All runs under a folder as records, which conditions choose among and a key sorts. Reads JSON and YAML, no torch."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_cli.config.dotted import dotted
from transfer_cli.errors import UserError, did_you_mean
from transfer_cli.rundir import CONFIG, SUMMARY, read_json
from transfer_cli.runs.reports.reading import Values, number_in, read_yaml

Record = dict[str, Any]
"""What is known of a run, by dotted keys."""
RUN = "run"
FIRST = ("run", "status", "strategy", "model", "dataset", "seed", "metric", "val", "test", "train_seconds", "time")
"""Keys that every record has."""
_DEPTH = 5
_CONDITION = re.compile(r"([\w.]+)\s*(!=|<=|>=|==?|<|>|~)\s*(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXAMPLE = "test.accuracy>0.9,strategy=finetune"


@dataclass(frozen=True)
class Condition:
    """A key, how it is compared, and with what."""

    key: str
    sign: str
    value: str


def find_runs(folder: Path) -> list[Path]:
    """The run directories in a folder, whatever they are part of, by name."""
    found = []
    for place, folders, files in os.walk(folder):
        if SUMMARY in files or (CONFIG in files and _trains(Path(place))):
            found.append(Path(place))
            folders.clear()
        elif len(Path(place).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        folders.sort()
    return found


def _trains(directory: Path) -> bool:
    """Whether the settings in a folder are of a training, and not of a ranking of backbones; damaged ones may be."""
    _, config = read_yaml(directory / CONFIG)
    return bool(config.get("mode", "train") == "train")


def record_of(directory: Path) -> Record:
    """What a run directory says of its run, that is its summary, by dotted keys."""
    summary = read_json(directory / SUMMARY)
    metric = str(summary.get("metric") or "accuracy")
    first: Record = dict.fromkeys(FIRST)
    record = {**first, **dotted(summary), "run": str(directory), "metric": metric}
    record["status"] = summary.get("status") or "unfinished"
    for split in ("val", "test"):
        value = _part(summary, split).get(metric)
        record[split] = value if isinstance(value, int | float) else None
    record["time"] = read_json(directory / "environment.json").get("time")
    if not summary:
        _, config = read_yaml(directory / CONFIG)
        record |= {key: _part(config, key).get("name") for key in ("strategy", "model", "dataset")}
        record["seed"] = number_in(config, "seed")
    return record


def _part(values: Values, key: str) -> Values:
    """What a key holds, if that is a mapping."""
    part = values.get(key)
    return part if isinstance(part, dict) else {}


def conditions(where: str | None) -> list[Condition]:
    """The conditions that commas part. Raises UserError for what is none."""
    found = []
    for text in [] if where is None else where.split(","):
        match = _CONDITION.fullmatch(text.strip())
        if match is None:
            raise UserError(
                f"report.where={where}: {text.strip()!r} is no condition; expected some such as {EXAMPLE}, with "
                "=, !=, <, <=, >, >= or ~ (contains)."
            )
        found.append(Condition(match[1], "=" if match[2] == "==" else match[2], match[3].strip()))
    return found


def sort_key(sort: str | None) -> tuple[str, bool]:
    """The key to sort by, and whether the largest comes first; without one the latest runs come first."""
    return ("time", True) if sort is None else (sort.removeprefix("-"), sort.startswith("-"))


def with_settings(records: Sequence[Record], keys: Mapping[str, str]) -> list[Record]:
    """The records with the settings of config.yaml where one of the keys is not in any summary.

    `keys`: each with the option that named it. Raises UserError for keys that no run has.
    """
    known = {key for record in records for key in record}
    if all(key in known for key in keys):
        return [*records]
    full = [{**dotted(read_yaml(Path(record["run"]) / CONFIG)[1]), **record} for record in records]
    known = {key for record in full for key in record}
    for key, option in keys.items():
        if full and key not in known:
            raise UserError(f"{option}: no run has a key {key}.{did_you_mean(key, known)}")
    return full


def chosen(records: Sequence[Record], wanted: Sequence[Condition]) -> list[Record]:
    """Those that all conditions hold for. Raises UserError where a number is compared with a word."""
    return [record for record in records if all(_holds(record.get(one.key), one) for one in wanted)]


def _holds(value: Any, one: Condition) -> bool:
    if one.sign in ("=", "!="):
        return _equal(value, one.value) == (one.sign == "=")
    if value is None:
        return False
    if one.sign == "~":
        return one.value.casefold() in str(value).casefold()
    if isinstance(value, int | float) and not isinstance(value, bool):
        limit = _as_number(one.value)
        if limit is None:
            raise UserError(f"report.where: {one.key}{one.sign}{one.value}: {one.key} is compared with a number.")
        return _COMPARE[one.sign](value, limit)
    return _COMPARE[one.sign](str(value), one.value)


def _equal(value: Any, text: str) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value == _as_number(text)
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return shown == text


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def ordered(records: Sequence[Record], key: str, largest_first: bool) -> list[Record]:
    """Sorted by a key, numbers before words; runs that lack it come last, equal ones by their name."""
    known = [record for record in records if not _is_nothing(record.get(key))]
    known.sort(key=lambda record: record[RUN])
    known.sort(key=lambda record: _place(record[key]), reverse=largest_first)
    return [*known, *(record for record in records if _is_nothing(record.get(key)))]


def _is_nothing(value: Any) -> bool:
    """Whether a value is none, or no number that has an order."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _place(value: Any) -> tuple[bool, int | float, str]:
    number = isinstance(value, int | float)
    return not number, value if number else 0, "" if number else str(value)
