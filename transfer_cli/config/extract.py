"""Types and limits of the keys of `strategy=extract`; conf/strategy/extract.yaml describes them."""

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
    solver: Literal["auto", "optimizer", "lbfgs", "ridge", "ncm", "knn"]
    head: Literal["linear", "mlp"]
    hidden: Count
    pooling: Literal["auto", "average", "token"]
    stages: tuple[str, ...]
    standardize: bool
    label_smoothing: Annotated[float, Between(0, 0.99)]
    neighbours: tuple[Count, ...]
    groups: Count
    cache: bool
    grid: Grid


def linear_probe(
    solver: Literal["auto", "optimizer", "lbfgs", "ridge"], rates: tuple[float, ...] = (), *, standardize: bool = True
) -> Extract:
    """A linear head on the network's own features: what other modes and strategies probe with."""
    return Extract(
        name="extract",
        solver=solver,
        head="linear",
        hidden=1,
        pooling="auto",
        stages=(),
        standardize=standardize,
        label_smoothing=0.0,
        neighbours=(20,),
        groups=1,
        cache=True,
        grid=Grid(rates, (), ()),
    )
