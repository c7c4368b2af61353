"""Packages that are not always there: imported where used, and missing in the user's terms."""

from __future__ import annotations

import importlib
from types import ModuleType

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
