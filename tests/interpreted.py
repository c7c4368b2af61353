"""Modules of Triton kernels as Triton's interpreter runs them, without a GPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest


@contextmanager
def interpreted(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module imported anew: Triton looks whether it interprets as it meets a kernel."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    sys.modules.pop(name, None)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)
