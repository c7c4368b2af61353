"""The page of what a model looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transfer_cli.records.pages.render import render


@dataclass(frozen=True)
class Shown:
    """An image beside its heat, and the class that the heat is of; `label` None where its own is not known."""

    path: str
    label: str | None
    picture: str
    """Both, as a data URI."""
    predicted: str
    probability: float


def explain_page(title: str, model: str, shown: Sequence[Shown]) -> str:
    """The page as HTML; the same facts give the same bytes."""
    return render("explain.html", title=title, kind="Explanations", model=model, shown=shown, sections=[])
