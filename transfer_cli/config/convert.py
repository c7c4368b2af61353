"""Plain values, from YAML and the command line, into typed dataclasses; gathers every problem, not the first.

Own code in place of pydantic, whose import alone takes 0.3 s of every command, as long as all else before torch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from transfer_cli.errors import did_you_mean

Problems = list[str]
MISSING = "???"
# Limits from here on only keep numbers within what machines count with; nobody needs to read them.
BEYOND_USE = 10**9


@dataclass(frozen=True)
class Between:
    """A number within closed limits."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"from {self.low} to {self.high}" if self.high < BEYOND_USE else f"{self.low} or more"

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class MoreThan:
    """A finite number above an open limit, and up to a closed one."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"more than {self.low}" + (f", at most {self.high}" if self.high < math.inf else "")

    def holds(self, value: float) -> bool:
        return self.low < value <= self.high and value < math.inf


@dataclass(frozen=True)
class OneOf:
    """A name from a table."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"

    def holds(self, value: str) -> bool:
        return value in self.names


@dataclass(frozen=True)
class Rest:
    """Marks one field of a dataclass, a dict: it takes the keys that are no other fields and hold mappings.

    Whoever reads the field checks what it holds. `to_plain` writes the keys back beside those of the other fields.
    """


def convert(value: Any, wanted: Any, key: str, problems: Problems, done: dict[str, Any] | None = None) -> Any:
    """`value` as the type `wanted`; appends a sentence naming `key` to `problems` where it does not fit.

    `done` holds fields of a dataclass that the caller has converted already.
    """
    if isinstance(value, str) and value == MISSING:
        problems.append(f"{key}: a value is required, say {key}=<{describe(wanted)}>.")
        return None
    if dataclasses.is_dataclass(wanted):
        return _convert_dataclass(value, wanted, key, problems, done or {})
    if get_origin(wanted) is Mapping:
        return _convert_mapping(value, get_args(wanted)[1], key, problems)
    fitted, fits = _fit(value, wanted)
    if not fits:
        choices = [choice for choice in _choices(wanted) if isinstance(choice, str)]
        hint = did_you_mean(str(value), choices)
        found = "no value is given; expected" if value == "" else "expected"
        problems.append(f"{key}={shown(value)}: {found} {describe(wanted)}.{hint}")
    return fitted


def convert_one_of(table: dict[str, type], value: Any, key: str, problems: Problems) -> Any:
    """A dataclass chosen by the `name` in `value` from a literal table."""
    name = value.get("name") if isinstance(value, dict) else value
    if not isinstance(name, str) or name not in table:
        hint = did_you_mean(str(name), table)
        problems.append(f"{key}.name={shown(name)}: expected one of {', '.join(table)}.{hint}")
        return None
    return convert(value, table[name], key, problems)


