"""Which keys hold text: a name or a path stays as it was typed, also where it reads like a number."""

from __future__ import annotations

import dataclasses
import functools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from transfer_cli.config.convert import hints_of
from transfer_cli.config.schema import Experiment


@functools.cache
def is_text(key: str) -> bool:
    """Whether the values of a dotted key, or those in its list, are text and never numbers or true and false."""
    hints: list[Any] = [Experiment]
    for name in key.split("."):
        hints = [
            hints_of(one)[name]
            for hint in hints
            for one in _options(hint)
            if dataclasses.is_dataclass(one) and isinstance(one, type) and name in hints_of(one)
        ]
    leaves = {leaf for hint in hints for leaf in _leaves(hint)}
    return str in leaves and not leaves & {int, float, bool}


@functools.cache
def is_group(key: str) -> bool:
    """Whether a key holds others, as `model` does, so that a single value is the name of a file with these."""
    hint = hints_of(Experiment).get(key)
    return any(dataclasses.is_dataclass(one) for one in _options(hint))


def _options(hint: Any) -> list[Any]:
    """What a union is of."""
    if get_origin(hint) in (Union, types.UnionType):
        return [option for part in get_args(hint) for option in _options(part)]
    return _options(get_args(hint)[0]) if get_origin(hint) is Annotated else [hint]


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
