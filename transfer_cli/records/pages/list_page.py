"""A list of runs as a table that fits a screen, as CSV cells, and as a page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from transfer_cli.records.pages.render import render, score
from transfer_cli.records.text import plain_table, stacked_table

Record = Mapping[str, Any]
_HEADINGS = {"train_seconds": "seconds", "time": "started"}
_ALWAYS = ("run", "val", "test")
_MORE = ("status", "strategy", "model", "dataset", "train_seconds", "time")
_SCORES = ("val", "test")
_GAP = 2


def cell(record: Record, key: str) -> str:
    """A value as people read it."""
    value = record.get(key)
    if value is None:
        return ""
    if key in _SCORES:
        return score(value, str(record["metric"]))
    if key == "train_seconds" and isinstance(value, int | float):
        return f"{value:,.1f}"
    if key == "time":
        return str(value)[:16].replace("T", " ")
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def text(records: Sequence[Record], asked: Sequence[str], title: str, folder: str, width: int) -> str:
    """A table of `width` columns: the run whole, then scores, then what was asked for, then what has room.

    Runs are named from `folder`. What is the same in every run says nothing and comes last; a status is shown where
    some run is not complete. Where there is no room beside the run, each has a line for each of its values.
    """
    if not records:
        return title
    wanted = _by_use(records, asked)
    records = [{**record, "run": os.path.relpath(record["run"], folder)} for record in records]
    keys = _fitting(records, wanted, width)
    narrow = bool(wanted) and len(keys) == 1
    order = [*dict.fromkeys([*_ALWAYS, *asked, *_MORE])]
    keys = sorted([*_ALWAYS[:1], *wanted] if narrow else keys, key=order.index)
    columns = [_column(records, key) for key in keys]
    headings = [heading for heading, _ in columns]
    rows = [*zip(*(cells for _, cells in columns), strict=True)]
    return (stacked_table if narrow else plain_table)(title, headings, rows)


def _column(records: Sequence[Record], key: str) -> tuple[str, list[str]]:
    """Heading and cells; where all are percentages the heading says so."""
    cells, heading = [cell(record, key) for record in records], _HEADINGS.get(key, key)
    if all(one.endswith(" %") or not one for one in cells):
        return f"{heading} %" if any(cells) else heading, [one.removesuffix(" %") for one in cells]
    return heading, cells


def _fitting(records: Sequence[Record], wanted: Sequence[str], width: int) -> list[str]:
    keys = [*_ALWAYS[:1]]
    room = width - _width(records, *keys)
    for key in wanted:
        needed = _GAP + _width(records, key)
        if needed <= room:
            keys.append(key)
            room -= needed
    return keys


def _by_use(records: Sequence[Record], asked: Sequence[str]) -> list[str]:
    scored = {f"{split}.{record['metric']}" for split in _SCORES for record in records}
    own = [key for key in asked if key not in _ALWAYS and key not in scored]
    more = [key for key in _MORE if key not in own and any(cell(record, key) for record in records)]
    same = [key for key in more if len({cell(record, key) for record in records}) < 2]
    shown = [key for key in more if key not in same]
    if all(record["status"] == "completed" for record in records):
        same = [key for key in same if key != "status"]
    scores = [key for key in _ALWAYS[1:] if any(cell(record, key) for record in records)]
    # Before the second score: what has none may have failed.
    status = [key for key in shown if key == "status"]
    return [*dict.fromkeys([*scores[:1], *status, *scores[1:], *own, *shown, *same])]


def _width(records: Sequence[Record], key: str) -> int:
    heading, cells = _column(records, key)
    return max(map(len, [heading, *cells]))


def columns_of(records: Sequence[Record], first: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The columns of the CSV: those that every run has, those asked for, then all scores and figures of any summary."""
    rest = (key for record in records for key in record if key.startswith(("val.", "test.", "parameters.")))
    others = ("epochs", "best_epoch", "images_per_second", "device", "precision", "config_hash", "error")
    return [*dict.fromkeys([*first, *asked, *rest, *others])]


def list_page(records: Sequence[Record], asked: Sequence[str], title: str, note: str, pages: Mapping[str, str]) -> str:
    """A page of all runs that sorts; `pages` are the addresses of their own pages by their names."""
    keys = [*dict.fromkeys([*_ALWAYS, *asked, *_MORE])]
    columns = [{"name": _HEADINGS.get(key, key), "kind": _kind(records, key)} for key in keys[1:]]
    rows = [
        {
            "run": record["run"],
            "page": pages.get(str(record["run"])),
            "cells": [{"text": cell(record, key), "plain": _plain(record.get(key))} for key in keys[1:]],
        }
        for record in records
    ]
    return render("list.html", title=title, kind="Runs", sections=[], note=note, columns=columns, rows=rows)


def _kind(records: Sequence[Record], key: str) -> str:
    """How a column is set."""
    if key == "time":
        return "date"
    return "n" if all(_is_number(record.get(key)) for record in records) else "text"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _plain(value: Any) -> str:
    return "" if value is None else str(value)
