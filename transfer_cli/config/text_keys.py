"""What a dotted key may hold, by its type: text, which stays as it was typed though it reads like a number; choices."""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from transfer_cli.config.convert import OneOf, hints_of
from transfer_cli.config.schema import Experiment


@functools.cache
def is_text(key: str) -> bool:
    """Whether the values of a dotted key, or those in its list, are text and never numbers or true and false."""
    leaves = {leaf for hint in _hints(key) for leaf in _leaves(hint)}
    return str in leaves and not leaves & {int, float, bool}


def choices(key: str) -> list[str]:
    """The names that a dotted key may say, as they are typed; none where it takes whatever is said."""
    found: dict[str, None] = {}
    for hint in _hints(key):
        for option in _options(hint, limits=True):
            limits = [limit for limit in get_args(option)[1:] if isinstance(limit, OneOf)]
            if get_origin(option) is Literal:
                found |= dict.fromkeys(map(str, get_args(option)))
            elif limits:
                found |= dict.fromkeys(limits[0].names)
            elif option is bool:
                found |= dict.fromkeys(("true", "false"))
    return [*found]


def _hints(key: str) -> list[Any]:
    """The types of a dotted key, one for each kind of group that has it."""
    hints: list[Any] = [Experiment]
    for name in key.split("."):
        hints = [
            hints_of(one)[name]
            for hint in hints
            for one in _options(hint)
            if dataclasses.is_dataclass(one) and isinstance(one, type) and name in hints_of(one)
        ]
    return hints


@functools.cache
def is_group(key: str) -> bool:
    """Whether a key holds others, as `model` does, so that a single value is the name of a file with these."""
    hint = hints_of(Experiment).get(key)
    return any(dataclasses.is_dataclass(one) for one in _options(hint))


def _options(hint: Any, *, limits: bool = False) -> list[Any]:
    """What a union is of; `limits`: with those of its parts."""
    if get_origin(hint) in (Union, types.UnionType):
        return [option for part in get_args(hint) for option in _options(part, limits=limits)]
    return _options(get_args(hint)[0]) if get_origin(hint) is Annotated and not limits else [hint]


def _leaves(hint: Any) -> list[Any]:
    """The types of single values."""
    found: list[Any] = []
    for option in _options(hint):
        origin = get_origin(option)
        if origin is Literal:
            found += [type(choice) for choice in get_args(option)]
        elif origin is tuple:
            found += [leaf for part in get_args(option) if part is not Ellipsis for leaf in _leaves(part)]
        else:
            found.append(option)
    return found
