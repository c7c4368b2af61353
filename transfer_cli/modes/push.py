"""mode=push: a run's model and its card to a model hub, once everything is checked, and only where it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from transfer_cli import __version__
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import EXIT_OK, counted
from transfer_cli.records.terminal import Reporter
from transfer_cli.records.text import in_words
from transfer_cli.rundir import name_of
from transfer_cli.runs.pushing import hub
from transfer_cli.runs.pushing.package import Package, pack
from transfer_cli.runs.saved_model import warn_of_unread


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Say what is sent, and send it; with `push.dry_run` the first alone, without a network."""
    e, push = experiment, experiment.push
    directory, reporter, to = Path(str(e.run)), Reporter(quiet=e.quiet), str(push.to)
    warn_of_unread(overrides, reporter, "dataset", "seed", "split", "trainer")
    package = pack(directory, with_paths=push.paths)
    if push.dry_run:
        _show(package, to, reporter, with_paths=push.paths)
        reporter.say("push.dry_run=true: nothing was sent")
        reporter.result(directory)
        return EXIT_OK
    _no_bars(quiet=e.quiet)
    target = hub.find(to, private=push.private, card=package.card)
    _show(package, to, reporter, with_paths=push.paths)
    if target.exists and target.private and not push.private:
        reporter.warn(f"push.private=false: {to} is there and stays private; its settings on the hub change that")
    address = hub.send(target, package, f"{name_of(directory)} by transfer-run {__version__}")
    reporter.say(f"sent      {address}")
    reporter.result(directory)
    return EXIT_OK


def _show(package: Package, to: str, reporter: Reporter, *, with_paths: bool) -> None:
    """Every file with its size, and the local paths that are in them or were."""
    rows = [[one.name, in_words(one.size_bytes)] for one in package.files]
    total = in_words(sum(one.size_bytes for one in package.files))
    reporter.table(f"for {to}: {counted(len(rows), 'file')}, {total}", ["file", "size"], rows)
    if package.paths and with_paths:
        reporter.warn(f"push.paths=true: settings and card name {', '.join(package.paths)}")
    elif package.paths:
        reporter.say(f"paths     of {', '.join(package.paths)} at most the last part is sent (push.paths=true: all)")


def _no_bars(*, quiet: bool) -> None:
    """The client's progress bars are for a terminal alone."""
    if quiet or not sys.stderr.isatty():
        from huggingface_hub import utils

        utils.disable_progress_bars()  # type: ignore[attr-defined]
