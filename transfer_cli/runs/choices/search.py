"""tune=quick|full: candidates for what is still auto are trained for part of the run, and the best of them goes on.

Every candidate trains under the schedule of the whole run, so that what the winner has done so far counts: it goes on
from its state, and ends as a run with its settings would that nobody compared. Candidates are halved as they go
(successive halving: Jamieson 2016, arXiv 1502.07943). Validation alone chooses; where a rule is only doubted (quick),
what it says goes on unless another is better by a standard error: of few images the best of two is mostly chance.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfer_cli.config.auto import AUTO, chosen
from transfer_cli.config.continuation import state_hash
from transfer_cli.config.distill import Distill
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.engine import state_files
from transfer_cli.engine.best import standard_error
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import RunError
from transfer_cli.files import write_json
from transfer_cli.records import metrics
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.settings import situation_of
from transfer_cli.runs.frozen import probe
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.recorders import recorders_of_run
from transfer_cli.strategies import rules
from transfer_cli.strategies.rules import Situation, Statistics

FOLDER, DECISION = "search", "search.json"
RATES = (1.0, 3.0, 1 / 3)

Prepare = Callable[[Experiment, Reporter, Stop, State | None], LoopJob]


@dataclass(frozen=True)
class Candidate:
    """One experiment with nothing left open."""

    experiment: Experiment

    @property
    def label(self) -> str:
        """What it is told by."""
        return _label(self.experiment)


@dataclass(frozen=True)
class Rung:
    """All that are left train up to a share of the epochs; so many stay."""

    share: float
    stay: int


PLANS = {"quick": (Rung(0.5, 1),), "full": (Rung(0.25, 2), Rung(0.5, 1))}


@dataclass(frozen=True)
class Searched:
    """The settings that won, and the state in which they go on."""

    experiment: Experiment
    state: State | None


def candidates(asked: Experiment, job: LoopJob, *, whatever_the_size: bool = False) -> list[Candidate]:
    """What is worth comparing: the rule's choice first, alone where nothing else is left open.

    `asked` is the experiment as the command has it; quick compares modes of BatchNorm, or learning with and without a
    teacher, for few images; full does for many, and compares rates; `whatever_the_size`: quick does for many as well.
    """
    e = job.materials.experiment
    if asked.tune == "off" or len(job.materials.images.splits["val"]) == 0 or chosen(e.trainer.epochs) < 2:
        return []
    situation = situation_of(e, job.network, job.loaded, job.materials.images)
    if isinstance(asked.strategy, Distill):
        compares = asked.strategy.use_teacher == AUTO and (situation.few or asked.tune == "full" or whatever_the_size)
        return [Candidate(one) for one in _with_and_without_teacher(e)] if compares else []
    if not isinstance(asked.strategy, Finetune):
        return []
    full = asked.tune == "full"
    found = [e]
    if asked.strategy.batch_norm == AUTO and _has_choice(situation, full=full or whatever_the_size):
        found.append(_with_statistics(e, asked, situation))
    if full and asked.optimizer.lr == AUTO:
        found = [_with_rate(one, factor) for one in found for factor in RATES]
    return [Candidate(one) for one in found]


def search(
    tries: Sequence[Candidate],
    plan: Sequence[Rung],
    prepare: Prepare,
    directory: Path,
    reporter: Reporter,
    stop: Stop,
    *,
    doubted_by: int | None = None,
) -> Searched:
    """Train the candidates in `directory`/search, record what decided, and give back the best with its state.

    `doubted_by`: so many validation images judge whether the first, a rule's choice, gives way to another; None: the
    best wins. Goes on where it was stopped. Raises Stopped where a signal asks for an end, states saved.
    """
    e = tries[0].experiment
    folder, epochs, every = directory / FOLDER, chosen(e.trainer.epochs), chosen(e.trainer.evaluate_every)
    work = _cost(len(tries), plan)
    reporter.say(f"search    {len(tries)} candidates, {work:.1f} times the training of one")
    left = list(range(len(tries)))
    table: list[dict[str, Any]] = []
    scores: dict[int, float] = {}
    for rung in plan:
        until = min(every * max(math.ceil(rung.share * epochs / every), 1), epochs)
        scores = {n: _score(tries[n], prepare, folder / str(n), until, reporter, stop) for n in left}
        for n in left:
            # Ranks are the larger the better; a loss is told as it is.
            score = -scores[n] if e.trainer.metric == "loss" else scores[n]
            reporter.say(f"search    {until} epochs, {tries[n].label}: {e.trainer.metric} {score:.4f} on validation")
            table.append({"candidate": n, "settings": tries[n].label, "epochs": until, "score": score})
        ahead = 0.0 if doubted_by is None else standard_error(e.trainer.metric, scores[0], doubted_by)
        left = sorted(left, key=lambda n: (-scores[n] - (ahead if n == 0 else 0), n))[: rung.stay]
    best = tries[left[0]]
    why = "the best on validation goes on"
    if scores[left[0]] < max(scores.values()):
        why = "goes on, since no other is better on validation by a standard error"
    reporter.say(f"auto      {best.label}: {why}")
    write_json(directory / DECISION, {"metric": e.trainer.metric, "tried": table, "chosen": left[0]})
    return Searched(best.experiment, _moved(folder, left[0], directory, best.experiment))


def _score(one: Candidate, prepare: Prepare, folder: Path, until: int, reporter: Reporter, stop: Stop) -> float:
    """The best score on validation up to an epoch, the larger the better; diverging is worst."""
    folder.mkdir(parents=True, exist_ok=True)
    state, _ = state_files.newest_valid(folder / state_files.FOLDER, {state_hash(one.experiment)})
    quiet = Reporter(quiet=True)
    job = prepare(one.experiment, quiet, stop, state)
    try:
        return job.run_part(folder, recorders_of_run(folder, quiet, state), quiet, stop, until)
    except RunError as error:
        reporter.say(f"search    {one.label}: {error}")
        return -math.inf


def _moved(folder: Path, number: int, directory: Path, e: Experiment) -> State | None:
    """The winner's states and log become the run's own; those of the others go."""
    winner = folder / str(number)
    for name in (state_files.FOLDER, metrics.NAME, probe.LOG):
        if (winner / name).is_dir():
            shutil.copytree(winner / name, directory / name, dirs_exist_ok=True)
        elif (winner / name).is_file():
            shutil.copyfile(winner / name, directory / name)
    state, _ = state_files.newest_valid(directory / state_files.FOLDER, {state_hash(e)})
    return state


def begin(directory: Path) -> None:
    """Make the folder that marks a run directory as one whose settings are still searched for."""
    (directory / FOLDER).mkdir(exist_ok=True)


def is_begun(directory: Path) -> bool:
    """Whether a search in a run directory has begun and not ended."""
    return (directory / FOLDER).is_dir()


def forget(directory: Path) -> None:
    """Remove the candidates' states; once config.yaml has the settings, nothing needs them."""
    shutil.rmtree(directory / FOLDER, ignore_errors=True)


