"""What a command only asks about: its configuration as YAML, and what Hydra answers itself."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from transfer_cli.command.source import ConfigSource
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PLACES = ("--config-path", "-cp", "--config-dir", "-cd")


def configuration(config: DictConfig, package: str | None, *, resolved: bool) -> str:
    """The configuration, or what a dotted key of it holds. Raises UserError for a key that is not there."""
    from omegaconf import OmegaConf

    shown: object = config
    if resolved:
        from transfer_cli.command.compose import to_plain

        to_plain(config)
    if package:
        selected = OmegaConf.select(config, package)
        if selected is None:
            raise UserError(f"--package={package}: no such key.")
        shown = selected if OmegaConf.is_config(selected) else {package: selected}
    try:
        return OmegaConf.to_yaml(shown, resolve=resolved)
    except ValueError as error:
        # A number of more digits than Python writes.
        raise UserError(f"the configuration cannot be shown: {error}") from error


def ask_hydra(
    source: ConfigSource, argv: list[str], folders: Mapping[str | None, str], write: Callable[[str], None]
) -> None:
    """Write what Hydra answers to --info, --hydra-help, --cfg hydra, and its own completion for the shell.

    `folders`: whole paths of those that the command names, since to Hydra a relative one lies beside its caller's file.
    """
    import hydra

    words = []
    for position, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if equals and name in _PLACES:
            words.append(f"{name}={folders[value]}")
        else:
            words.append(folders[word] if position and argv[position - 1] in _PLACES else word)
    sys.argv = [sys.argv[0], *words]
    answer = io.StringIO()
    try:
        with contextlib.redirect_stdout(answer):
            hydra.main(config_path=str(source.path), config_name=source.name, version_base="1.3")(lambda config: None)()
    finally:
        write(answer.getvalue())
