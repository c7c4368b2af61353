"""Which of Hydra's own settings YAML files may hold: none that runs code, moves a run or adds a place to load from.

Hydra builds callbacks, launchers, sweepers and logging handlers from its own part of the configuration, by import
paths that any file may hold. So a composition with files of the user's is compared with one of our files alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource, compose_plainly, conf_dir, search_path
from transfer_cli.errors import UserError
from transfer_cli.yaml_files import check_file, loaded_yaml

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Where launchers of sweeps come from. Hydra brings `basic`, one job after the other.
LAUNCHER_PACKAGES = {
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}
LAUNCHERS = ("basic", *LAUNCHER_PACKAGES)

# Options that a file may choose of Hydra's own groups.
_CHOICES = {
    "hydra/launcher": LAUNCHERS,
    "hydra/sweeper": ("basic",),
    "hydra/job_logging": ("default", "none"),
    "hydra/hydra_logging": ("default", "none"),
}
# Keys that a file may set, to these values: Hydra makes no folder of its own.
_VALUES = {"output_subdir": None, "run.dir": "."}
# Filled in by Hydra at each composition; overrides that a file adds are looked for separately.
_FILLED_IN = ("overrides.", "runtime.", "job.override_dirname", "job.config_name", "searchpath")
_NAMED = 3

OURS = ["hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none"]
"""Overrides of a multirun, for configurations that do not hold these settings, such as that of a run."""


def check_files(source: ConfigSource) -> None:
    """Raises UserError for what Hydra would load or import before its settings can be looked at."""
    if source.is_ours():
        return

    for folder in source.own_folders():
        if (folder / "hydra").is_dir():
            raise UserError(
                f"{folder / 'hydra'}: options of Hydra's own are not read from files. Remove this folder; choose a "
                "launcher with hydra/launcher=<launcher> and set its options with hydra.launcher.<key>=<value>."
            )
    file = source.path / f"{source.name}.yaml"
    # At any depth: a defaults list reaches every file in these folders.
    for one in (file, *(one for folder in source.own_folders() for one in sorted(folder.rglob("*.yaml")))):
        try:
            check_file(one)
        except ValueError as error:
            raise UserError(f"{one} cannot be read: {error}.") from error
    try:
        values = loaded_yaml(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    if _holds(values, "searchpath"):
        raise UserError(f"{file}: hydra.searchpath is not read from files; name the folder with --config-dir=<folder>.")


def check_hydra_settings(source: ConfigSource, composed: DictConfig, overrides: Overrides) -> None:
    """Raises UserError where files hold other settings of Hydra; `composed` includes the `hydra` node."""
    if source.is_ours():
        return
    choices = {group: choice for group, choice in composed.hydra.runtime.choices.items() if group in _CHOICES}
    wrong = [f"{group}={choice}" for group, choice in choices.items() if choice not in _CHOICES[group]]
    if not wrong:
        added = _added(source, composed, choices, overrides)
        wrong = [f"hydra.{key}" for key in added if key not in _VALUES or added[key] != _VALUES[key]]
    if wrong:
        raise UserError(
            f"{', '.join(wrong[:_NAMED])}: a YAML file{_where(source)} sets this. Hydra runs code that its settings "
            "name, so of these a file may choose a launcher by its name, and nothing else. Remove it."
        )


def _added(source: ConfigSource, composed: DictConfig, choices: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Keys of Hydra's node, with values, that neither our files nor the command's overrides account for."""
    own = [override.input_line or "" for override in overrides.parsed if override.is_hydra_override()]
    chosen = [f"{group}={choice}" for group, choice in choices.items() if not overrides.names(group.replace("/", "."))]
    ours = ConfigSource(conf_dir(), None, None)
    expected = _flat(compose_plainly(ours, [*chosen, *own]).hydra)
    found = _flat(composed.hydra)
    differing = {key: found.get(key) for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    differing = {key: value for key, value in sorted(differing.items()) if not key.startswith(_FILLED_IN)}
    differing = {key: value for key, value in differing.items() if not any(k.startswith(f"{key}.") for k in differing)}
    listed = composed.hydra.overrides
    if [*listed.task] != overrides.without_hydra() or [*listed.hydra] != [search_path(source), *own]:
        differing["overrides"] = None
    return differing


def _flat(node: DictConfig) -> dict[str, Any]:
    """Dotted keys and their values; interpolations as they are written, since they may differ from job to job."""
    from omegaconf import OmegaConf

    def flat(values: dict[Any, Any], prefix: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, dict) and value:
                result |= flat(value, f"{prefix}{key}.")
            else:
                result[f"{prefix}{key}"] = value
        return result

    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return flat(values, "")


def _where(source: ConfigSource) -> str:
    """The files that may be meant: those with the word hydra."""
    folders = source.own_folders()
    files = [file for folder in folders for file in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")])]
    suspects = [str(file) for file in files if "hydra" in file.read_text(encoding="utf-8", errors="replace")]
    return f" ({', '.join(suspects[:_NAMED])})" if suspects else ""


def _holds(values: Any, key: str) -> bool:
    """Whether a mapping, or one within it, has this key."""
    if isinstance(values, dict):
        return key in values or any(_holds(value, key) for value in values.values())
    return isinstance(values, list) and any(_holds(value, key) for value in values)
