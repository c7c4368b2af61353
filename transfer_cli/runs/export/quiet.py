"""Silence around libraries that print: torch's exporter and ONNX Runtime write to both streams, from C++ as well."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Nothing that is printed, logged or warned of inside reaches the user; errors do."""
    before = logging.root.manager.disable
    with tempfile.TemporaryFile() as nowhere, warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        text = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        stack.enter_context(contextlib.redirect_stdout(text))
        stack.enter_context(contextlib.redirect_stderr(text))
        for number in (1, 2):
            stack.enter_context(_elsewhere(number, nowhere.fileno()))
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _elsewhere(number: int, target: int) -> Iterator[None]:
    """File descriptor `number` leads to `target`."""
    kept = os.dup(number)
    os.dup2(target, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
