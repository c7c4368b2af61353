"""From composed values to one typed `Experiment`, all problems at once, and back to plain values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Container
from typing import Any

from transfer_cli import plugins
from transfer_cli.config.auto import adopted, place_of
from transfer_cli.config.convert import (
    Problems,
    convert,
    convert_one_of,
    hints_of,
    shown,
    takes_fractions,
    to_plain,
)
from transfer_cli.config.distill import Distill
from transfer_cli.config.dotted import dotted
from transfer_cli.config.extract import Extract
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.optimizers import OPTIMIZERS, SCHEDULERS
from transfer_cli.config.problems import combination_problems
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError

_OPTIMIZERS = {name: kind.keys for name, kind in OPTIMIZERS.items()}
STRATEGIES: dict[str, type] = {"finetune": Finetune, "extract": Extract, "distill": Distill}

# What may differ between a run and the command that resumes it: it changes where things are, not what is computed.
_NOT_IN_HASH = (
    *("mode", "run", "input", "output", "format", "split", "name", "resume", "tune"),
    *("cache_dir", "cache_size", "cache", "rank", "find_lr", "compare", "predict", "export", "fetch", "report"),
    *("output_dir", "quiet", "sweep", "script", "audit", "evaluate", "logger", "explain", "push"),
)
_NOT_IN_HASH_OF_GROUP = {
    "trainer": ("workers", "budget", "checkpoint_every", "keep", "devices", "sharding", "time_limit", "profile"),
    "dataset": ("store",),
}

# Settings that became options later, with what every run did before: at that value the hash stays what it was.
_BEFORE_IT_WAS_AN_OPTION: dict[str, dict[str, Any]] = {
    "trainer": {"metric": "accuracy", "evaluate_every": 1, "deterministic": False, "sync_batch_norm": False},
    "strategy": {"keep_probe": False, "wise_ft": False, "use_teacher": True},
    "strategy.adapt": {"wise_ft": False},
    "strategy.teacher": {"run": None},
    "dataset": dict.fromkeys(("max_pixels", "channels", "group", "folds", "fold", "split_seed")),
}
_BEFORE_IT_WAS_A_KEY = {"image_fit": "crop", "crop_fraction": "auto"}


def parse(values: dict[str, Any]) -> Experiment:
    """The typed experiment in a composed configuration. Raises UserError naming every wrong key."""
    problems: Problems = []
    values = {key: value for key, value in values.items() if key != "experiment"}
    variants = {
        "optimizer": convert_one_of(_OPTIMIZERS, values.get("optimizer"), "optimizer", problems),
        "scheduler": convert_one_of(SCHEDULERS, values.get("scheduler"), "scheduler", problems),
        "strategy": convert_one_of(_strategies(values.get("strategy")), values.get("strategy"), "strategy", problems),
    }
    experiment = convert(values, Experiment, "", problems, done=variants)
    if not problems:
        problems += combination_problems(experiment)
    if problems:
        raise UserError("\n".join(problems))
    assert isinstance(experiment, Experiment)
    return experiment


def _strategies(value: Any) -> dict[str, type]:
    """Ours, and the one that is named where an installed package adds it: `Config`, its options as a dataclass."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or name in STRATEGIES:
        return STRATEGIES
    added = plugins.find("strategies", name)
    return STRATEGIES if added is None else {**STRATEGIES, name: added.Config}


def is_whole(key: str, experiment: Experiment) -> bool:
    """Whether a dotted key takes whole numbers alone; `experiment` says of which optimizer, strategy and the like."""
    *groups, name = key.split(".")
    place: Any = experiment
    for group in groups:
        place = getattr(place, group, None)
    if not dataclasses.is_dataclass(place) or isinstance(place, type):
        return False
    hints = hints_of(type(place))
    return name in hints and not takes_fractions(hints[name])


def to_dict(experiment: Experiment) -> dict[str, Any]:
    """Plain JSON/YAML values that `parse` turns back into the same experiment."""
    values: dict[str, Any] = to_plain(experiment)
    return values


def config_hash(experiment: Experiment) -> str:
    """Sha256 (first 16 hex digits) of everything that determines the result of a run."""
    values = {key: value for key, value in to_dict(experiment).items() if key not in _NOT_IN_HASH}
    for group, keys in _NOT_IN_HASH_OF_GROUP.items():
        values[group] = {key: value for key, value in values[group].items() if key not in keys}
    values = {key: value for key, value in values.items() if _BEFORE_IT_WAS_A_KEY.get(key, ...) != value}
    for group, before in _BEFORE_IT_WAS_AN_OPTION.items():
        place = place_of(values, group)
        for key in [key for key, value in place.items() if before.get(key, ...) == value]:
            del place[key]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def with_choices_of(ours: Experiment, theirs: Experiment) -> Experiment:
    """Our settings, with what the run of `theirs` has chosen for itself where we say auto."""
    return parse(adopted(to_dict(ours), to_dict(theirs)))


Changes = dict[str, tuple[Any, Any]]
"""Keys that determine a result and differ, each with our value and theirs."""


def differences(ours: Experiment, theirs: Experiment, *, but: Container[str] = ()) -> list[str]:
    """`changes`, as `key=ours (there theirs)`, but for some keys."""
    found = changes(ours, theirs).items()
    return [f"{key}={shown(new)} (there {shown(old)})" for key, (new, old) in found if key not in but]


def changes(ours: Experiment, theirs: Experiment) -> Changes:
    """Keys that determine a result and differ, in their order; auto is whatever was chosen there."""
    left, right = dotted(adopted(to_dict(ours), to_dict(theirs))), dotted(to_dict(theirs))
    keys = [key for key in sorted(left.keys() | right.keys()) if is_in_hash(key)]
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}


def is_in_hash(key: str) -> bool:
    """Whether a dotted key determines a result."""
    group, _, name = key.partition(".")
    return group not in _NOT_IN_HASH and name not in _NOT_IN_HASH_OF_GROUP.get(group, ())
