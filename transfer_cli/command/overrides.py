"""The overrides of a command, `key=value` and `group=option`: parsed once, in Hydra's grammar, for all who ask."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transfer_cli.command.typed_text import as_typed, with_signs_quoted
from transfer_cli.config.commands import REPEATS
from transfer_cli.errors import UserError, unknown

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

SWEEPERS = ("basic", "search")
"""What proposes the jobs of a sweep: every combination, or a search."""
_SWEEPER = "hydra/sweeper"
_SWEEP_FOLDER = "sweep.folder"
_KEY = re.compile(r"[+~]{0,2}[\w./@]+", re.ASCII)
_NUMBERS = re.compile(r"[-+.,eE\d]*\d[-+.,eE\d]*")
_NEXT = re.compile(rf" (?={_KEY.pattern}=)", re.ASCII)
"""The blank before an override."""


@dataclass(frozen=True)
class Overrides:
    """The arguments of a command that are no flags, in their order. `parsed` is Hydra's reading of them."""

    parsed: tuple[Override, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """As they were typed."""
        return [text_of(override) for override in self.parsed]

    def names(self, key: str) -> bool:
        """Whether the command sets or deletes the dotted `key`, or chooses or deletes what holds it.

        Prefixes (`+`, `++`, `~`) and packages (`group@package`) make no difference; `model={name: x}` names model.name.
        """
        named = {name for override in self.parsed for name in _named(override)}
        return any(key == name or key.startswith(f"{name}.") for name in named)

    def of(self, *groups: str) -> list[str]:
        """The arguments that set one of these keys or something in these groups, or choose an option, as typed."""
        return [
            text_of(override)
            for override in self.parsed
            if any(named == group or named.startswith(f"{group}.") for named in _named(override) for group in groups)
        ]

    def without(self, *groups: str) -> Overrides:
        """These but those that `of` gives."""
        left_out = {*self.of(*groups)}
        return Overrides(tuple(one for one in self.parsed if text_of(one) not in left_out))

    @property
    def swept(self) -> list[Override]:
        """Those with several values, for the jobs of a sweep."""
        return [override for override in self.parsed if override.is_sweep_override()]

    @property
    def shared(self) -> list[Override]:
        """Those with one value for all jobs of a sweep."""
        return [override for override in self.parsed if not override.is_sweep_override()]

    @property
    def shared_words(self) -> list[str]:
        """Those of `shared`, as they were typed."""
        return [text_of(override) for override in self.shared]

    def without_hydra(self) -> list[str]:
        """The arguments that are not about Hydra itself, as they were typed."""
        return [text_of(override) for override in self.parsed if not override.is_hydra_override()]

    def sweeper(self) -> tuple[str, Overrides]:
        """What proposes the jobs of a sweep, and the overrides without that word. Raises UserError for another one."""
        words = [override for override in self.parsed if override.key_or_group == _SWEEPER]
        names = [str(word.value()) for word in words] or [SWEEPERS[0]]
        if names[-1] not in SWEEPERS:
            raise unknown(_SWEEPER, names[-1], SWEEPERS)
        return names[-1], Overrides(tuple(override for override in self.parsed if override not in words))

    def grid_size(self) -> int:
        """How many jobs a sweep over these has. Raises UserError for what cannot be listed or holds no value."""
        from hydra.core.override_parser.types import Glob, RangeSweep

        count = 1
        for override in self.swept:
            value = override.value()
            if isinstance(value, RangeSweep) and not value.step:
                raise UserError(f"{override.input_line}: a range with steps of 0 has no end.")
            if isinstance(value, Glob):
                raise UserError(f"{override.input_line}: a pattern cannot be listed; name the options.")
            if not override.is_discrete_sweep():
                raise UserError(f"{override.input_line}: a range without steps cannot be listed; name the values.")
            values = sum(1 for _ in override.sweep_string_iterator())
            if not values:
                raise UserError(f"{override.input_line}: holds no values, so that there is nothing to run.")
            count *= values
        return count

    def combinations(self) -> list[list[str]]:
        """The arguments of each job of a sweep, in Hydra's order.

        Raises UserError for a range that cannot be listed.
        """
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        self.grid_size()
        batches = BasicSweeper.split_arguments(list(self.parsed), max_batch_size=None)
        return [list(job) for batch in batches for job in batch]

    def each_value_once(self) -> Iterator[Overrides]:
        """Jobs of a sweep in which each swept value occurs. Raises UserError for a range that cannot be listed."""
        self.grid_size()
        values = [
            [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
            for override in self.swept
        ]
        firsts = [several[0] for several in values]
        yield parse_overrides([*self.shared_words, *firsts])
        for position, several in enumerate(values):
            for value in several[1:]:
                yield parse_overrides([*self.shared_words, *firsts[:position], value, *firsts[position + 1 :]])


def text_of(override: Override) -> str:
    """As it was typed."""
    return override.input_line or ""


def parse_overrides(arguments: Sequence[str]) -> Overrides:
    """Arguments in Hydra's grammar. Raises UserError with every one that is not."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    parser = OverridesParser.create()
    parsed: list[Override] = []
    problems = []
    for argument in arguments:
        try:
            quoted = with_signs_quoted(_in_full(argument))
            (read,) = parser.parse_overrides([quoted])
            typed = as_typed(read)
            parsed += [read] if typed == quoted else parser.parse_overrides([typed])
        except OverrideParseException:
            problems.append(_unreadable(argument))
    if problems:
        raise UserError("\n".join(problems))
    return Overrides(tuple(parsed))


def words_in(text: str) -> list[str]:
    """Overrides that blanks part, as a leaderboard has them; values may hold blanks themselves."""
    return _NEXT.split(text) if text else []


def without_repeats(words: Iterable[str]) -> list[str]:
    """The overrides that tell one configuration from another: all but those of seed and fold, which repeat it."""
    return [word for word in words if word.lstrip("+").partition("=")[0] not in REPEATS]


def _in_full(argument: str) -> str:
    """The argument, `sweep=<folder>` as the key that it stands for."""
    key, equals, value = argument.partition("=")
    return f"{_SWEEP_FOLDER}={value}" if equals and key == "sweep" and not value.startswith("{") else argument


def _unreadable(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals and _NUMBERS.fullmatch(argument):
        return (
            f"{argument}: expected key=value; several values of a key stand together, as in -m optimizer.lr=1e-3,1e-4."
        )
    if not equals:
        return f"{argument}: expected key=value, such as strategy=finetune or optimizer.lr=0.01."
    if value.startswith("choice(") and "null" in value:
        return f"{argument}: choice() takes no null; name the values, as in '{key}={value[7:].rstrip(')')}'."
    if _KEY.fullmatch(key) and '"' not in value:
        return f"{argument}: cannot be read; quote the value, as in '{key}=\"{value}\"'."
    return f"{argument}: cannot be read; expected key=value, quoted as in 'name=\"a, b\"'."


def _named(override: Override) -> list[str]:
    """The dotted keys that an override sets or deletes; a group where it chooses an option."""
    key = override.key_or_group.replace("/", ".")
    value = None if override.is_sweep_override() else override.value()
    return _leaves(value, key) if isinstance(value, dict) and value else [key]


def _leaves(values: dict[Any, Any], prefix: str) -> list[str]:
    keys: list[str] = []
    for name, value in values.items():
        key = f"{prefix}.{name}"
        keys += _leaves(value, key) if isinstance(value, dict) and value else [key]
    return keys
