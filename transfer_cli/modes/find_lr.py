"""mode=find_lr: a range test of the learning rate, its picture and a suggestion; nothing is trained."""

from __future__ import annotations

from transfer_cli import rundir
from transfer_cli.command.overrides import Overrides
from transfer_cli.config.schema import Experiment
from transfer_cli.csv_files import write_csv
from transfer_cli.engine.measured.range_test import losses_at
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import EXIT_OK, RunError, UserError
from transfer_cli.methods.range_test import Suggestion, rates, smoothed, suggest
from transfer_cli.records import plots
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.train import prepare_of

FOLDER = "find_lr"


def run(experiment: Experiment, overrides: Overrides) -> int:
    """Test rates from `find_lr.lowest` to `find_lr.highest`; writes `rates.csv` and `rates.png`."""
    e, reporter = experiment, Reporter(quiet=experiment.quiet)
    path = rundir.fresh(e, FOLDER, rundir.automatic_name(e))
    stop = Stop()
    job = prepare_of(e)(e, reporter, stop, None)
    if not isinstance(job, LoopJob):
        raise UserError(f"mode=find_lr: strategy={e.strategy.name} tries rates itself; see strategy.grid.lr.")
    tested = rates(e.find_lr.lowest, e.find_lr.highest, e.find_lr.steps)
    losses = _losses(job, tested, reporter, stop)
    tested = tested[: len(losses)]
    average = smoothed(losses)
    suggestion = suggest(tested, average)
    with rundir.claim_fresh(path, named=e.name is not None) as directory:
        columns = ["learning_rate", "loss", "smoothed_loss"]
        write_csv(directory / "rates.csv", columns, list(zip(tested, losses, average, strict=True)))
        marked = [] if suggestion is None else [suggestion.steepest, suggestion.tenth_of_lowest]
        plots.rates(tested, losses, average, marked, directory / "rates.png")
    _show(suggestion, tested, job.materials.experiment, reporter)
    reporter.result(directory)
    return EXIT_OK


def _losses(job: LoopJob, tested: list[float], reporter: Reporter, stop: Stop) -> list[float]:
    e = job.materials.experiment
    with stop:
        strategy = job.begin(None, reporter, stop).strategy
        trainer = job.build_trainer(strategy, lambda step: tested[min(step, len(tested) - 1)], None, reporter)
        batches = job.inputs.shuffled(e.trainer.step_images)
        with reporter.count("testing rates", len(tested), "steps") as bar:
            losses = losses_at(trainer, batches, job.materials.task, tested, stop, lambda: bar.step(1))
        stop.check("while rates were tested; nothing was written")
    if not losses:
        raise RunError(f"the loss is not finite at the first rate, {tested[0]:g}: lower find_lr.lowest.")
    return losses


def _show(suggestion: Suggestion | None, tested: list[float], e: Experiment, reporter: Reporter) -> None:
    end = f"{tested[-1]:.3g}"
    if len(tested) < e.find_lr.steps:
        reporter.say(f"the loss diverges at {end}")
    if suggestion is None:
        reporter.say(f"the loss never falls up to {end}: no suggestion; see find_lr.lowest, find_lr.highest")
        return
    rows = [
        ["where the loss falls fastest", f"optimizer.lr={suggestion.steepest:.2g}"],
        ["a tenth of where it is lowest", f"optimizer.lr={suggestion.tenth_of_lowest:.2g}"],
    ]
    reporter.table(f"rates for {e.optimizer.name} at batches of {e.trainer.batch_size}", ["suggestion", "rate"], rows)
