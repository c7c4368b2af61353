"""mode=fetch: weights and data sets for machines with and without a network, and the archive between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_OK, counted
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.runs.fetching import archive, sets, weights
from transfer_cli.runs.fetching.fetched import Fetched


def run(experiment: Experiment, overrides: Overrides, source: ConfigSource) -> int:
    """Bring everything that is named into the caches, and pack it where that is asked for; or unpack an archive."""
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    folder = sets.folder_of(e)
    if e.fetch.unpack is not None:
        _show(archive.unpacked(Path(e.fetch.unpack), folder, reporter), reporter)
        return EXIT_OK
    models, names = weights.wanted(e, source), sets.wanted(e)
    to_pack = e.fetch.pack is not None
    items = [weights.have(one, reporter, to_pack=to_pack) for one in models]
    items += [sets.have(name, folder, reporter, to_pack=to_pack) for name in names]
    if e.fetch.pack is not None:
        archive.write(Path(e.fetch.pack), items, reporter)
    _show(items, reporter)
    if e.fetch.pack is not None:
        reporter.result(Path(e.fetch.pack))
    return EXIT_OK


def _show(items: Sequence[Fetched], reporter: Reporter) -> None:
    """What is there now, and what of it was there before."""
    rows = [
        [item.what, item.label, item.state, in_words(item.bytes), str(item.path) if item.path else "nowhere"]
        for item in items
    ]
    if not rows:
        return
    reporter.table("on this machine now", ["what", "which", "state", "size", "where"], rows)
    there = sum(not item.state.startswith(("fetched", "unpacked")) for item in items)
    total = in_words(sum(item.bytes for item in items))
    before = {0: "nothing", len(items): "all"}.get(there, f"{there:,}")
    reporter.say(f"{counted(len(items), 'item')}, {total}; {before} of it was there before")
