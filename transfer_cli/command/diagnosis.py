"""What is wrong with the overrides of a command: which key, what was found, what was probably meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from transfer_cli.command.hydra_settings import LAUNCHER_PACKAGES, LAUNCHERS
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource, compose_plainly, launchers, options
from transfer_cli.errors import did_you_mean

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

_AS_NEAR = 0.1


def accepted_but_meaningless(overrides: Overrides, groups: dict[str, list[str]]) -> list[str]:
    """Messages about overrides that Hydra would accept without effect, or with one that nobody wants."""
    problems = []
    for override in overrides.parsed:
        key, value = override.key_or_group, override.value()
        if re.split(r"[./]", key)[0] == "hydra" and not _is_a_launchers(override):
            problems.append(
                f"{override.input_line}: transfer-run sets this itself. output_dir=<folder> and name=<name> say where "
                "a run goes, -m makes a sweep, hydra/launcher=<launcher> chooses where its jobs run, and "
                "--config-dir=<folder> adds options of your own."
            )
        elif override.is_delete() and key not in groups:
            problems.append(f"{override.input_line}: a key cannot be left out. Leave the word out to keep its value.")
        elif override.is_delete() and not (value is None or isinstance(value, str)):
            problems.append(f"{override.input_line}: expected ~{key}, or ~{key}=<option>.")
        elif key == "hydra/launcher" and isinstance(value, str) and value not in LAUNCHERS:
            problems.append(f"{override.input_line}: no such launcher.{did_you_mean(value, LAUNCHERS)}")
        elif key in groups and isinstance(value, str) and ".." in value.split("/"):
            problems.append(
                f"{override.input_line}: an option is a name, not a path. Options of your own are read from "
                "--config-dir=<folder>."
            )
        elif key in groups and isinstance(value, list):
            problems.append(f"{override.input_line}: expected one option of the group; add -m to sweep over several.")
    return problems


def _is_a_launchers(override: Override) -> bool:
    """Whether it chooses a launcher or sets one of its options; what is to be imported is never one."""
    key = override.key_or_group
    return (key == "hydra/launcher" or key.startswith("hydra.launcher.")) and "_target_" not in (
        override.input_line or ""
    )


def diagnose(source: ConfigSource, overrides: Overrides) -> list[str]:
    """A message for every override that Hydra cannot apply."""
    groups, parsed = options(source), overrides.parsed
    problems = [problem for override in parsed if (problem := _group_problem(source, override, groups))]
    if problems:
        return problems
    named = [one for one in parsed if one.key_or_group in groups and not isinstance(one.value(), dict)]
    choices = [override.input_line or "" for override in named]
    keys = _keys(source, choices)
    if keys is None:
        return []
    return [problem for override in parsed if (problem := _key_problem(source, override, groups, keys))]


def _group_problem(source: ConfigSource, override: Override, groups: dict[str, list[str]]) -> str | None:
    key = override.key_or_group
    value: Any = override.value()
    if override.is_sweep_override() and not key.startswith("hydra"):
        return f"{override.input_line}: several values for one run; add -m to sweep over them."
    if key == "hydra/launcher":
        return _launcher_problem(str(value), launchers(source))
    if key not in groups or override.is_delete() or isinstance(value, dict):
        return None
    if override.is_add() or override.package is not None:
        return f"{override.input_line}: the group has an option already; write {key}={value}."
    shown = "null" if value is None else str(value)
    if shown in groups[key]:
        return None
    hint = did_you_mean(shown, groups[key])
    more = " Any other torchvision or timm model works by name: model.name=<name>." if key == "model" else ""
    return f"{key}={shown}: no such option.{hint} Options: {', '.join(groups[key]) or 'none yet'}.{more}"


def _launcher_problem(name: str, installed: list[str]) -> str | None:
    if name in installed or name not in LAUNCHER_PACKAGES:
        return None
    return (
        f"hydra/launcher={name}: not installed; `pip install {LAUNCHER_PACKAGES[name]}` brings it. Installed: "
        f"{', '.join(installed)}."
    )


def _key_problem(source: ConfigSource, override: Override, groups: dict[str, list[str]], keys: list[str]) -> str | None:
    key, value = override.key_or_group, override.value()
    if isinstance(value, dict) and (key in keys or key in groups):
        return _mapping_problem(override, groups, keys)
    if key in groups or key.startswith("hydra"):
        return None
    if key in keys:
        return f"{override.input_line}: {key} is there already; leave the + out." if override.is_add() else None
    elsewhere = _options_with(source, key, groups)
    near = [] if elsewhere else _near_keys(key, [*keys, *groups])
    if elsewhere:
        hint = f" It belongs to {' or '.join(elsewhere[:5])}."
    elif near:
        hint = f" Did you mean {' or '.join(near)}?"
    else:
        hint = " `transfer-run --help` lists the groups, `--cfg job` all keys."
    return f"{key}: no such key.{hint}"


def _mapping_problem(override: Override, groups: dict[str, list[str]], keys: list[str]) -> str | None:
    """What is wrong with {key: value, ...} in place of a value: it may set keys that are there below it."""
    key, below = override.key_or_group, [*map(str, override.value())]  # type: ignore[arg-type]
    known = [one.removeprefix(f"{key}.") for one in keys if one.startswith(f"{key}.")]
    if not known:
        return f"{override.input_line}: {key} is no group of keys; expected a value, or a list as in {key}=[a,b]."
    unknown = [one for one in below if one not in known]
    if not unknown:
        return None
    hint = did_you_mean(unknown[0], known) or (f" Its options are {', '.join(groups[key])}." if key in groups else "")
    return f"{override.input_line}: {key} has no key {unknown[0]}.{hint}"


def _near_keys(key: str, valid: list[str]) -> list[str]:
    """Up to three: those that look alike, about equally, and those of the same last part."""
    valid = [*dict.fromkeys(valid)]
    alike = difflib.get_close_matches(key, valid, n=3, cutoff=0.6)
    ratios = {name: difflib.SequenceMatcher(None, name, key).ratio() for name in alike}
    near = [name for name in alike if ratios[name] > max(ratios.values()) - _AS_NEAR]
    leaf = key.rsplit(".", 1)[-1]
    return (near + [name for name in valid if name.rsplit(".", 1)[-1] == leaf and name not in near])[:3]


def _options_with(source: ConfigSource, key: str, groups: dict[str, list[str]]) -> list[str]:
    """The options of a group that have this key, such as dataset=fake for dataset.samples."""
    group, _, leaf = key.partition(".")
    if group not in groups or not leaf or "." in leaf:
        return []
    files = [folder / group / f"{name}.yaml" for name in groups[group] for folder in source.group_folders()]
    line = re.compile(rf"^ *{re.escape(leaf)}:", re.MULTILINE)
    return [f"{group}={file.stem}" for file in files if file.is_file() and line.search(file.read_text("utf-8"))]


def _keys(source: ConfigSource, choices: list[str]) -> list[str] | None:
    """Every dotted key of the configuration that these group choices compose; None where their files do not."""
    from hydra.errors import HydraException

    try:
        keys = _dotted(compose_plainly(source, choices))
    except HydraException:
        return None
    return [key for key in keys if key.split(".")[0] != "hydra"]


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
