"""The first line of a user's recipe, without which Hydra puts its keys where nothing reads them."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_cli.command.overrides import Overrides
from transfer_cli.command.source import RECIPES, ConfigSource
from transfer_cli.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

HEADER = "# @package _global_"
_COMMENT = re.compile(r"#\s*@")
_HEADER = re.compile(r"#\s*@package\s+_global_\s*")


def check_composed(source: ConfigSource, composed: DictConfig) -> None:
    """Raises UserError for keys that are below `experiment`; `composed` includes the `hydra` node."""
    from omegaconf import DictConfig

    lost = composed.get(RECIPES)
    if not lost:
        return
    keys = ", ".join(map(str, lost)) if isinstance(lost, DictConfig) else str(lost)
    file = _file(source, str(composed.hydra.runtime.choices.get(RECIPES)))
    if file is None:
        raise UserError(f"{RECIPES}={keys}: expected the name of a recipe.")
    raise UserError(_message(file, f" ({keys})"))


def check_chosen(source: ConfigSource, overrides: Overrides) -> None:
    """Raises UserError where a composition has failed and the recipe that was chosen lacks its first line."""
    for override in overrides.parsed:
        if override.key_or_group == RECIPES and not override.is_sweep_override():
            file = _file(source, str(override.value()))
            if file is not None and not has_header(file):
                raise UserError(_message(file, ""))


def has_header(file: Path) -> bool:
    """Whether a file's keys are those of the whole configuration, which Hydra reads from its very first lines."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    head = takewhile(_COMMENT.match, (line.strip() for line in lines if line.strip()))
    return any(_HEADER.fullmatch(line) for line in head)


def _file(source: ConfigSource, option: str) -> Path | None:
    files = [folder / RECIPES / f"{option}.yaml" for folder in reversed(source.group_folders())]
    return next((file for file in files if file.is_file()), None)


def _message(file: Path, keys: str) -> str:
    return (
        f"{file}, line 1: a recipe starts with the line `{HEADER}`; without it Hydra takes its keys{keys} for keys of "
        f"`{RECIPES}`, and nothing reads them. Add that line above all others."
    )
