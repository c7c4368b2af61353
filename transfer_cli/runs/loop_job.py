"""A training in the loop, whatever the strategy: from its parts to the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfer_cli.config.auto import chosen
from transfer_cli.config.continuation import state_hash
from transfer_cli.config.durations import Interval, interval_of
from transfer_cli.engine import state_files
from transfer_cli.engine.best import standard_error
from transfer_cli.engine.cadence import Cadence
from transfer_cli.engine.checkpoints import Checkpoints
from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import BATCH_SIZE, Turns, predict
from transfer_cli.engine.fit import Fit
from transfer_cli.engine.loop import Trainer
from transfer_cli.engine.optimizers import build_optimizer
from transfer_cli.engine.progress import Progress
from transfer_cli.engine.ranks.agreement import Following, agreed
from transfer_cli.engine.ranks.parallel import Parallel
from transfer_cli.engine.ranks.sharding import Sharded
from transfer_cli.engine.ranks.sharing_out import shared_out
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.state_files import State
from transfer_cli.engine.steps.check import DivergenceError
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.strategy import ParameterGroup, Strategy
from transfer_cli.engine.totals import Totals
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.scores import Scores
from transfer_cli.models.heads import HeadSpec
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import load_into
from transfer_cli.models.weights import LoadReport
from transfer_cli.records.events import Recorders, RunStart
from transfer_cli.records.parameters import write_parameters
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import pace
from transfer_cli.runs.evaluation import Evaluation, evaluate_epoch
from transfer_cli.runs.finish import STOPPED, Outcome, Outputs
from transfer_cli.runs.guessing import watch_of
from transfer_cli.runs.inputs import Inputs
from transfer_cli.runs.materials import Materials
from transfer_cli.runs.pretrained import parameter_counts, trainable_parameters
from transfer_cli.runs.profiling import watch
from transfer_cli.runs.saved_model import save_trained
from transfer_cli.runs.start import Start
from transfer_cli.runs.states import divergence
from transfer_cli.runs.states.continuation import micro_batch_of, rate_of, replace_lost_best, say_new_rate
from transfer_cli.runs.states.parts import AVERAGE, NETWORK, load_best, owners
from transfer_cli.strategies.groups import rows

_FROZEN_WON = (
    "no epoch was better on validation, by more than chance explains, than the frozen network with the head that was "
    "fitted first: that model is kept. See trainer.epochs, optimizer.lr, strategy.keep_probe."
)


@dataclass(frozen=True)
class LoopJob:
    """Everything that a training in the loop is made of."""

    materials: Materials
    compute: Compute
    network: Network
    loaded: LoadReport
    groups: list[ParameterGroup]
    inputs: Inputs
    head: HeadSpec
    """How the head is built again where the trained model is used."""
    start: Callable[[LoopJob, Path | None, Reporter, Stop], Start]
    """Does what comes before the first step; its log goes to the run directory where there is one."""
    state: State | None
    """Where an earlier process stopped; None: from the beginning."""
    rho: float = 0.0
    """Of sharpness-aware steps (SAM); 0: plain ones."""
    average_decay: float = 0.0
    """Of an average of the weights (EMA); 0: none is kept."""
    learnt: dict[str, nn.Module] = field(default_factory=dict)
    """What trains besides the network and is never exported, by the name of its part in a state."""
    out_of_time: Callable[[], bool] | None = None
    """Whether to end before the last epoch, with the best so far; None: never."""
    more: Callable[[World], dict[str, Any]] = lambda world: {}
    """Entries of the summary that only this strategy has; all ranks ask."""
    mixing: Callable[[LoopJob, Scores, Reporter, Stop], dict[str, Any]] | None = None
    """Mixes the best epoch's weights, of these scores, with earlier ones; what the summary says of it, and `val`."""
    goes_on: str = "resuming"
    """What is said of it where it begins with a state."""
    world: World = ALONE
    """The ranks that train together."""
    sharded: Sharded | None = None
    """What runs the strategy where its parameters are shared out over the ranks."""

    @property
    def precision(self) -> str:
        """The one it trains at."""
        return self.compute.precision

    def run(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop) -> Outcome:
        """Train to the last epoch and load the best weights."""
        # Adapters are parameters until they are merged into the best weights.
        counts = parameter_counts(self.network)[0], trainable_parameters(self.network, self.groups)
        divergence.forget(directory)
        fit = self.started(directory, recorders, reporter, stop)
        if self.materials.experiment.trainer.profile and self.world.is_first:
            watch(fit, directory, self.compute, reporter)
        try:
            with pace.remembered(self.materials, fit, self.world):
                fit.run()
        except DivergenceError as error:
            raise divergence.record(directory, error, self.materials, self.world) from error
        progress = fit.progress
        assert progress.best.kept is not None
        if progress.best.epoch == 0:
            reporter.warn(_FROZEN_WON)
        part = AVERAGE if self.average_decay else NETWORK
        load_best(self.network, fit.checkpoints.folder / progress.best.kept, part)
        # It has waited on the host where its parameters were shared out.
        self.network.to(self.compute.device)
        ranks = {"ranks": self.world.size} if self.world.size > 1 else {}
        more = {"epochs": progress.cursor.epoch, **ranks, **self.more(self.world)}
        val, epoch = progress.best.val, progress.best.epoch
        if self.mixing is not None and epoch > 0 and val is not None:
            more["wise_ft"] = self.mixing(self, val, reporter, stop)
            val, epoch = more["wise_ft"].pop("val"), epoch if more["wise_ft"]["share"] else 0
        return Outcome(
            best_epoch=epoch,
            val=val,
            step=progress.cursor.step,
            precision=self.precision,
            save_model=self._save,
            test_outputs=lambda: self.outputs("test", stop),
            parameters=counts,
            weights=(self.loaded.label, self.loaded.sha256),
            train_seconds=progress.train_seconds,
            images=progress.images,
            more=more,
        )

    def run_part(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop, until: int) -> float:
        """Train `until` an epoch that is evaluated, under the whole run's schedule; the best rank on validation."""
        fit = self.started(directory, recorders, reporter, stop)
        with recorders.part():
            fit.run(until)
        return max(fit.progress.history[: -(-until // fit.evaluate_every)], default=-math.inf)

    def seconds_per_epoch(self, directory: Path, reporter: Reporter, stop: Stop) -> float:
        """Of training and evaluating, from a first epoch; from a part of it where time is up before its end."""
        fit = self.started(directory, Recorders([]), reporter, stop)
        started, cursor = time.perf_counter(), fit.progress.cursor
        fit.run(until=1)
        seconds = time.perf_counter() - started
        return seconds / min(max(cursor.step, 1) / fit.batches.steps_per_epoch, 1.0)

    def started(self, directory: Path, recorders: Recorders, reporter: Reporter, stop: Stop) -> Fit:
        """Everything before the first step that is left to train."""
        e = self.materials.experiment
        if self.world.is_first:
            write_parameters(rows(self.network, self.groups, e.optimizer), directory)
        # Before a state comes back: a head is fitted, and regularisers take their start, on the pretrained weights.
        start = self._begun(directory, reporter, stop)
        job, strategy = self._shared_out(start.strategy)
        average = Average(job.network.module, self.average_decay) if self.average_decay else None
        fit = job._fit(strategy, average, directory, recorders, reporter, stop)
        if self.state is not None:
            fit.checkpoints.restore(self.state)
        fit.trainer.micro_batch = micro_batch_of(fit, reporter)
        cursor = fit.progress.cursor
        if self.state is not None:
            replace_lost_best(fit, self.state, self.materials.task, reporter)
            reporter.say(f"{self.goes_on} at epoch {cursor.epoch + 1}, step {cursor.step}")
            say_new_rate(fit.progress, e, reporter)
        epochs, steps = fit.epochs, fit.batches.steps_per_epoch
        speed = pace.known(self.materials, fit, self.world)
        recorders.run_starts(RunStart(e, directory, epochs, steps, cursor.epoch + 1, cursor.step_in_epoch, speed))
        if start.val is not None:
            metric, images = self.materials.task.metric, self.materials.images.labelled("val")
            chance = standard_error(metric, float(start.val[metric]), images)
            fit.offer_start(start.val, chance if self.mixing is None else None)
        if start.first_head is not None and cursor.step == 0:
            job._put_first_head(start.first_head, average)
        return fit

    def _shared_out(self, strategy: Strategy) -> tuple[LoopJob, Strategy]:
        """The job and its strategy as they train: with parameters that are shared out, where that is asked for."""
        e = self.materials.experiment
        if self.world.size == 1 or e.trainer.sharding == "none":
            return self, strategy
        batches = self.inputs.shuffled(e.trainer.step_images, self.world.shard).epoch(0)
        batch, last = self.inputs.to_device(next(batches)), self.materials.plan.last_epoch
        strategy, changes = shared_out(strategy, self.groups, self.learnt, batch, last, self.world)
        return replace(self, network=strategy.network, **changes), strategy

    def _begun(self, directory: Path, reporter: Reporter, stop: Stop) -> Start:
        """The beginning of all ranks, each by itself but for frozen passes; of what follows the first one's counts."""
        world, first = self.world, self.world.is_first
        start = self.begin(directory if first else None, reporter, stop if first else Following(stop, world))
        world.join()
        world.copy_first(self.network)
        return replace(start, val=world.of_first(lambda: start.val))

    def _put_first_head(self, head: dict[str, Tensor], average: Average | None) -> None:
        """The head that training starts from in place of the fitted one, which is in a state by now."""
        load_into(self.network.module, head, strict=False)
        if average is not None:
            average.load({name: tensor.detach() for name, tensor in self.network.module.state_dict().items()})

    def begin(self, directory: Path | None, reporter: Reporter, stop: Stop) -> Start:
        """Everything that comes before the first step."""
        self.inputs.compute()
        return self.start(self, directory, reporter, stop)

    def build_trainer(
        self, strategy: Strategy, rate: Callable[[int], float], average: Average | None, reporter: Reporter
    ) -> Trainer:
        """What the loop needs, over a fresh optimizer; `rate` is that of a step."""
        e = self.materials.experiment
        run = torch.compile(strategy) if e.trainer.compile else strategy
        return Trainer(
            strategy=strategy,
            forward=Parallel(self.world, strategy, run, e.seed, e.trainer.sync_batch_norm, self.sharded),
            optimizer=build_optimizer(self.groups, e.optimizer, self.compute.device, sharded=self.sharded is not None),
            scaler=self.compute.grad_scaler(sharded=self.sharded is not None),
            compute=self.compute,
            to_device=self.inputs.to_device,
            rate=rate,
            micro_batch=chosen(e.trainer.batch_size),
            clip_grad=e.trainer.clip_grad,
            warn=reporter.warn,
            rho=self.rho,
            average=average,
        )

    def _fit(
        self,
        strategy: Strategy,
        average: Average | None,
        directory: Path,
        recorders: Recorders,
        reporter: Reporter,
        stop: Stop,
    ) -> Fit:
        m, e = self.materials, self.materials.experiment
        batches = self.inputs.shuffled(e.trainer.step_images, self.world.shard)
        total_steps = m.plan.epochs * batches.steps_per_epoch
        progress = Progress(m.task, Totals.zeros(m.task, self.compute.device), planned_steps=total_steps)

        def rate(step: int) -> float:
            return rate_of(e, step, total_steps, progress.history)

        trainer = self.build_trainer(strategy, rate, average, reporter)
        newest = e.trainer.keep if isinstance(e.trainer.keep, int) else state_files.NEWEST
        owned = owners(self.network, trainer, progress, self.compute, recorders, self.learnt)
        stop = agreed(stop, self.world)
        folder, shares = directory / state_files.FOLDER, self.sharded is not None
        on_gpu = self.compute.device.type == "cuda"
        states = Checkpoints(folder, owned, state_hash(e), newest, self.world, shares, beside=on_gpu)
        whole = nullcontext if self.sharded is None else self.sharded.whole
        evaluation = Evaluation(self.network, self.inputs, m, self.compute, average, stop, self.world, whole)
        return Fit(
            trainer=trainer,
            batches=batches,
            evaluate=lambda: evaluate_epoch(evaluation),
            epochs=m.plan.epochs,
            patience=chosen(e.trainer.patience),
            progress=progress,
            checkpoints=states,
            recorders=recorders,
            reporter=reporter,
            stop=stop,
            evaluate_every=chosen(e.trainer.evaluate_every),
            cadence=Cadence(interval_of(e.trainer.checkpoint_every) or Interval(epochs=1)),
            watch=watch_of(self.materials),
            out_of_time=self.out_of_time,
        )

    def _save(self, directory: Path) -> None:
        save_trained(directory, self.materials, self.network.module.state_dict(), self.head, self.precision)

    def outputs(self, split: str, stop: Stop) -> Outputs | None:
        """Of the network as it is, on the first rank; None where there are no images. Raises Stopped."""
        images, size = len(self.materials.images.splits[split]), BATCH_SIZE[self.compute.device.type]
        if images == 0:
            return None
        batches, stop = self.inputs.ordered(split, size, self.world.shard), agreed(stop, self.world)
        turns, place = Turns.of(self.world, images, size), self.inputs.to_device
        if (found := predict(self.network, batches, self.compute, place, stop, turns)) is None:
            stop.check(STOPPED)
        return found
