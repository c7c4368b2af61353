"""mode=cache: what the cache holds, whether it is still what was written, and room made again."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import Entry, damage, remove
from transfer_cli.cache.place import open_cache
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_FAILED, EXIT_OK
from transfer_cli.files import parsed_json
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words

_LONGEST_DESCRIPTION = 70


def run(experiment: Experiment, overrides: Overrides) -> int:
    """List, verify or clear the entries of `cache.kind`."""
    reporter = Reporter(quiet=experiment.quiet)
    cache = open_cache(experiment.cache_dir, experiment.cache_size, reporter.warn)
    kind = experiment.cache.kind
    entries = [entry for entry in cache.entries() if kind in ("all", entry.kind)]
    actions: dict[str, Callable[[Cache, list[Entry], Reporter], int]] = {
        "list": _list,
        "verify": _verify,
        "clear": _clear,
    }
    return actions[experiment.cache.action](cache, entries, reporter)


def _list(cache: Cache, entries: list[Entry], reporter: Reporter) -> int:
    """Entries of equal description on one line, the most recently used first."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in reversed(entries):
        groups[entry.kind, describe(entry)].append(entry)
    rows = [
        [
            kind,
            what,
            f"{len(group):,}",
            in_words(_bytes(group)),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(group[0].used)),
            str(group[0].path.relative_to(cache.root)),
        ]
        for (kind, what), group in groups.items()
    ]
    if rows:
        reporter.table(f"cache in {cache.root}", ["kind", "what", "entries", "size", "last used", "where"], rows)
    total, cap = in_words(_bytes(entries)), in_words(cache.max_bytes)
    reporter.say(f"{len(entries):,} entries, {total} of {cap} in {cache.root}")
    return EXIT_OK


def _verify(cache: Cache, entries: list[Entry], reporter: Reporter) -> int:
    """Read every byte; what is damaged is removed, to be made again, and the exit code says so."""
    damaged = 0
    with reporter.count("reading", max(len(entries), 1), "entries") as progress:
        for entry in entries:
            try:
                problem = damage(entry.path)
            except (OSError, ValueError):
                problem = None if not entry.path.exists() else "cannot be read"
            if problem is not None:
                damaged += 1
                refused = _refused(entry)
                done = f"it cannot be removed ({refused})" if refused else "removed, it is made again when it is needed"
                reporter.warn(f"{entry.path}: {problem}; {done}")
            progress.step(1)
    reporter.say(f"{len(entries):,} entries, {in_words(_bytes(entries))} read: {damaged or 'none'} damaged")
    return EXIT_FAILED if damaged else EXIT_OK


def _clear(cache: Cache, entries: list[Entry], reporter: Reporter) -> int:
    """Remove the entries, and what killed processes left behind."""
    left = []
    for entry in entries:
        refused = _refused(entry)
        if refused is not None:
            reporter.warn(f"{entry.path}: cannot be removed ({refused})")
            left.append(entry)
    cache.evict(begun=True)
    gone = [entry for entry in entries if entry not in left]
    reporter.say(f"{len(gone):,} entries removed, {in_words(_bytes(gone))} free again")
    return EXIT_FAILED if left else EXIT_OK


def _refused(entry: Entry) -> str | None:
    """Remove an entry; why not, where it is another user's."""
    try:
        remove(entry.path)
    except OSError as error:
        return error.strerror or str(error)
    return None


def describe(entry: Entry) -> str:
    """What an entry is, in a few words: of pixels, whose and in which form; else its key."""
    form = entry.key.get("form")
    if isinstance(form, dict):
        where = _about(entry.path).get("from", "")
        size = {"evaluation": form.get("crop"), "training": form.get("short_side")}.get(str(form.get("form")))
        pixels = "" if size is None else f", {size:g} px {form.get('interpolation')}"
        return f"{where}: {form.get('form')}{pixels}"
    text = ", ".join(f"{key}={value}" for key, value in entry.key.items() if not isinstance(value, dict | list))
    return text if len(text) <= _LONGEST_DESCRIPTION else text[: _LONGEST_DESCRIPTION - 3] + "..."


def _about(path: Path) -> dict[str, Any]:
    from transfer_cli.data.store import packs

    try:
        about = parsed_json((path / packs.ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _bytes(entries: list[Entry]) -> int:
    return sum(entry.bytes for entry in entries)
