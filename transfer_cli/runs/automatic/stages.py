"""The stages of mode=auto: probes of backbones, the time an epoch takes, a search, the final training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_cli.config.auto import AUTO, chosen
from transfer_cli.config.extract import linear_probe
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import RunError, Stopped, UserError
from transfer_cli.models.at_hand import models_at_hand
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import completed_summary
from transfer_cli.runs.automatic.journal import Deadline, Journal
from transfer_cli.runs.automatic.plan import Plan, choose_plan
from transfer_cli.runs.choices.candidates import Candidate, Comparison, candidates
from transfer_cli.runs.finetune import job as finetune
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.train import train
from transfer_cli.runs.views import NO_AUGMENT

PROBE_SHARE = 0.3
"""Of the budget: no further backbone is probed after it."""
KEPT, WITHIN = 2, 0.03
"""Backbones kept, and how far a probe may be behind the best one."""
FINISH_SECONDS, FINISH_EPOCHS = 6.0, 0.5
"""What scoring, saving and drawing take after the last step: seconds, and a share of an epoch."""
MARGIN = 0.9
"""Of the time that is left may be planned with: machines are shared."""
SLACK = 1.15
"""Times what the winner is reckoned to need is kept for it while candidates train."""


@dataclass(frozen=True)
class Work:
    """What every stage works with."""

    e: Experiment
    directory: Path
    journal: Journal
    reporter: Reporter

    def of_model(self, model: str) -> Experiment:
        """The experiment with another backbone."""
        trainer = replace(self.e.trainer, budget=None)
        return replace(self.e, model=replace(self.e.model, name=model), trainer=trainer, mode="train", resume="auto")

    def probe(self, model: str) -> dict[str, Any]:
        """How a head on the frozen features of a backbone does on validation; why not, where it cannot be told."""
        strategy = linear_probe("lbfgs")
        e = replace(self.of_model(model), strategy=strategy, augment=NO_AUGMENT)
        try:
            summary = self._within_time(
                lambda stop: train(e, self.directory / "probes" / model, quiet(), may_exist=True, stop=stop)
            )
        except (UserError, RunError) as error:
            self.reporter.warn(f"{model}: {error}")
            return {"error": str(error)}
        if summary is None:
            return {"error": "time was up before its features were computed"}
        if summary.get("val") is None:
            raise UserError("mode=auto chooses on validation, and there are no such images: see dataset.val_fraction.")
        accuracy = summary["val"][self.e.trainer.metric]
        self.reporter.say(f"probe     {model}: {self.e.trainer.metric} {accuracy:.4f} on validation")
        return {"val": accuracy, "parameters": summary["parameters"]["total"]}

    def pilot(self, model: str) -> dict[str, Any]:
        """Seconds of an epoch, from a first one that is thrown away, and how many the rule would train."""
        folder = self.directory / "pilot"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        e = self._finetuning(model)
        e = replace(e, trainer=replace(e.trainer, evaluate_every=1))

        def measure(stop: Stop) -> dict[str, Any]:
            job = finetune.prepare(e, quiet(), stop, None)
            late = replace(job, out_of_time=lambda: self.journal.left < 0.5 * self.journal.budget)
            epochs = chosen(job.materials.experiment.trainer.epochs)
            return {"seconds": late.seconds_per_epoch(folder, quiet(), stop), "epochs": epochs}

        try:
            found = self._within_time(measure)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if found is None:
            self.reporter.say(f"pilot     {model}: left out, time is up before it has trained an epoch")
            return {"error": "time was up before it had trained an epoch"}
        self.reporter.say(f"pilot     {model}: {found['seconds']:.1f} s an epoch, {found['epochs']} by the rule")
        return found

    def plan(self, pilots: Sequence[dict[str, Any]]) -> Plan:
        """What fits into the time that is left."""
        seconds = [pilot["seconds"] for pilot in pilots]
        left = MARGIN * self.journal.left - FINISH_SECONDS - FINISH_EPOCHS * max(seconds)
        plan = choose_plan(max(left, 0.0), seconds, pilots[0]["epochs"])
        searched = "no search" if plan.tune == "off" else f"tune={plan.tune}"
        self.reporter.say(
            f"plan      {plan.epochs} epochs, {plan.backbones} backbone{'s' * (plan.backbones > 1)}, {searched}: "
            f"{self.journal.left:.0f} s of {self.journal.budget:.0f} s are left"
        )
        return plan

    def best(self, models: Sequence[str], plan: Plan, finish_seconds: float) -> dict[str, Any]:
        """The search and the training of its winner, in `best`; ends in time whatever the machine does."""
        e = self._finetuning(models[0])
        e = replace(e, tune=plan.tune, trainer=replace(e.trainer, epochs=plan.epochs))
        others = models[1 : plan.backbones]

        began = self.journal.decide("seconds before the search", lambda: round(self.journal.spent, 1))

        def is_short(trained: int, coming: int, needed: int) -> bool:
            pace = (self.journal.spent - began) / trained
            return bool(self.journal.left < finish_seconds + (coming + SLACK * needed) * pace)

        def hurry(trained: int, coming: int, needed: int) -> bool:
            # A decision of the journal: a process that goes on finds epochs trained that this one took its time for.
            name = f"time is short after {trained} epochs of candidates"
            return bool(self.journal.decide(name, lambda: is_short(trained, coming, needed)))

        def compare(asked: Experiment, job: LoopJob) -> Comparison:
            own = candidates(asked, job, whatever_the_size=True) or [Candidate(job.materials.experiment)]
            more = [] if plan.tune != "full" else self._adapted(models[0], job)
            tries = [*own[:2], *more, *(self._other(name, job) for name in others), *own[2:]]
            return Comparison(tries, plan.rungs, hurry=hurry)

        return train(
            e,
            self.directory / "best",
            self.reporter,
            may_exist=True,
            compare=compare,
            out_of_time=lambda: self.journal.left < finish_seconds,
        )

    def probe_as_best(self, model: str) -> dict[str, Any]:
        """The frozen network with the head that was fitted to it, in `best`, where there is no time for more."""
        self.reporter.say(
            f"plan      no finetuning: {self.journal.left:.0f} s of {self.journal.budget:.0f} s are left, and an epoch "
            "does not fit; the head on frozen features is the model"
        )
        best, coming = self.directory / "best", self.directory / ".best"
        if not best.exists():
            shutil.rmtree(coming, ignore_errors=True)
            shutil.copytree(self.directory / "probes" / model, coming)
            coming.rename(best)
        summary = completed_summary(best)
        assert summary is not None
        return summary

    def _other(self, model: str, job: LoopJob) -> Candidate:
        """Another backbone with its own rule's settings, for as many epochs."""
        return self._ruled(self._finetuning(model), job)

    def _adapted(self, model: str, job: LoopJob) -> list[Candidate]:
        """Low-rank updates at their own rule's rate; none where weights are random, or not all of them train."""
        asked = self._finetuning(model)
        config = asked.strategy
        assert isinstance(config, Finetune)
        if config.adapter != "none" or config.unfreeze != "all" or job.loaded.sha256 is None:
            return []
        return [self._ruled(replace(asked, strategy=replace(config, adapter="lora")), job)]

    def _ruled(self, asked: Experiment, job: LoopJob) -> Candidate:
        """What the rules make of an experiment, for as many epochs as those of a job."""
        asked = replace(asked, trainer=replace(asked.trainer, epochs=job.materials.experiment.trainer.epochs))
        return Candidate(finetune.prepare(asked, quiet(), Stop(), None).materials.experiment)

    def _finetuning(self, model: str) -> Experiment:
        e = self.of_model(model)
        if not isinstance(e.strategy, Finetune):
            raise UserError(f"strategy={e.strategy.name}: mode=auto probes and finetunes; leave strategy out.")
        return e

    def _within_time(self, work: Callable[[Stop], dict[str, Any]]) -> dict[str, Any] | None:
        """What `work` finds; None where time is up before. A signal still ends all."""
        stop = Deadline(self.journal, reserve=0.4 * self.journal.budget)
        try:
            with stop:
                return work(stop)
        except Stopped:
            if stop.signalled:
                raise
            return None


def backbones(e: Experiment) -> list[str]:
    """Those to probe: of `rank.models`, else the model that was asked for and those whose weights are at hand."""
    if e.rank.models:
        return list(e.rank.models)
    own = [e.model.name]
    if e.model.weights != AUTO:
        return own
    return [*own, *(name for name in models_at_hand(e.model.source) if name not in own)]


def keep(probes: dict[str, dict[str, Any]], metric: str) -> list[str]:
    """The backbones to go on with, the best probe first. Raises RunError where no probe came about."""
    sign = -1 if metric == "loss" else 1
    heights = {name: sign * probe["val"] for name, probe in probes.items() if "val" in probe}
    known = sorted(heights, key=lambda name: -heights[name])
    if not known:
        reasons = "\n".join(f"{name}: {probe['error']}" for name, probe in probes.items())
        raise RunError(f"no backbone could be probed:\n{reasons}")
    return [name for name in known[:KEPT] if heights[name] >= heights[known[0]] - WITHIN]


def quiet() -> Reporter:
    """For stages whose own lines would drown what is decided."""
    return Reporter(quiet=True)
