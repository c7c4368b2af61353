"""What is imported only where it is used: packages that are not always there, and names of our own tables."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from transfer_cli.errors import UserError


def need(module: str, extra: str, what: str) -> ModuleType:
    """The module; UserError saying which extra to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if (error.name or "").split(".")[0] != package:
            raise  # it is there, but something of its own is not
        raise UserError(
            f"{what} needs the package {package}, which is not installed: pip install 'transfer-run[{extra}]'."
        ) from None


def named(path: str) -> Any:
    """What a dotted path in one of our own tables names, imported only now. Never for a path that comes from a file."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
