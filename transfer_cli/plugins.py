"""What other installed packages add: backbones, data sets, strategies and loggers, by entry points.

A package says in its pyproject.toml, for instance,

    [project.entry-points."transfer_run.datasets"]
    plankton = "my_package.plankton"

Packages that are installed are trusted as this one is: a name in a file of a run finds what is among them, and nothing
else. Only a name that is not one of ours is looked for here.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from transfer_cli.errors import UserError, first_line

Kind = Literal["models", "datasets", "strategies", "loggers"]


def names(kind: Kind) -> list[str]:
    """What installed packages add of a kind."""
    return sorted({point.name for point in _points(kind)})


def find(kind: Kind, name: str) -> Any:
    """What is added under a name; None where nothing is. Raises UserError for what cannot be imported."""
    found = [point for point in _points(kind) if point.name == name]
    return _loaded(kind, found[0]) if found else None


def load_all(kind: Kind) -> None:
    """Import everything of a kind, which then registers itself. Raises UserError for what cannot be imported."""
    for point in _points(kind):
        _loaded(kind, point)


def _points(kind: Kind) -> list[EntryPoint]:
    return [*entry_points(group=f"transfer_run.{kind}")]


def _loaded(kind: Kind, point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        package = point.dist.name if point.dist else "an installed package"
        raise UserError(
            f"{package} adds {point.name} to transfer_run.{kind}, and it cannot be imported ({first_line(error)})."
        ) from error
