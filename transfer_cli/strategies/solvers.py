"""Ways to fit a head, by name."""

from __future__ import annotations

from collections.abc import Callable

from transfer_cli.strategies import grid
from transfer_cli.strategies.extract import Fitted, Fitting

SOLVERS: dict[str, Callable[[Fitting], Fitted]] = {"optimizer": grid.by_optimizer}
