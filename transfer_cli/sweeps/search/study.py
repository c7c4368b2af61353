"""The study of a search: which trials there are, and who runs each. Any number of processes may share it.

It is a journal in the sweep's folder, so a kill loses nothing. Whoever runs a trial holds its lock, which the system
takes back from a process that dies: the trial then belongs to whoever comes next, and its run goes on where it was.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.config.commands import Sweep
from transfer_cli.config.objectives import Direction
from transfer_cli.errors import UserError, first_line
from transfer_cli.extras import need
from transfer_cli.locks import FOREVER, locked
from transfer_cli.sweeps.search.journal import JournalLock
from transfer_cli.sweeps.search.space import Space

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
_LOCKS = ".trials"
_NAME = "search"
_SETTINGS = "settings"
_OF_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RecursionError)
"""What Optuna raises where its journal holds something else than it wrote."""


@dataclass(frozen=True)
class Study:
    """One search, as this process sees it."""

    folder: Path
    space: Space
    settings: Sweep
    seed: int
    directions: tuple[Direction, ...]
    """Of each objective; of one that stands alone its trials may be pruned."""
    epochs: int | None
    """The most that a trial may train, where it is known."""

    @contextlib.contextmanager
    def next_trial(self) -> Iterator[optuna.Trial | None]:
        """A trial that nobody runs, new or left by a process that is gone, held in the block; None: enough."""
        with contextlib.ExitStack() as held:
            with locked(self._locks() / "study.lock", FOREVER):
                trial = self._left_behind(held) or self._asked(held)
            yield trial

    def is_of_another_space(self) -> bool:
        """Whether trials that are there were drawn from other ranges."""
        trials = self._opened().get_trials(deepcopy=False)
        return any(dict(trial.distributions) != dict(self.space) for trial in trials if trial.distributions)

    def begun_with(self, values: dict[str, Any]) -> dict[str, Any]:
        """The settings that all trials share, as the first process wrote them down: `values`, if that is this one."""
        with locked(self._locks() / "study.lock", FOREVER):
            study = self._opened()
            if _SETTINGS not in study.user_attrs:
                study.set_user_attr(_SETTINGS, values)
            return dict(study.user_attrs[_SETTINGS])

    def finish(self, trial: optuna.Trial, values: Sequence[float] | None, *, pruned: bool = False) -> None:
        """Tell how a trial ended, with a value an objective; `values` None: it failed."""
        from optuna.trial import TrialState

        if pruned:
            self._opened().tell(trial.number, state=TrialState.PRUNED)
        elif values is None:
            self._opened().tell(trial.number, state=TrialState.FAIL)
        else:
            self._opened().tell(trial.number, values)

    def counts(self) -> dict[str, int]:
        """How many trials are complete, pruned, failed and running."""
        states = [trial.state.name.lower() for trial in self._opened().get_trials(deepcopy=False)]
        return {state: states.count(state) for state in ("complete", "pruned", "fail", "running")}

    def best(self) -> list[dict[str, Any]]:
        """What the best complete trial proposed, or with several objectives those on the front; none: none is complete.

        Of trials that proposed the same one counts.
        """
        if not self.counts()["complete"]:
            return []
        study = self._opened()
        trials = study.best_trials if len(self.directions) > 1 else [study.best_trial]
        found = [dict(trial.params) for trial in trials]
        return [one for place, one in enumerate(found) if one not in found[:place]]

    def _locks(self) -> Path:
        path = self.folder / _LOCKS
        path.mkdir(exist_ok=True)
        return path

    def _hold(self, number: int, held: contextlib.ExitStack) -> bool:
        """Whether the lock of a trial was free; it is held now."""
        return held.enter_context(locked(self._locks() / f"{number}.lock"))

    def _left_behind(self, held: contextlib.ExitStack) -> optuna.Trial | None:
        import optuna

        study = self._opened()
        for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            if self._hold(trial.number, held):
                study.sampler = self._sampler(self.seed + trial.number)
                return self._proposed(optuna.Trial(study, trial._trial_id))
        return None

    def _proposed(self, trial: optuna.Trial) -> optuna.Trial:
        """The trial with all of its values: a process may have died in the middle of proposing them."""
        with _no_warnings():
            for name, distribution in self.space.items():
                trial._suggest(name, distribution)
        return trial

    def _asked(self, held: contextlib.ExitStack) -> optuna.Trial | None:
        study = self._opened()
        number = len(study.get_trials(deepcopy=False))
        if number >= self.settings.trials:
            return None
        # A seed of its own for each: a search that was killed proposes what it would have.
        study.sampler = self._sampler(self.seed + number)
        self._hold(number, held)
        with _no_warnings():
            return study.ask(dict(self.space))

    def _opened(self) -> optuna.Study:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        journal = self.folder / JOURNAL
        try:
            # Whatever has the two methods of a lock will do.
            lock: Any = JournalLock(journal, self._locks() / "journal.lock")
            storage = JournalStorage(JournalFileBackend(str(journal), lock_obj=lock))
            with _no_warnings():
                return optuna.create_study(
                    study_name=_NAME,
                    storage=storage,
                    load_if_exists=True,
                    directions=self.directions,
                    pruner=self._pruner(),
                )
        except _OF_DAMAGE as error:
            reason = first_line(error) or type(error).__name__
            raise UserError(
                f"{journal} is damaged ({reason}). Remove it: the search begins again, and what it proposes "
                "again is not trained again."
            ) from error

    def _sampler(self, seed: int) -> Any:
        from optuna import samplers

        with _no_warnings():
            if self.settings.sampler == "tpe":
                startup = max(4, min(10, self.settings.trials // 3))
                return samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=True)
            if self.settings.sampler == "grid":
                return samplers.BruteForceSampler(seed=seed)
            if self.settings.sampler == "cma":
                need("cmaes", "search", "sweep.sampler=cma")
                return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            return samplers.RandomSampler(seed=seed)

    def _pruner(self) -> Any:
        from optuna import pruners

        with _no_warnings():
            if self.settings.pruner == "median":
                return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=max(1, (self.epochs or 0) // 8))
            if self.settings.pruner == "hyperband":
                return pruners.HyperbandPruner(min_resource=1, max_resource=self.epochs or "auto", reduction_factor=3)
            return pruners.NopPruner()


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Optuna calls what is years old experimental, and says so each time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def check_settings(settings: Sweep, space: Space) -> None:
    """Raises UserError for a sampler that cannot draw from the space, or for several objectives."""
    from optuna.distributions import FloatDistribution

    if settings.objectives and settings.sampler == "cma":
        raise UserError(
            f"sweep.sampler=cma: CMA-ES follows one objective, and sweep.objectives names {len(settings.objectives)}; "
            "leave it out (tpe), or take random or grid."
        )
    endless = [key for key, one in space.items() if isinstance(one, FloatDistribution) and one.step is None]
    if settings.sampler == "grid" and endless:
        raise UserError(f"sweep.sampler=grid: {endless[0]} has endlessly many values; name them, as in choice(a,b).")
