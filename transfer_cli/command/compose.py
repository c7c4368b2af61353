"""Command-line words into one composed configuration, by Hydra; when Hydra refuses, into words to act on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from transfer_cli.command.source import ConfigSource, compose_plainly, options
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MANY_COMBINATIONS = 64
_KEY = re.compile(r"[+~]{0,2}[\w./@]+", re.ASCII)


def compose(source: ConfigSource, overrides: list[str]) -> DictConfig:
    """The composed configuration. Raises UserError with every wrong word of the command."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from transfer_cli.command.diagnosis import accepted_but_meaningless, diagnose

    parsed = parse_overrides(overrides)
    problems = accepted_but_meaningless(parsed, options(source))
    if problems:
        raise UserError("\n".join(problems))
    try:
        return compose_plainly(source, overrides)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{mark.name}, line {mark.line + 1}" if mark else "an option's file"
        raise UserError(f"{place}: no YAML: {getattr(error, 'problem', None) or error}.") from error
    # ValueError and TypeError: from a list's index that is no number, say, or a group that is set to null.
    except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
        raise UserError("\n".join(diagnose(source, parsed) or [in_words(error)])) from error


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Plain Python values with interpolations resolved. Raises UserError for an interpolation that leads nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(in_words(error)) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def combinations(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, in Hydra's order; of a very large grid, each swept value once."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = parse_overrides(overrides)
    if grid_size(parsed) <= MANY_COMBINATIONS:
        return [list(job) for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for job in batch]
    plain = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    swept = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        for override in parsed
        if override.is_sweep_override()
    ]
    firsts = [values[0] for values in swept]
    return [
        [*plain, *firsts[:position], value, *firsts[position + 1 :]]
        for position, values in enumerate(swept)
        for value in values
    ]


def grid_size(parsed: list[Override]) -> int:
    """How many jobs a sweep has. Raises UserError for a range that cannot be listed."""
    count = 1
    for override in parsed:
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UserError(f"{override.input_line}: a range without steps cannot be listed; name the values.")
            count *= max(1, sum(1 for _ in override.sweep_string_iterator()))
    return count


def parse_overrides(overrides: list[str]) -> list[Override]:
    """Overrides in Hydra's grammar. Raises UserError with every one that is not."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    parser = OverridesParser.create()
    parsed: list[Override] = []
    problems = []
    for text in overrides:
        try:
            parsed += parser.parse_overrides([text])
        except OverrideParseException:
            key, equals, value = text.partition("=")
            if equals and _KEY.fullmatch(key) and '"' not in value:
                problems.append(f"{text}: cannot be read; quote the value, as in '{key}=\"{value}\"'.")
            elif equals:
                problems.append(f"{text}: cannot be read; expected key=value, quoted as in 'name=\"a, b\"'.")
            else:
                problems.append(f"{text}: expected key=value, such as strategy=finetune or optimizer.lr=0.01.")
    if problems:
        raise UserError("\n".join(problems))
    return parsed


def in_words(error: Exception) -> str:
    """What Hydra or OmegaConf say, behind the key they mean."""
    key, message = getattr(error, "full_key", None), getattr(error, "msg", None)
    if key and message:
        return f"{key}: {message.splitlines()[0]}."
    return " ".join(line.strip() for line in str(error).splitlines()[:3] if line.strip())