def _convert_dataclass(value: Any, wanted: Any, key: str, problems: Problems, done: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        problems.append(f"{key}={shown(value)}: expected a group of keys; choose an option or set {key}.<key>.")
        return None
    before = len(problems)
    hints = hints_of(wanted)
    rest = _rest_field(wanted)
    fields = {field.name: field for field in dataclasses.fields(wanted) if field.name != rest}
    prefix = f"{key}." if key else ""
    extras = [name for name in value if name not in fields]
    if rest is not None:
        done = {**done, rest: {str(name): value[name] for name in extras if isinstance(value[name], dict)}}
        extras = [name for name in extras if not isinstance(value[name], dict)]
    for extra in extras:
        if rest is None:
            problems.append(f"{prefix}{extra}: no such key.{did_you_mean(str(extra), fields, prefix)}")
        else:
            hint = did_you_mean(str(extra), fields, prefix)
            problems.append(
                f"{prefix}{extra}={shown(value[extra])}: no such key; a group of keys is set one by one, as "
                f"{prefix}{extra}.<key>=<value>.{hint}"
            )
    arguments = dict(done)
    for name, field in fields.items():
        if name in done:
            continue
        if name in value:
            arguments[name] = convert(value[name], hints[name], prefix + name, problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{prefix}{name}: missing.")
    return wanted(**arguments) if len(problems) == before else None


@functools.cache
def hints_of(wanted: type) -> dict[str, Any]:
    """The types of a dataclass's fields, with their limits."""
    return get_type_hints(wanted, include_extras=True)


@functools.cache
def _rest_field(wanted: type) -> str | None:
    """The field marked with Rest, if there is one."""
    marked = [name for name, hint in hints_of(wanted).items() if Rest() in getattr(hint, "__metadata__", ())]
    return marked[0] if marked else None


def to_plain(value: Any) -> Any:
    """A dataclass and all it holds as dicts, lists and scalars, which `convert` turns back into an equal one."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        rest = _rest_field(type(value))
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name != rest}
        return to_plain({**own, **(getattr(value, rest) if rest else {})})
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return [to_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _convert_mapping(value: Any, wanted: Any, key: str, problems: Problems) -> dict[str, Any] | None:
    """Values of one type under names that only their reader knows."""
    if not isinstance(value, dict):
        problems.append(f"{key}={shown(value)}: expected a group of keys; set {key}.<key>.")
        return None
    return {str(name): convert(item, wanted, f"{key}.{name}", problems) for name, item in value.items()}


def _fit(value: Any, wanted: Any) -> tuple[Any, bool]:
    """The value in the wanted type, and whether it fits."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        fitted, fits = _fit(value, arguments[0])
        return fitted, fits and all(limit.holds(fitted) for limit in arguments[1:])
    if origin is Literal:
        return value, any(value == choice and type(value) is type(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        for option in arguments:
            fitted, fits = _fit(value, option)
            if fits:
                return fitted, True
        return None, False
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return None, False
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(value)
        if len(value) != len(arguments):
            return None, False
        pairs = [_fit(item, argument) for item, argument in zip(value, arguments, strict=True)]
        return tuple(item for item, _ in pairs), all(fits for _, fits in pairs)
    return _fit_scalar(value, wanted)


def takes_fractions(wanted: Any) -> bool:
    """Whether a number that is not whole may fit a type."""
    if get_origin(wanted) in (Annotated, Union, types.UnionType):
        return any(takes_fractions(option) for option in get_args(wanted))
    return wanted is float


def _fit_scalar(value: Any, wanted: Any) -> tuple[Any, bool]:
    if wanted is type(None):
        return None, value is None
    if wanted is bool:
        return value, isinstance(value, bool)
    if wanted is int:
        return value, isinstance(value, int) and not isinstance(value, bool)
    if wanted is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
        return (float(value) if fits else None), fits
    if wanted is str:
        # A name such as 2024 or 1e3 is a number to YAML, and still a name; a path or name never holds NUL.
        fits = (
            isinstance(value, (str, int, float))
            and not isinstance(value, bool)
            and value != ""
            and "\0" not in str(value)
        )
        return (str(value) if fits else None), fits
    raise AssertionError(f"no conversion to {wanted}")


def describe(wanted: Any) -> str:
    """The type as a message names it, such as 'a number more than 0'."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin is Annotated and isinstance(arguments[1], OneOf):
        return str(arguments[1])
    if origin is Annotated:
        return f"{describe(arguments[0])} {' and '.join(str(limit) for limit in arguments[1:])}"
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        *others, last = [describe(option) for option in arguments]
        return f"{', '.join(others)} or {last}"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each {describe(arguments[0])}"
    if origin is tuple:
        return f"a list [{', '.join(describe(item) for item in arguments)}]"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    return words.get(wanted, str(wanted))


def _choices(wanted: Any) -> list[Any]:
    if get_origin(wanted) is Literal:
        return list(get_args(wanted))
    if isinstance(wanted, OneOf):
        return list(wanted.names)
    return [choice for option in get_args(wanted) for choice in _choices(option)]


def shown(value: Any) -> str:
    """A value as the command line writes it, cut short where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if len(text) <= 80 else text[:77] + "..."


Positive = Annotated[float, MoreThan(0)]
NotNegative = Annotated[float, Between(0, BEYOND_USE)]
Fraction = Annotated[float, Between(0, 1)]
Share = Annotated[float, MoreThan(0, 1)]
Count = Annotated[int, Between(1, BEYOND_USE)]
