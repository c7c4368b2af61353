"""What becomes of an error of a run that has begun: its summary says so, and what was saved is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfer_cli.errors import RunError, Stopped, UserError, is_out_of_memory, out_of_memory
from transfer_cli.records.events import Recorders, RunEnd


@contextmanager
def as_run_errors(directory: Path) -> Iterator[None]:
    """Errors of a run that has begun, as RunErrors: there is a directory already."""
    try:
        yield
    except UserError as error:
        # Found only while running: a damaged image, say.
        raise RunError(str(error)) from error
    except OSError as error:
        reason = _reason(error, directory)
        raise RunError(f"{reason}. What was saved so far is kept; fix this, then go on with resume=auto.") from error


@contextmanager
def recording_failure(recorders: Recorders, directory: Path, known: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Whatever ends the run early reaches the recorders, so that its summary says so, with what is `known` by then."""

    def end(status: str, error: str) -> None:
        summary = {"status": status, "error": error, **known()}
        recorders.run_ends(RunEnd(directory, summary))

    try:
        yield
    except Stopped as stopped:
        end(stopped.status, str(stopped))
        raise
    except KeyboardInterrupt:
        end("interrupted", "interrupted twice: stopped at once")
        raise
    except Exception as error:
        end("failed", _reason(error, directory))
        raise


def _reason(error: Exception, directory: Path) -> str:
    if is_out_of_memory(error):
        return out_of_memory(error)
    if isinstance(error, OSError):
        return f"{error.filename or directory}: {error.strerror or error}"
    return str(error) if isinstance(error, RunError | UserError) else f"{type(error).__name__}: {error}"
