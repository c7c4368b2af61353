"""mode=audit: which labels of a data set are likely wrong, and which images are almost the same in two splits."""

from __future__ import annotations

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, counted
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.audit.findings import Findings, look
from transfer_cli.runs.audit.keeping import by_class, keep, label_rows

_SHOWN = 10
_OF_TRAINING = ("strategy", "optimizer", "scheduler", "augment", "trainer.epochs", "trainer.steps", "logger")


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Look at every image once, and leave lists and a page under outputs/audits."""
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    path = rundir.fresh(e, "audits")
    for word in overrides.of(*_OF_TRAINING):
        reporter.warn(f"{word}: has no effect; heads that are solved for judge labels, on features of a frozen network")
    with Stop() as stop:
        found = look(e, reporter, stop)
    about = {
        "dataset": found.images.name,
        "images": len(found.members),
        "labelled": len(found.labelled),
        "likely_wrong": found.likely,
        "pairs": len(found.pairs),
        "pairs_across_splits": found.across_splits,
        "accuracy": None if found.held is None else found.held.accuracy,
        "penalty": None if found.held is None else found.held.penalty,
        "model": e.model.name,
        "folds": e.audit.folds,
        "similarity": e.audit.similarity,
        "seed": e.seed,
    }
    with rundir.claim_fresh(path, named=e.name is not None) as directory:
        keep(directory, found, about, e.audit.show)
    _say(found, reporter)
    reporter.result(directory)
    return EXIT_OK


def _say(found: Findings, reporter: Reporter) -> None:
    if found.held is not None:
        columns = ["image", "split", "labelled", "looks like", "likely wrong"]
        rows = [[str(cell) for cell in row[:5]] for row in label_rows(found)[:_SHOWN]]
        reporter.table(f"the most suspicious of {counted(len(found.labelled), 'label')}", columns, rows)
        most = [row for row in by_class(found) if row.likely][:3]
        named = ", ".join(f"{row.name} {row.likely} of {row.images}" for row in most)
        reporter.say(f"{counted(found.likely, 'label')} likely wrong" + (f"; most in {named}" if named else ""))
    reporter.say(
        f"{counted(len(found.pairs), 'pair')} of images almost the same in two splits or classes, "
        f"{found.across_splits:,} across splits"
    )
