"""The page of an audit: the images whose labels are likely wrong, and those that are almost the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transfer_cli.records.pages import pictures
from transfer_cli.records.pages.render import count, percent, render
from transfer_cli.records.pages.run_tables import tile


@dataclass(frozen=True)
class Seen:
    """An image; `picture` is a data URI where it could be read."""

    path: str
    split: str
    label: str | None
    picture: str | None

    @property
    def pixels(self) -> bool:
        """Whether it is so small that its pixels are to be seen."""
        return pictures.is_small(self.picture)


@dataclass(frozen=True)
class Suspect:
    """An image, the class that it looks like, and the probabilities of its label and of that class."""

    image: Seen
    suggested: str
    p_label: float
    p_suggested: float
    likely: bool


@dataclass(frozen=True)
class Twin:
    """Two images that are almost the same."""

    one: Seen
    other: Seen
    similarity: float


@dataclass(frozen=True)
class ClassRow:
    """A class, its labelled images, how many are likely of another class, and of which most often."""

    name: str
    images: int
    likely: int
    suggested: str | None


@dataclass(frozen=True)
class AuditFacts:
    """All that the page shows."""

    title: str
    dataset: str
    images: int
    likely: int
    accuracy: float | None
    """Of the heads on what they had not seen."""
    across_splits: int
    suspects: Sequence[Suspect]
    twins: Sequence[Twin]
    classes: Sequence[ClassRow]
    model: str


def audit_page(facts: AuditFacts) -> str:
    """The page as HTML; the same facts give the same bytes."""
    share = percent(facts.likely / facts.images) if facts.images else ""
    tiles = [
        tile("Images", count(facts.images), f"of {facts.dataset}"),
        tile("Labels likely wrong", count(facts.likely), f"{share} of them"),
        tile("Told apart", percent(facts.accuracy), f"by features of {facts.model}, images it had not seen"),
        tile("Alike across splits", count(facts.across_splits), "pairs of images"),
    ]
    sections = [
        ("labels", "Labels", facts.suspects),
        ("alike", "Alike", facts.twins),
        ("classes", "Classes", facts.classes),
    ]
    return render(
        "audit.html",
        title=facts.title,
        kind="Audit",
        figures=tiles,
        facts_=facts,
        sections=[(anchor, name) for anchor, name, there in sections if there],
    )
