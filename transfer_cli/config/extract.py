"""Options of `strategy=extract`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from transfer_cli.config.convert import Between, Count, NotNegative, Positive


@dataclass(frozen=True)
class Grid:
    """Heads that are trained together: every combination of these; an empty list is the run's own value alone."""

    lr: tuple[Positive, ...]
    weight_decay: tuple[NotNegative, ...]
    seed: tuple[Annotated[int, Between(0, 2**31 - 1)], ...]


@dataclass(frozen=True)
class Extract:
    """`strategy=extract`: a head on the features of a backbone that never changes."""

    name: Literal["extract"]
    solver: Literal["optimizer", "lbfgs", "ridge", "ncm", "knn"]
    head: Literal["linear", "mlp"]
    hidden: Count
    """Units of the hidden layer of `head=mlp`."""
    pooling: Literal["auto", "average", "token"]
    stages: tuple[str, ...]
    """Stages whose pooled outputs are concatenated; none: the network's own features."""
    standardize: bool
    label_smoothing: Annotated[float, Between(0, 0.99)]
    neighbours: tuple[Count, ...]
    """Numbers of neighbours that `solver=knn` tries on validation."""
    groups: Count
    """Groups of like images (k-means) where there are no labels."""
    cache: bool
    grid: Grid
