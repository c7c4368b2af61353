"""One training among several: its failure is told and not raised, so that the others run; a signal ends them all."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from transfer_cli.errors import (
    EXIT_BUG,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USER,
    RunError,
    UserError,
    is_out_of_memory,
    out_of_memory,
)
from transfer_cli.records.outlet import write_error


def attempt(work: Callable[[], object]) -> tuple[int, str | None]:
    """The exit code of `work`, and its message where it failed. Stopped and KeyboardInterrupt go through."""
    try:
        work()
        return EXIT_OK, None
    except (UserError, RunError) as error:
        code, message = EXIT_USER if isinstance(error, UserError) else EXIT_FAILED, str(error)
    except Exception as error:
        if is_out_of_memory(error):
            code, message = EXIT_FAILED, out_of_memory(error)
        else:
            traceback.print_exc()
            code, message = EXIT_BUG, f"{type(error).__name__}: {error}"
    write_error(f"error: {message}")
    return code, message
