"""What may be different in a command that goes on with a run: where things are, and that it trains longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from transfer_cli.config.auto import AUTO, is_open, place_of, settled
from transfer_cli.config.convert import shown
from transfer_cli.config.parse import Changes, changes, config_hash, parse, to_dict, with_choices_of
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError

_HARMLESS: dict[str, Any] = {
    "dataset.path": None,
    "dataset.download": False,
    "trainer.device": "auto",
    "trainer.compile": False,
    "trainer.patience": None,
}
_LENGTHS: dict[str, Any] = {"trainer.epochs": 1, "trainer.steps": None}
"""Keys that may change on the way, and the values that stand for all others where a state is to be recognised."""
OF_THE_COMMAND = ("trainer.workers", "trainer.devices", "trainer.sharding")
OF_THE_MACHINE = (*OF_THE_COMMAND, "trainer.checkpoint_every", "trainer.keep", "trainer.time_limit")
"""Keys that change no result; the first are never those of the run that is gone on with."""
_MOST_NAMED = 5


def continued(ours: Experiment, begun: Experiment, where: str, hint: str) -> tuple[Experiment, Changes]:
    """Our settings with what the run has chosen for itself, and what of them is new.

    Raises UserError as `check` does.
    """
    ours = _without_patience_of(begun, ours)
    found = changes(ours, begun)
    check(found, begun, where, hint)
    return with_choices_of(ours, begun), found


def check(found: Changes, begun: Experiment, where: str, hint: str) -> None:
    """Raises UserError, naming `where` and ending in `hint`, for a change that the run cannot go on with."""
    # While a search goes on its candidates have the schedule of the length that was asked for.
    lengths = {} if begun.strategy.name == "extract" or is_open(to_dict(begun)) else _LENGTHS
    refused = [
        f"{key}={shown(new)} (there {shown(old)})"
        for key, (new, old) in found.items()
        if key not in _HARMLESS and not (key in lengths and _is_longer(new, old))
    ]
    if refused:
        if any(key in lengths and not _is_longer(*found[key]) for key in found):
            hint = f"A run can be made longer, not shorter. {hint}"
        more = f" and {len(refused) - _MOST_NAMED} more" if len(refused) > _MOST_NAMED else ""
        raise UserError(f"{where} was made with other settings: {'; '.join(refused[:_MOST_NAMED])}{more}. {hint}")


def with_values_of(ours: Experiment, theirs: Experiment, keys: Iterable[str]) -> Experiment:
    """Their settings, with our values of some dotted keys."""
    found, own = to_dict(theirs), to_dict(ours)
    for key in keys:
        group, _, name = key.rpartition(".")
        place_of(found, group)[name] = place_of(own, group)[name]
    return parse(found)


def with_what_was_settled(e: Experiment, ours: Experiment, begun: Experiment) -> Experiment:
    """The settings of a job, with the begun values of what is auto in it and in ours, and was another default then.

    `ours` are what a program makes by now of the words that began. Jobs are not compared with some that other rules
    have made.
    """
    theirs = to_dict(begun)
    open_in_both = {*settled(to_dict(e), theirs)} & {*settled(to_dict(ours), theirs)}
    return with_values_of(begun, e, open_in_both) if open_in_both else e


def _without_patience_of(begun: Experiment, ours: Experiment) -> Experiment:
    """Ours, which are for other epochs: a patience that was chosen belongs to the epochs that were chosen with it."""
    if ours.trainer.patience != AUTO or ours.trainer.epochs in (AUTO, begun.trainer.epochs):
        return ours
    return replace(ours, trainer=replace(ours.trainer, patience=None))


def is_longer(found: Changes) -> bool:
    """Whether a run is to train on after its end."""
    return any(key in found for key in _LENGTHS)


def state_hash(e: Experiment) -> str:
    """Of the settings that a saved state belongs to: all that a run cannot change on its way."""
    for key, value in {**_HARMLESS, **_LENGTHS}.items():
        group, _, name = key.partition(".")
        e = replace(e, **{group: replace(getattr(e, group), **{name: value})})
    return config_hash(e)


def _is_longer(new: Any, old: Any) -> bool:
    return isinstance(new, int) and isinstance(old, int) and new > old
