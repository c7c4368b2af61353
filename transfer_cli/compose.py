"""Command-line words into one composed configuration, by Hydra; when Hydra refuses, into words to act on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MANY_COMBINATIONS = 64
_KEY = re.compile(r"[+~]{0,2}[\w./@]+", re.ASCII)


@dataclass(frozen=True)
class ConfigSource:
    """Where the YAML comes from: the primary config, and a folder of the user's own options."""

    path: Path
    name: str
    extra: Path | None

    def group_folders(self) -> list[Path]:
        """Every folder that may hold option groups, the user's own last."""
        return [folder for folder in (self.path, self.extra) if folder is not None]


def conf_dir() -> Path:
    """The folder of our YAML files: inside the package when installed from a wheel, beside it in a checkout."""
    packaged = Path(__file__).parent / "conf"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "conf"


def options(source: ConfigSource) -> dict[str, list[str]]:
    """The options of each group, by group name."""
    groups: dict[str, set[str]] = {}
    for folder in source.group_folders():
        for group in folder.glob("[!._]*/"):
            groups.setdefault(group.name, set()).update(file.stem for file in group.glob("*.yaml"))
    return {group: sorted(names) for group, names in sorted(groups.items())}


def compose(source: ConfigSource, overrides: list[str]) -> DictConfig:
    """The composed configuration. Raises UserError with every wrong word of the command."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from transfer_cli.diagnosis import accepted_but_meaningless, diagnose

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


def compose_plainly(source: ConfigSource, overrides: list[str]) -> DictConfig:
    """Hydra's composition, and Hydra's errors."""
    import hydra

    search = [f"hydra.searchpath=['file://{source.extra}']"] if source.extra else []
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
        return hydra.compose(source.name, [*search, *overrides])


def launchers(source: ConfigSource) -> list[str]:
    """The launchers of sweeps that are installed."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
        return sorted(GlobalHydra.instance().config_loader().get_group_options("hydra/launcher"))


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
