"""Which parameters a pattern means, and learning rates that differ by stage or by pattern."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from transfer_cli.errors import UserError, did_you_mean


def layer_multiplier(stage: int, last: int, decay: float) -> float:
    """decay^(last - stage): 1 for stage number `last`, the head, less below.

    Discriminative rates of ULMFiT (Howard 2018, arXiv 1801.06146), as BEiT has them (Bao 2022, arXiv 2106.08254).
    """
    return decay ** (last - stage)


Stages = Mapping[str, Collection[str]]
"""The names of the parameters of each stage, by its own name."""


def pattern_multipliers(
    names: Iterable[str], rules: Sequence[tuple[str, float]], key: str, stages: Stages = MappingProxyType({})
) -> dict[str, float]:
    """The multiplier of each parameter name that a rule matches; the first matching rule counts.

    Raises UserError, naming `key`, for a pattern that matches nothing, or nothing that earlier ones have left.
    """
    names = list(names)
    multipliers: dict[str, float] = {}
    for pattern, multiplier in rules:
        matched = match(names, [pattern], key, stages)
        fresh = [name for name in matched if name not in multipliers]
        if not fresh:
            raise UserError(
                f"{key}: {pattern} has no effect, since earlier patterns match all that it matches; put it first."
            )
        multipliers |= dict.fromkeys(fresh, multiplier)
    return multipliers


def match(names: Iterable[str], patterns: Sequence[str], key: str, stages: Stages = MappingProxyType({})) -> list[str]:
    """The names, in their order, that any pattern matches: shell wildcards over whole names, or a name's first parts.

    `layer4`, `layer4.*` and `*.bias` are patterns, and so is the name of one of the `stages`. Raises UserError, naming
    `key`, for one that matches nothing.
    """
    names = list(names)
    for pattern in patterns:
        if not any(_matches(name, pattern, stages) for name in names):
            beginnings = {".".join(parts[:count]) for name in names for parts in [name.split(".")] for count in (1, 2)}
            hint = did_you_mean(pattern, [*names, *beginnings, *stages])
            hint = hint or f" Names look like {', '.join(names[:3])}."
            raise UserError(f"{key}: {pattern} matches no parameter.{hint}")
    return [name for name in names if any(_matches(name, pattern, stages) for pattern in patterns)]


def _matches(name: str, pattern: str, stages: Stages) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") or name in stages.get(pattern, ())
