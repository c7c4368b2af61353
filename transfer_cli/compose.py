"""Command-line words into one composed configuration, by Hydra; when Hydra refuses, into words to act on."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer_cli.errors import UserError, nearest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

MANY_COMBINATIONS = 64


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
        for file in sorted(folder.glob("*/*.yaml")):
            groups.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(groups.items())}


def compose(source: ConfigSource, overrides: list[str]) -> DictConfig:
    """The composed configuration. Raises UserError with every wrong word of the command."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
            return hydra.compose(source.name, [*_search_path(source), *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("\n".join(_diagnose(source, overrides) or [_first_lines(error)])) from error


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Plain Python values with interpolations resolved. Raises UserError for an interpolation that leads nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_first_lines(error)) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def combinations(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job of a sweep, in Hydra's order; of a very large grid, each swept value once."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = parse_overrides(overrides)
    count = 1
    for override in parsed:
        if override.is_sweep_override():
            if not override.is_discrete_sweep():
                raise UserError(f"{override.input_line}: a range without steps cannot be listed; name the values.")
            count *= max(1, sum(1 for _ in override.sweep_string_iterator()))
    if count <= MANY_COMBINATIONS:
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


def _search_path(source: ConfigSource) -> list[str]:
    return [f"hydra.searchpath=['file://{source.extra}']"] if source.extra else []


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
            if "=" in text:
                problems.append(f"{text}: cannot be read; quote a value with special characters, as in 'key=\"a, b\"'.")
            else:
                problems.append(f"{text}: expected key=value, such as strategy=finetune or optimizer.lr=0.01.")
    if problems:
        raise UserError("\n".join(problems))
    return parsed


def _diagnose(source: ConfigSource, overrides: list[str]) -> list[str]:
    """One sentence for every override that Hydra cannot take."""
    try:
        parsed = parse_overrides(overrides)
    except UserError as error:
        return [str(error)]
    groups = options(source)
    problems = [problem for override in parsed if (problem := _group_problem(override, groups))]
    if problems:
        return problems
    choices = [override.input_line or "" for override in parsed if override.key_or_group in groups]
    keys = _keys(source, choices)
    return [problem for override in parsed if (problem := _key_problem(override, groups, keys))]


def _group_problem(override: Override, groups: dict[str, list[str]]) -> str | None:
    key = override.key_or_group
    value: Any = override.value()
    shown = str(value)
    if override.is_sweep_override() and not key.startswith("hydra"):
        return f"{override.input_line}: several values for one run; add -m to sweep over them."
    if key not in groups or override.is_delete() or isinstance(value, (dict, list)) or value is None:
        return None
    if shown in groups[key]:
        return None
    near = nearest(shown, groups[key])
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    more = " Any other torchvision or timm model works by name: model.name=<name>." if key == "model" else ""
    return f"{key}={shown}: no such option.{hint} Options: {', '.join(groups[key])}.{more}"


def _key_problem(override: Override, groups: dict[str, list[str]], keys: list[str]) -> str | None:
    key = override.key_or_group
    if key in groups or key in keys or override.is_add() or key.startswith("hydra"):
        return None
    valid = [*keys, *groups]
    near = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    leaf = key.rsplit(".", 1)[-1]
    near += [name for name in valid if name.rsplit(".", 1)[-1] == leaf and name not in near]
    hint = (
        f" Did you mean {' or '.join(near[:3])}?"
        if near
        else " `transfer-run --help` lists the groups, `--cfg job` all keys."
    )
    return f"{key}: no such key.{hint}"


def _keys(source: ConfigSource, choices: list[str]) -> list[str]:
    """Every dotted key of the configuration that these group choices compose."""
    import hydra
    from hydra.errors import HydraException

    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(source.path)):
            config = hydra.compose(source.name, [*_search_path(source), *choices])
    except HydraException:
        return []
    return list(_dotted(config))


def _dotted(config: DictConfig, prefix: str = "") -> list[str]:
    from omegaconf import DictConfig, OmegaConf

    keys = []
    for name in config:
        key = prefix + str(name)
        keys.append(key)
        child = (
            None
            if OmegaConf.is_missing(config, name) or OmegaConf.is_interpolation(config, str(name))
            else config[name]
        )
        if isinstance(child, DictConfig):
            keys += _dotted(child, f"{key}.")
    return keys


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:3] if line.strip())
