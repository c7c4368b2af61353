"""What is imported only where it is used: packages that are not always there, and names of our own tables."""

from __future__ import annotations

import importlib
import importlib.util
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
        raise UserError(_missing(package, extra, what)) from None


def lacking(package: str, extra: str, what: str) -> str | None:
    """What `need` would say of a missing package, which is looked for and not imported; None where it is there."""
    return None if importlib.util.find_spec(package) else _missing(package, extra, what)


def _missing(package: str, extra: str, what: str) -> str:
    return f"{what} needs the package {package}, which is not installed: pip install 'transfer-run[{extra}]'."


def named(path: str) -> Any:
    """What a dotted path in one of our own tables names, imported only now. Never for a path that comes from a file."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
