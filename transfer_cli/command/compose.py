"""One configuration, composed by Hydra from YAML files and the overrides of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transfer_cli.command.hydra_settings import check_files, check_hydra_settings
from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import ConfigSource, compose_plainly, options
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(source: ConfigSource, overrides: Overrides, multirun: bool = False) -> DictConfig:
    """The composed configuration, without Hydra's own part. `multirun`: what the jobs of a sweep share.

    Raises UserError with every wrong override, and for a file with settings of Hydra that no file may hold.
    """
    import yaml
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    from transfer_cli.command.diagnosis import accepted_but_meaningless, diagnose
    from transfer_cli.command.recipe_header import check_chosen, check_composed
    from transfer_cli.command.yaml_text import check_encoding, check_text

    problems = accepted_but_meaningless(overrides, options(source))
    if problems:
        raise UserError("\n".join(problems))
    try:
        check_files(source)
        config = compose_plainly(source, overrides.arguments, multirun)
        check_hydra_settings(source, config, overrides)
        check_composed(source, config)
        check_text(source, config)
    except UnicodeDecodeError as error:
        check_encoding(source)
        raise UserError(f"a YAML file is not UTF-8 text ({error.reason}).") from error
    except yaml.YAMLError as error:
        raise UserError(yaml_problem(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        check_chosen(source, overrides)
        raise UserError("\n".join(diagnose(source, overrides) or [message_of(error)])) from error
    with open_dict(config):
        del config["hydra"]
    return config


def yaml_problem(error: Exception) -> str:
    """The message for a file that is no YAML: where, and why."""
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}, line {mark.line + 1}" if mark else "an option's file"
    return f"{place}: no YAML: {getattr(error, 'problem', None) or error}."


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Plain Python values with interpolations resolved. Raises UserError for an interpolation that leads nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        values = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(message_of(error)) from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def message_of(error: Exception) -> str:
    """The message of an error of Hydra or OmegaConf, after the key that it is about."""
    if not str(error) and isinstance(error.__cause__, Exception):
        return message_of(error.__cause__)
    key, message = getattr(error, "full_key", None), getattr(error, "msg", None)
    if key and message:
        return f"{key}: {message.splitlines()[0]}."
    return " ".join(line.strip() for line in str(error).splitlines()[:3] if line.strip())
