"""Numbers with limits, as configuration types."""

from __future__ import annotations

from typing import Annotated

from transfer_cli.convert import BEYOND_USE, Between, MoreThan

Positive = Annotated[float, MoreThan(0)]
NotNegative = Annotated[float, Between(0)]
Fraction = Annotated[float, Between(0, 1)]
Share = Annotated[float, MoreThan(0, 1)]
Count = Annotated[int, Between(1, BEYOND_USE)]