def _has_choice(s: Situation, *, full: bool) -> bool:
    """Whether both modes of BatchNorm may be right."""
    return s.pretrained and s.normalises_batches and not s.head_only and (s.few or full)


def _with_statistics(e: Experiment, asked: Experiment, situation: Situation) -> Experiment:
    """The same run in the other mode of BatchNorm, with the head and rate that go with it."""
    config = e.strategy
    assert isinstance(config, Finetune) and isinstance(asked.strategy, Finetune)
    other: Statistics = "train" if config.batch_norm == "frozen" else "frozen"
    start = config.head_init
    if asked.strategy.head_init == AUTO and not config.head_first:
        start = rules.head_init(replace(situation, can_probe=config.keep_probe is True), other).value
    lr = rules.rate(situation, other).value if asked.optimizer.lr == AUTO else e.optimizer.lr
    strategy = replace(config, batch_norm=other, head_init=start)
    return replace(e, strategy=strategy, optimizer=replace(e.optimizer, lr=lr))


def _with_and_without_teacher(e: Experiment) -> list[Experiment]:
    config = e.strategy
    assert isinstance(config, Distill)
    if e.dataset.labels == "none":
        return [e]
    return [replace(e, strategy=replace(config, use_teacher=one)) for one in (True, False)]


def _with_rate(e: Experiment, factor: float) -> Experiment:
    lr = float(f"{factor * chosen(e.optimizer.lr):.2g}")
    return replace(e, optimizer=replace(e.optimizer, lr=lr))


def _label(e: Experiment) -> str:
    config = e.strategy
    if isinstance(config, Distill):
        return f"strategy.use_teacher={str(config.use_teacher).lower()}"
    assert isinstance(config, Finetune)
    settings = f"strategy.batch_norm={config.batch_norm} strategy.head_init={config.head_init}"
    return f"model.name={e.model.name} {settings} optimizer.lr={e.optimizer.lr:g}"


def _cost(count: int, plan: Sequence[Rung]) -> float:
    """Trainings of one candidate that the search and the rest of the winner's take together."""
    total, before, left = 0.0, 0.0, count
    for rung in plan:
        total += left * (rung.share - before)
        before, left = rung.share, rung.stay
    return total + 1 - before
