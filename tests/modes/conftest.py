"""Runs that stop at a chosen step, without a process of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from transfer_cli.engine.signals import StopRequest
from transfer_cli.errors import EXIT_PREEMPTED
from transfer_cli.modes import find_lr, train


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """`stop_at(n)`: as if a signal came before the n-th look at the flag, about one a step; None: never."""

    def install(looks: int | None) -> None:
        class Stopping(StopRequest):
            left = looks

            @property
            def code(self) -> int | None:
                if self.left is None:
                    return None
                self.left -= 1
                return EXIT_PREEMPTED if self.left <= 0 else None

            @code.setter
            def code(self, value: int | None) -> None:
                pass

        for module in (train, find_lr):
            monkeypatch.setattr(module, "StopRequest", Stopping)

    return install
