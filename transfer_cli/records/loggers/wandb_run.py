"""logger=wandb: a run in Weights & Biases, the jobs of a sweep as a group.

Offline, in the run directory, where there is neither WANDB_API_KEY nor WANDB_MODE: `wandb sync <run>/wandb/offline-*`
sends it later.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from transfer_cli.records.loggers.logger import Run

_NAME = "wandb"
_PROJECT = "transfer-run"


class WandbLogger:
    """One run there for a run here; a resumed one goes on."""

    def __init__(self) -> None:
        self._run: Any = None
        self._waits = False

    @property
    def remote(self) -> bool:
        """Whether it is not offline."""
        return _mode() not in ("offline", "disabled")

    def begins(self, run: Run) -> bool:
        """Start the run there, under its earlier name if it had one."""
        import wandb

        known = run.id_of(_NAME)
        os.environ["WANDB_MODE"] = _mode()
        with self._waiting():
            if self.remote:
                self._leave_at_exit(wandb.setup())
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", _PROJECT),
                name=run.name,
                id=known,
                resume="allow",
                group=None if run.sweep is None else run.sweep.name,
                dir=str(run.directory),
                config=dict(run.settings),
                reinit="create_new",
                settings=wandb.Settings(silent=True, console="off", init_timeout=30),
            )
        run.keep_id(_NAME, str(self._run.id))
        return known is None

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Logged at the step."""
        with self._waiting():
            self._run.log({**values, "epoch": epoch}, step=step)

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """The final scores; the run there ends."""
        with self._waiting():
            self._run.summary.update({**summary, "status": status})
            self._run.finish(exit_code=0 if status == "completed" else 1)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Within, the library does something that may take for ever; it still waits where that failed."""
        self._waits = True
        yield
        self._waits = False

    def _leave_at_exit(self, library: Any) -> None:
        """Its process of its own is waited for when ours ends, half a minute or more; not where it was given up."""

        def leave() -> None:
            # The library offers no way not to wait.
            with suppress(AttributeError, TypeError):
                if self._waits:
                    service._cleanup()

        with suppress(AttributeError):
            service = library.ensure_service()
            # After the library's own, so that it comes first.
            atexit.register(leave)


def _mode() -> str:
    return os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
