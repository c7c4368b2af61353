"""Strategies that train the network itself, epoch by epoch, in the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from transfer_cli import rundir
from transfer_cli.config.parse import config_hash
from transfer_cli.engine import states
from transfer_cli.engine.device import Compute
from transfer_cli.engine.fit import Fit, Scores
from transfer_cli.engine.loop import NO_SINGLE, Trainer, predict_logits
from transfer_cli.engine.optimizers import build_optimizer
from transfer_cli.engine.precision import choose_precision, time_training, training_work
from transfer_cli.engine.schedule import rate_multiplier
from transfer_cli.engine.strategy import Strategy
from transfer_cli.errors import RunError, UserError
from transfer_cli.methods.adapters import merge
from transfer_cli.methods.averaging import Average
from transfer_cli.models.heads import HeadSpec
from transfer_cli.models.network import Network
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.metrics import MetricsLog
from transfer_cli.records.parameters import in_a_line, write_parameters
from transfer_cli.records.scores import scores
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import materials as building
from transfer_cli.runs.finish import Labelled, Outcome
from transfer_cli.runs.inputs import Inputs, forward_from
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.saved_model import save_trained
from transfer_cli.strategies import groups as rates

StopCode = Callable[[], int | None]


@dataclass(frozen=True)
class Craft:
    """How steps are made, beside the loss: `rho` of SAM and the decay of an average of the weights, 0 for neither."""

    rho: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class Setup:
    """A network and a strategy, ready for the loop, and where their batches come from."""

    materials: Materials
    compute: Compute
    network: Network
    weights: LoadReport
    strategy: Strategy
    inputs: Inputs
    head: HeadSpec
    """How the head is built again where the trained model is used."""
    craft: Craft = Craft()
    beside: dict[str, nn.Module] = field(default_factory=dict)
    """What trains beside the network and is never exported, by the name of its file in a state."""
    begin: Begin | None = None
    """What comes before the first step."""


Begin = Callable[[Setup, Path, Reporter, StopCode, bool], Scores | None]
"""From the run directory, and whether nothing has trained yet, to validation scores to be recorded as epoch 0."""


@dataclass(frozen=True)
class Looped:
    """A training in the loop, ready to start, or to go on from `state`."""

    setup: Setup
    state: states.State | None

    @property
    def materials(self) -> Materials:
        """What it starts from."""
        return self.setup.materials

    @property
    def precision(self) -> str:
        """At which it trains."""
        return self.setup.compute.precision

    def run(self, directory: Path, reporter: Reporter, stop_code: StopCode) -> Outcome:
        """Train to the last epoch and load the best weights."""
        write_parameters(rates.rows(self.setup.strategy, self.materials.experiment.optimizer), directory)
        self.setup.inputs.compute()
        begin, fresh = self.setup.begin, self.state is None
        start = begin(self.setup, directory, reporter, stop_code, fresh) if begin else None
        fit = _fit(self.setup, directory, reporter, stop_code, self.state)
        if start is not None:
            fit.log.write(step=0, epoch=0, split="val", **start)
        parameters = building.parameter_counts(self.setup.network)
        best = fit.run()
        _load_best(self.setup, directory / rundir.CHECKPOINTS / best.state)
        return Outcome(
            best_epoch=best.epoch,
            val=best.val,
            step=fit.progress.cursor.step,
            log=fit.log,
            precision=self.precision,
            save_model=lambda run: _save(run, self.setup),
            test_logits=lambda: _split_logits(self.setup, "test", lambda: stop_code() is not None),
            parameters=parameters,
            weights=(self.setup.weights.label, self.setup.weights.sha256),
            train_seconds=fit.progress.train_seconds,
            images=fit.progress.images,
            more={"epochs": fit.progress.cursor.epoch},
        )


def check_validation(materials: Materials) -> None:
    """Raises UserError where something looks at validation and there is none."""
    e = materials.experiment
    if len(materials.images.splits["val"]):
        return
    for key, wants in (("scheduler=plateau", e.scheduler.name == "plateau"), ("trainer.patience", e.trainer.patience)):
        if wants:
            raise UserError(f"{key} needs validation images, and there are none: see dataset.val_fraction.")


def choose_compute(
    materials: Materials,
    strategy: Strategy,
    report: LoadReport,
    state: states.State | None,
    reporter: Reporter,
    measure: Callable[[], dict[str, float]] | None = None,
) -> Compute:
    """Device and precision, measured on what the last epoch trains; tells of model, rates and device.

    `measure` is for a strategy that does not train on batches of images alone.
    """
    m, e, network = materials, materials.experiment, strategy.network
    check_validation(m)
    size, last = m.preprocessing.crop_pixels, max(m.epochs - 1, 0)
    strategy.train_mode(last)
    if e.trainer.batch_size == 1:
        _try_single(network, size)
    total, trainable = building.parameter_counts(network)
    reporter.say(f"model     {e.model.name}: {report.label}, {size} px, {trainable:,} of {total:,} parameters train")
    reporter.say(f"rates     {in_a_line(rates.rows(strategy, e.optimizer))}")
    wanted = state.values["precision"] if state else e.trainer.precision
    work = training_work(strategy, size)
    measure = measure or partial(time_training, strategy, size, last)
    chosen, reason = choose_precision(wanted, m.device, m.precision_memory, work, measure)
    building.say_device(m, reason, reporter)
    return Compute(m.device, chosen)


def _try_single(network: Network, size: int) -> None:
    """Raises UserError for a network that cannot train on one image at a time, in the modes it is in."""
    generator = torch.get_rng_state()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    except ValueError as error:
        raise UserError(NO_SINGLE) from error
    for name, buffer in network.named_buffers():
        buffer.copy_(before[name])
    torch.set_rng_state(generator)


def _save(directory: Path, setup: Setup) -> None:
    m, network = setup.materials, setup.network
    save_trained(directory, m, network.module.state_dict(), setup.head, setup.compute.precision)


def _load_best(setup: Setup, state: Path) -> None:
    """The weights of a state, adapters merged into them: the plain architecture again."""
    problem = states.damage(state)
    if problem is not None:
        raise RunError(f"the best weights cannot be read back: {state}: {problem}.")
    setup.network.module.load_state_dict(states.load_weights(state))
    merge(setup.network.module)


def build_trainer(setup: Setup, rate: Callable[[int], float], average: Average | None, reporter: Reporter) -> Trainer:
    """What the loop needs, over a fresh optimizer; `rate` is that of a step."""
    e, step = setup.materials.experiment, setup.strategy.step
    return Trainer(
        strategy=setup.strategy,
        step=torch.compile(step) if e.trainer.compile else step,
        optimizer=build_optimizer(setup.strategy.parameter_groups(), e.optimizer, setup.compute.device),
        scaler=setup.compute.grad_scaler(),
        compute=setup.compute,
        place=setup.inputs.place,
        rate=rate,
        micro_batch=e.trainer.batch_size,
        clip_grad=e.trainer.clip_grad,
        warn=reporter.warn,
        rho=setup.craft.rho,
        average=average,
    )


def _fit(setup: Setup, directory: Path, reporter: Reporter, stop_code: StopCode, state: states.State | None) -> Fit:
    e, epochs = setup.materials.experiment, setup.materials.epochs
    batches = setup.inputs.shuffled(e.trainer.batch_size * e.trainer.accumulate)
    total_steps = epochs * batches.steps_per_epoch
    history: list[float] = []

    def rate(step: int) -> float:
        return e.optimizer.lr * rate_multiplier(e.scheduler, step, total_steps, history)

    average = Average(setup.network.module, setup.craft.ema) if setup.craft.ema else None
    metrics = directory / "metrics.jsonl"
    fit = Fit(
        trainer=build_trainer(setup, rate, average, reporter),
        batches=batches,
        validate=lambda: _validate(setup, average, lambda: stop_code() is not None),
        epochs=epochs,
        patience=e.trainer.patience,
        history=history,
        checkpoints=directory / rundir.CHECKPOINTS,
        log=MetricsLog.resume(metrics, state.values["metrics_offset"] if state else 0),
        reporter=reporter,
        stop_code=stop_code,
        beside=setup.beside,
        identity={"config_hash": config_hash(e), "precision": setup.compute.precision},
    )
    if state is not None:
        fit.restore(state)
        reporter.say(f"resuming at epoch {fit.progress.cursor.epoch + 1}, step {fit.progress.cursor.step}")
    return fit


def _validate(setup: Setup, average: Average | None, stop: Callable[[], bool]) -> dict[str, Scores]:
    """Scores on validation; of the averaged weights where these are kept, and `val_raw` of the weights themselves."""
    raw = validate(setup, stop)
    if average is None or raw is None:
        return {} if raw is None else {"val": raw}
    with average.swapped(setup.network.module):
        averaged = validate(setup, stop)
    return {} if averaged is None else {"val": averaged, "val_raw": raw}


def validate(setup: Setup, stop: Callable[[], bool]) -> Scores | None:
    """Scores on validation; None without images, or if `stop` asked for an end."""
    result = _split_logits(setup, "val", stop)
    return scores(*result) if result is not None else None


def _split_logits(setup: Setup, split: str, stop: Callable[[], bool]) -> Labelled | None:
    """Logits [N, K] and labels [N] of a split in its order; None if it has no images or `stop` asked for an end."""
    m = setup.materials
    if len(m.images.splits[split]) == 0:
        return None
    setup.network.eval()
    batches = setup.inputs.ordered(split, m.experiment.trainer.batch_size)
    forward = forward_from(setup.network, setup.inputs.start)
    return predict_logits(forward, batches, setup.compute, setup.inputs.place, stop=stop)
