"""`README.md` of a run: its model card, made of the files in its directory. One that somebody has edited is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transfer_cli.errors import UserError, first_line
from transfer_cli.files import atomic_write_text, file_sha256
from transfer_cli.methods.intervals import Interval, score_intervals
from transfer_cli.records import predictions
from transfer_cli.records.cards.card import card
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.pages.predicted import Predicted, read_predicted
from transfer_cli.rundir import CONFIG, DATASET, SUMMARY, completed_summary, name_of, read_json
from transfer_cli.runs.reports.reading import OTHER_CONTENT, read_yaml

CARD = "README.md"
MODEL, WEIGHTS = "model.json", "model.safetensors"
EXPORTS, REPORT = "export", "export.json"
_MARK = re.compile(r"<!-- transfer-run:([0-9a-f]{16}) -->\n\Z")
"""The last line, with a digest of those before it."""


def leave_card(directory: Path, warn: Callable[[str], None]) -> None:
    """Write the card of a run that is complete and has a model. What stands in the way is a warning."""
    try:
        if not has_model(directory):
            return
        if is_edited(directory / CARD):
            warn(f"{directory / CARD} was edited and is kept as it is; without it, mode=report makes it anew.")
        else:
            write_card(directory)
    except Exception as error:  # the run is done, with its card or without
        warn(
            f"{directory / CARD} could not be written ({first_line(error)}); all else of the run is there. Once that "
            f"is mended, transfer-run mode=report run={directory} makes it."
        )


def has_model(directory: Path) -> bool:
    """Whether a run is complete and has a model, and so something that a card is about."""
    return completed_summary(directory) is not None and (directory / MODEL).is_file()


def is_edited(path: Path) -> bool:
    """Whether a file is there that is no card as it was written."""
    if not path.is_file():
        return False
    text = path.read_bytes().decode("utf-8", "replace")
    found = _MARK.search(text)
    return found is None or _digest(text[: found.start()]) != found[1]


def write_card(directory: Path) -> None:
    """Write `README.md`, unless it is there already. Raises OSError, UserError for files that no run leaves."""
    path, found = directory / CARD, card_of(directory)
    if not path.is_file() or path.read_bytes() != found.encode("utf-8", "backslashreplace"):
        atomic_write_text(path, found)


def card_of(directory: Path, cleaned: Callable[[CardFacts], CardFacts] = lambda facts: facts) -> str:
    """The card, with the line that tells whether somebody has edited it since. Raises UserError as above.

    `cleaned` leaves out what is not to be said.
    """
    try:
        found = f"{card(cleaned(gather(directory)))}\n"
    except OTHER_CONTENT as error:
        raise UserError(
            f"{directory}: its files hold something else than a run leaves ({first_line(error)})."
        ) from error
    return f"{found}<!-- transfer-run:{_digest(found)} -->\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def gather(directory: Path) -> CardFacts:
    """All that the card says."""
    summary, dataset = read_json(directory / SUMMARY), read_json(directory / DATASET)
    _, config = read_yaml(directory / CONFIG)
    model = read_json(directory / MODEL)
    predicted = _predicted(directory, model.get("classes"))
    plots = directory / "plots"
    return CardFacts(
        # A run may be named as `.`, from within.
        name=name_of(directory),
        summary=summary,
        config=config,
        environment=read_json(directory / "environment.json"),
        dataset=dataset,
        model=model,
        predicted=predicted,
        intervals={} if predicted is None else _intervals(predicted, summary),
        pictures=sorted(path.name for path in plots.glob("*.png")),
        exports=_exports(directory),
        soup=read_json(directory / "soup.json"),
        searched=(directory / "search.json").is_file(),
    )


def _predicted(directory: Path, classes: Any) -> Predicted | None:
    """Of the test split, where labels say what is right."""
    path = directory / predictions.NAME
    if not path.is_file() or not classes:
        return None
    try:
        found = read_predicted(path, classes)
    except (OSError, ValueError):
        return None
    return found if found.known.any() else None


def _intervals(predicted: Predicted, summary: dict[str, Any]) -> dict[str, Interval]:
    test, found = summary.get("test") or {}, score_intervals(predicted.confusion, int(summary.get("seed") or 0))
    return {name: interval for name, interval in found.items() if test.get(name) is not None}


def _exports(directory: Path) -> list[dict[str, Any]]:
    """What has been exported into the run itself, and compared with its model, which is still the same."""
    reports = {path.parent: read_json(path) for path in sorted(directory.glob(f"{EXPORTS}/*/{REPORT}"))}
    sha256 = file_sha256(directory / WEIGHTS) if reports and (directory / WEIGHTS).is_file() else None
    return [
        {**report, "folder": folder.relative_to(directory).as_posix()}
        for folder, report in reports.items()
        if report.get("compared") and report.get("model_sha256") == sha256 and (folder / "example.py").is_file()
    ]
