"""tune=quick|full: candidates for what is still auto are trained for part of the run, and the best of them goes on.

Every candidate trains under the schedule of the whole run, so that what the winner has done so far counts: it goes on
from its state, and ends as a run with its settings would that nobody compared. Candidates are halved as they go
(successive halving: Jamieson 2016, arXiv 1502.07943). Validation alone chooses; where a rule is only doubted (quick),
what it says goes on unless another is better by a standard error: of few images the best of two is mostly chance. Where
there are more, nothing else is tried as long as training is ahead of the frozen network with its fitted head.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfer_cli.config.auto import chosen
from transfer_cli.config.continuation import state_hash
from transfer_cli.config.schema import Experiment
from transfer_cli.engine import state_files
from transfer_cli.engine.best import standard_error
from transfer_cli.engine.state_files import State
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import RunError, Stopped, counted
from transfer_cli.files import write_json
from transfer_cli.records import metrics
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.candidates import Candidate, Comparison, Rung
from transfer_cli.runs.frozen import probe
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.runs.recorders import recorders_of_run

FOLDER, DECISION = "search", "search.json"

Prepare = Callable[[Experiment, Reporter, Stop, State | None], LoopJob]


@dataclass(frozen=True)
class Searched:
    """The settings that won, and the state in which they go on."""

    experiment: Experiment
    state: State | None


def search(asked: Comparison, prepare: Prepare, directory: Path, reporter: Reporter, stop: Stop) -> Searched:
    """Train candidates in `directory`/search, record what decided, and give back the best with its state.

    Goes on where it was stopped. Raises Stopped where a signal asks for an end, states saved.
    """
    tries, plan, doubt, hurry = asked.candidates, asked.rungs, asked.doubt, asked.hurry
    e, folder, metric = tries[0].experiment, directory / FOLDER, tries[0].experiment.trainer.metric
    epochs, every = chosen(e.trainer.epochs), chosen(e.trainer.evaluate_every)
    sparing = None if doubt is None or doubt.few else doubt
    unless = "" if sparing is None else ", unless the first is ahead of its fitted head"
    reporter.say(f"search    {len(tries)} candidates, {_cost(len(tries), plan):.1f} times the training of one{unless}")
    left = list(range(len(tries)))
    table: list[dict[str, Any]] = []
    scores: dict[int, float] = {}
    before = trained = 0
    for rung in plan:
        until = min(every * max(math.ceil(rung.share * epochs / every), 1), epochs)
        scores = {}
        for n in left:
            if scores and hurry is not None and hurry(trained, until - before, epochs - until):
                reporter.say(f"search    {counted(len(left) - len(scores), 'candidate')} left out: time is short")
                break
            # Two are shown as any training, more would be in each other's way.
            home = directory if len(tries) == 2 else None
            place = f"candidate {n + 1} of {len(tries)}"
            # Where it is spared the first is mostly the only one.
            if home is not None and (n > 0 or sparing is None):
                reporter.say(f"search    {place}: {tries[n].label}")
            try:
                scores[n] = _score(tries[n], prepare, folder / str(n), until, reporter, stop, home)
            except Stopped as stopped:
                raise Stopped(stopped.code, f"in the search, {place}: {stopped}") from None
            trained += until - before
            # Ranks are the larger the better; a loss is told as it is.
            score = -scores[n] if metric == "loss" else scores[n]
            table.append({"candidate": n, "settings": tries[n].label, "epochs": until, "score": score})
            if n == 0 and sparing is not None and _leads(folder / "0", scores[0], sparing.images, metric):
                after = f"after {counted(until, 'epoch')}"
                reporter.say(f"search    {after} it goes on, ahead of its fitted head by more than chance")
                break
            told = f"{counted(until, 'epoch')}, {tries[n].label}: {metric} {score:.4f} on validation"
            reporter.say(f"search    {told}")
        ahead = standard_error(metric, scores[0], doubt.images) if doubt is not None and doubt.few else 0.0
        left = sorted(scores, key=lambda n: (-scores[n] - (ahead if n == 0 else 0), n))[: rung.stay]
        before = until
    best = tries[left[0]]
    if sparing is None or len(scores) > 1:
        reporter.say(f"auto      {best.label}: {_reason(scores, left[0])}")
    write_json(directory / DECISION, {"metric": metric, "tried": table, "chosen": left[0]})
    return Searched(best.experiment, _moved(folder, left[0], directory, best.experiment))


def _reason(scores: Mapping[int, float], best: int) -> str:
    """Why a candidate goes on."""
    if scores[best] < max(scores.values()):
        return "goes on, since no other is better on validation by a standard error"
    return "the best on validation goes on"


def _leads(folder: Path, score: float, images: int, metric: str) -> bool:
    """Whether a candidate is ahead of its epoch 0, the frozen network with a fitted head, by more than chance."""
    events, _ = metrics.read(folder / metrics.NAME)
    frozen = [event[metric] for event in events if event.get("epoch") == 0 and event.get("split") == "val"]
    if not frozen or frozen[0] is None:
        return True  # no head was fitted, or its score is none: AUROC where all images are of one class
    start = -frozen[0] if metric == "loss" else frozen[0]
    return bool(score > start + standard_error(metric, start, images))


def _score(
    one: Candidate,
    prepare: Prepare,
    folder: Path,
    until: int,
    reporter: Reporter,
    stop: Stop,
    home: Path | None,
) -> float:
    """The best score on validation up to an epoch, the larger the better; diverging is worst.

    `home`: the directory of the run that it is shown as; None: it trains quietly.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state, _ = state_files.newest_valid(folder / state_files.FOLDER, {state_hash(one.experiment)})
    quiet = Reporter(quiet=True)
    shown = quiet if home is None else reporter
    job = prepare(one.experiment, quiet, stop, state)
    try:
        return job.run_part(folder, recorders_of_run(folder, shown, state, home=home), shown, stop, until)
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


def _cost(count: int, plan: Sequence[Rung]) -> float:
    """Trainings of one candidate that the search and the rest of the winner's take together."""
    total, before, left = 0.0, 0.0, count
    for rung in plan:
        total += left * (rung.share - before)
        before, left = rung.share, rung.stay
    return total + 1 - before
