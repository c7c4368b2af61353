"""What an audit leaves: all labels with their suspicion, all pairs that are almost the same, and a page to look at."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from transfer_cli.csv_files import write_csv
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.files import atomic_write_text, write_json
from transfer_cli.records.pages import pictures
from transfer_cli.records.pages.audit_page import AuditFacts, ClassRow, Seen, Suspect, Twin, audit_page
from transfer_cli.runs.audit.findings import Findings
from transfer_cli.runs.reports.reading import PAGE

LABELS, DUPLICATES, SUMMARY = "labels.csv", "duplicates.csv", "audit.json"
LABEL_COLUMNS = ("path", "split", "label", "suggested", "likely_wrong", "p_label", "p_suggested")
PAIR_COLUMNS = ("path", "split", "label", "other_path", "other_split", "other_label", "similarity")
_SHOWN_PAIRS = 24


def keep(directory: Path, found: Findings, about: dict[str, Any], shown: int) -> None:
    """Write all of it. Raises OSError."""
    write_csv(directory / LABELS, LABEL_COLUMNS, label_rows(found))
    write_csv(directory / DUPLICATES, PAIR_COLUMNS, pair_rows(found))
    write_json(directory / SUMMARY, about)
    facts = AuditFacts(
        directory.name,
        found.images.name,
        len(found.members),
        found.likely,
        None if found.held is None else found.held.accuracy,
        found.across_splits,
        [_suspect(found, position) for position in _order(found)[:shown]],
        [_twin(found, number) for number in range(min(len(found.pairs), _SHOWN_PAIRS))],
        by_class(found),
        str(about["model"]),
    )
    atomic_write_text(directory / PAGE, audit_page(facts))


def label_rows(found: Findings) -> list[list[str | float | None]]:
    """A row for each labelled image, the most suspicious first, with `LABEL_COLUMNS`."""
    assert found.labels is None or found.held is not None
    rows: list[list[str | float | None]] = []
    for place in _order(found):
        position, suggested, chances = _about(found, place)
        likely = "yes" if found.labels is not None and found.labels.likely[place] else "no"
        own, other = (f"{chance:.6f}" for chance in chances)
        rows.append(
            [found.name(position), found.splits[position], found.label(position), suggested, likely, own, other]
        )
    return rows


def pair_rows(found: Findings) -> list[list[str | float | None]]:
    """A row for each pair, the most alike first, with `PAIR_COLUMNS`."""
    rows: list[list[str | float | None]] = []
    for pair in found.pairs:
        both = [[found.name(one), found.splits[one], found.label(one)] for one in (pair.one, pair.other)]
        rows.append([*both[0], *both[1], f"{pair.similarity:.4f}"])
    return rows


def by_class(found: Findings) -> list[ClassRow]:
    """Of each class its images, how many are likely of another, and of which most often."""
    if found.labels is None:
        return []
    labels = found.images.labels[found.members[found.labelled]]
    likely, suggested = found.labels.likely, found.labels.suggested
    rows = []
    for number, name in enumerate(found.images.classes):
        own = labels == number
        wrong = suggested[own & likely]
        most = found.images.classes[int(np.bincount(wrong).argmax())] if len(wrong) else None
        rows.append(ClassRow(name, int(own.sum()), len(wrong), most))
    return sorted(rows, key=lambda row: -row.likely)


def _order(found: Findings) -> list[int]:
    return [] if found.labels is None else found.labels.order.tolist()


def _about(found: Findings, place: int) -> tuple[int, str, tuple[float, float]]:
    """Of a labelled image its position, the class it looks like, and the probabilities of its label and of that."""
    assert found.labels is not None and found.held is not None
    position, suggested = int(found.labelled[place]), int(found.labels.suggested[place])
    label = int(found.images.labels[found.members[position]])
    chances = found.held.probabilities[place]
    return position, found.images.classes[suggested], (float(chances[label]), float(chances[suggested]))


def _suspect(found: Findings, place: int) -> Suspect:
    position, suggested, (own, other) = _about(found, place)
    assert found.labels is not None
    return Suspect(_seen(found, position), suggested, own, other, bool(found.labels.likely[place]))


def _twin(found: Findings, number: int) -> Twin:
    pair = found.pairs[number]
    return Twin(_seen(found, pair.one), _seen(found, pair.other), pair.similarity)


def _seen(found: Findings, position: int) -> Seen:
    picture = None
    # It could be read before; the page says that it is gone.
    with contextlib.suppress(DecodeError):
        picture = pictures.thumbnail(np.asarray(found.images.read(int(found.members[position]))))
    return Seen(found.name(position), found.splits[position], found.label(position), picture)
