"""All configurations of a sweep, before its first job starts: a file edited later changes nothing that waits."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transfer_cli.command.compose import compose, to_plain
from transfer_cli.command.overrides import Overrides, parse_overrides, text_of
from transfer_cli.command.source import ConfigSource, options
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Composed:
    """The configuration of one job, as plain values, and the words it was made from."""

    words: tuple[str, ...]
    """Those of the job alone and those that all jobs share, without Hydra's own."""
    own: tuple[str, ...]
    """Those of keys that are swept."""
    values: dict[str, Any]


def compose_grid(source: ConfigSource, overrides: Overrides) -> Iterator[Composed]:
    """The jobs of a sweep over these, in Hydra's order.

    Each value of each key is composed by Hydra once, and each combination of options; what remains are single values
    that are set in a copy, as Hydra itself does it last. Raises UserError as `compose` does, and for a range that
    cannot be listed, or a word that a search alone reads.
    """
    for word in overrides.of("sweep.trials", "sweep.sampler", "sweep.pruner"):
        raise UserError(f"{word}: only a search reads it; add hydra/sweeper=search.")
    for job in overrides.each_value_once():
        compose(source, job)
    compose(source, overrides, multirun=True)
    swept = {override.get_key_element() for override in overrides.swept}
    return composed(source, overrides.combinations(), swept)


def composed(source: ConfigSource, combinations: Iterable[list[str]], swept: set[str]) -> Iterator[Composed]:
    """The configurations of words that are known to be right; `swept` are the keys whose words are a job's own."""
    groups = options(source)
    bases: dict[tuple[str, ...], DictConfig] = {}
    for words in combinations:
        parsed = parse_overrides(words).parsed
        single = [one for one in parsed if one.get_key_element() in swept and _is_value(one, groups)]
        base = tuple(text_of(one) for one in parsed if one not in single)
        if base not in bases:
            bases[base] = compose(source, parse_overrides(base))
        own = tuple(text_of(one) for one in parsed if one.get_key_element() in swept)
        shown = tuple(text_of(one) for one in parsed if not one.is_hydra_override())
        yield Composed(shown, own, to_plain(_with(bases[base], single)))


def _is_value(override: Override, groups: dict[str, list[str]]) -> bool:
    return override.key_or_group not in groups and override.package is None


def _with(config: DictConfig, overrides: list[Override]) -> DictConfig:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    changed = copy.deepcopy(config)
    ConfigLoaderImpl._apply_overrides_to_config(overrides, changed)
    return changed
