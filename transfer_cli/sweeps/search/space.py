"""What is searched over: the sweep's words in Hydra's grammar as distributions, and a space for those who name none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from transfer_cli.command.overrides import Overrides, parse_overrides
from transfer_cli.config.parse import is_whole
from transfer_cli.config.schema import Experiment
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from optuna.distributions import BaseDistribution

Space = Mapping[str, "BaseDistribution"]
"""By the key of each word as it is typed, prefixes of Hydra's included."""

SGD_LIKE = ("sgd", "muon")
_RATES = {"sgd": "tag(log, interval(0.001, 0.1))", "other": "tag(log, interval(0.0001, 0.01))"}
# Ranges of the keys that matter most, around the recipes that peers publish for fine-tuning (timm, BiT, LP-FT).
_DEFAULTS = {
    "finetune": (
        "optimizer.weight_decay=tag(log, interval(0.0001, 0.1))",
        "strategy.layer_decay=choice(1.0, 0.9, 0.8, 0.65)",
        "strategy.batch_norm=choice(frozen, train)",
        "strategy.head_init=choice(zero, probe)",
        "augment=choice(none, light, standard)",
        "trainer.epochs=choice(5, 10, 20)",
    ),
    "distill": (
        "optimizer.weight_decay=tag(log, interval(0.0001, 0.1))",
        "strategy.temperature=choice(1.0, 2.0, 4.0, 8.0)",
        "strategy.loss.ce=choice(0.1, 0.5, 1.0)",
        "augment=choice(none, light, standard)",
        "trainer.epochs=choice(5, 10, 20)",
    ),
    "extract": (
        "optimizer.weight_decay=tag(log, interval(0.00001, 0.1))",
        "strategy.head=choice(linear, mlp)",
        "strategy.standardize=choice(true, false)",
        "strategy.label_smoothing=choice(0.0, 0.1)",
        "trainer.epochs=choice(20, 50, 100)",
    ),
}
_DIGITS = 4
"""Of a value of an interval whose ends are far apart."""
_WITH = {"extract": ("strategy.solver=optimizer",), "finetune": (), "distill": ()}
"""Words without which the searched keys are not read."""


def searched(overrides: Overrides, strategy: str, optimizer: str) -> Overrides:
    """The words of a command, with a space of the strategy's own where none is named; what is named stays as it is.

    Each trial has its own settings, so that nothing else is chosen by training candidates (tune=off).
    """
    words, named = [*overrides.arguments], {one.key_or_group for one in overrides.parsed}
    if "tune" not in named:
        words.append("tune=off")
    if not overrides.swept:
        rate = _RATES["sgd" if optimizer in SGD_LIKE else "other"]
        own = [*_WITH[strategy], f"optimizer.lr={rate}", *_DEFAULTS[strategy]]
        words += [word for word in own if word.partition("=")[0] not in named]
    return parse_overrides(words)


def space_of(overrides: Overrides, base: Experiment) -> Space:
    """The distributions of all words with several values, by key. Raises UserError for one that has none.

    `base` is the experiment without these words: a key of it that takes whole numbers alone has them drawn.
    """
    return {
        one.get_key_element(): _distribution(one, whole=is_whole(one.key_or_group, base)) for one in overrides.swept
    }


def words_of(params: Mapping[str, Any], space: Space) -> list[str]:
    """The words that say a proposal, for Hydra."""
    return [f"{key}={_shown(value, space[key])}" for key, value in params.items()]


def corners(overrides: Overrides) -> list[list[str]]:
    """Words in which each end of an interval and each choice occurs once, the others at their first: to be checked."""
    ends = [[f"{one.get_key_element()}={value}" for value in _ends(one)] for one in overrides.swept]
    firsts = [several[0] for several in ends]
    others = [
        [*firsts[:position], value, *firsts[position + 1 :]]
        for position, several in enumerate(ends)
        for value in several[1:]
    ]
    return [[*overrides.shared_words, *own] for own in [firsts, *others]]


def _distribution(override: Override, *, whole: bool) -> BaseDistribution:
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    tags = {*getattr(value, "tags", ())}
    log = "log" in tags
    if tags - {"log"} or (log and not isinstance(value, IntervalSweep)):
        raise UserError(f"{override.input_line}: the only tag is log, and only an interval can have it.")
    if isinstance(value, ChoiceSweep):
        return CategoricalDistribution([*override.sweep_string_iterator()])
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if low is None or high is None or not low < high or (log and low <= 0):
            raise UserError(f"{override.input_line}: an interval goes from low to high, with log from above 0.")
        if whole or isinstance(low, int):
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(low, high, log=log)
    if isinstance(value, RangeSweep):
        values = [*value.range()] if value.step else []
        if not values:
            raise UserError(f"{override.input_line}: a range without values.")
        low, high, step = min(values), max(values), abs(value.step)
        if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
            return IntDistribution(low, high, step=step)
        # Sums of steps, such as 0.30000000000000004, are no multiples of them.
        return FloatDistribution(_rounded(low), _rounded(high), step=step)
    raise UserError(f"{override.input_line}: cannot be searched over; name choices, a range or an interval.")


def _rounded(value: float) -> float:
    return float(f"{value:.12g}")


def _ends(override: Override) -> list[str]:
    from hydra.core.override_parser.types import IntervalSweep

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        return [_exact(value.start), _exact(value.end)]
    return [*override.sweep_string_iterator()]


def _exact(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _shown(value: Any, within: BaseDistribution) -> str:
    """A value with the digits that tell it from others of its interval, and not beyond an end of it."""
    from optuna.distributions import FloatDistribution

    if not isinstance(value, float) or not isinstance(within, FloatDistribution):
        return _exact(value)
    low, high = within.low, within.high
    narrow = max(abs(low), abs(high)) / (high - low) if high > low else 1.0
    digits = min(_DIGITS + max(math.floor(math.log10(narrow)), 0), 12)
    return _exact(min(max(float(f"{value:.{digits}g}"), low), high))
