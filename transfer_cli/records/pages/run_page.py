"""The page of one run, from what lies in its directory."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from transfer_cli.records.pages import charts, pictures, run_tables, words
from transfer_cli.records.pages.explain_page import Shown
from transfer_cli.records.pages.predicted import Predicted, by_class, calibration, most_confused
from transfer_cli.records.pages.render import count, render, score, seconds

Facts = Mapping[str, Any]
MATRIX_UP_TO = 30
"""Classes; of more a matrix cannot be read, and the most confused pairs take its place."""
_PAIRS = {"few": 10, "many": 40}
_SPLITS = {"train": "training", "val": "choosing the best epoch and settings", "test": "evaluated once, at the end"}


@dataclass(frozen=True)
class Example:
    """An image of the test split; `true` is None without a label, `picture` a data URI where it can be shown."""

    path: str
    true: str | None
    guess: str
    confidence: float
    picture: str | None

    @property
    def right(self) -> bool:
        """Whether it was called what it is."""
        return self.true == self.guess

    @property
    def pixels(self) -> bool:
        """Whether the picture is so small that its pixels are to be seen."""
        return pictures.is_small(self.picture)

    @property
    def alt(self) -> str:
        """What it is, in words."""
        return f"Image of class {self.true}" if self.true is not None else f"Image called {self.guess}"


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run; what its directory lacks is empty, and `absent` says what the page misses for it."""

    place: str
    """Its directory, from where it was made."""
    summary: Facts
    config: Facts
    config_text: str
    environment: Facts
    dataset: Facts
    events: Sequence[Facts]
    parameters: Sequence[Sequence[str]]
    predicted: Predicted | None
    sheet: tuple[str, int, int] | None
    mistakes: Sequence[Example] = ()
    uncertain: Sequence[Example] = ()
    explained: Sequence[Shown] = ()
    absent: Sequence[str] = ()


def run_page(facts: RunFacts) -> str:
    """The page as HTML; the same facts give the same bytes."""
    s = facts.summary
    values: dict[str, Any] = {
        "title": PurePath(facts.place).name or facts.place,
        "kind": "Run",
        "lead": _lead(facts),
        "status": str(s.get("status") or "unfinished"),
        "error": s.get("error"),
        "absent": facts.absent,
        "figures": run_tables.figures(s, facts.predicted),
        "done": run_tables.done(s, facts.config),
        "command": words.command(facts.environment),
        "config": facts.config_text,
        "sheet": facts.sheet,
        "mistakes": facts.mistakes,
        "uncertain": facts.uncertain,
        "explained": facts.explained,
        "environment": run_tables.environment(facts.environment),
        "best_epoch": s.get("best_epoch"),
    }
    for part in (_repeat, _images, _curves, _scores, _test, _mistakes, _parameters, _times):
        values |= part(facts)
    return render("run.html", **values, sections=_sections(values))


def _sections(values: Facts) -> list[tuple[str, str]]:
    """The anchors and names of those sections that the page has."""
    names = {
        "done": ("done", "What was done"),
        "splits": ("data", "Images"),
        "scores": ("scores", "Scores"),
        "curves": ("curves", "Curves"),
        "matrix": ("confusion", "Confusion"),
        "confused": ("confused", "Confused pairs"),
        "of_classes": ("classes", "Classes"),
        "reliability": ("calibration", "Calibration"),
        "mistakes": ("mistakes", "Mistakes"),
        "uncertain": ("uncertain", "Uncertain"),
        "explained": ("heat", "Heat"),
        "sheet": ("samples", "Samples"),
        "groups": ("parameters", "Parameters"),
        "times": ("time", "Time"),
        "environment": ("environment", "Environment"),
    }
    return [place for key, place in names.items() if values[key]]


def _lead(facts: RunFacts) -> str:
    s = facts.summary
    what = " ".join(str(s[key]) for key in ("strategy", "model") if s.get(key))
    on = f" on {s['dataset']}" if s.get("dataset") else ""
    when = str(facts.environment.get("time") or "").partition("T")[0]
    return f"{what or 'A run'}{on}" + (f", {when}" if when else "")


def _repeat(facts: RunFacts) -> Facts:
    if not facts.config_text or facts.summary.get("soup"):
        # config.yaml of a soup is that of its best run, and would train that.
        return {"repeat": None, "repeat_note": ""}
    folder = facts.environment.get("folder")
    where = f" in {folder}" if folder else ""
    return {
        "repeat": shlex.join(["transfer-run", "--config-path", facts.place, "name=again"]),
        "repeat_note": f"To be run{where}, where the data set is. The settings in config.yaml are complete: nothing is "
        "chosen anew.",
    }


def _images(facts: RunFacts) -> Facts:
    images, skipped = facts.dataset.get("images") or {}, facts.dataset.get("skipped") or []
    classes = len(facts.dataset.get("classes") or [])
    name = (facts.config.get("dataset") or {}).get("path") or facts.dataset.get("name")
    note = f"{sum(images.values()):,} images of {name}, {f'{classes:,} classes' if classes else 'without labels'}."
    if skipped:
        note += f" {len(skipped):,} could not be read and were left out; dataset.json lists them."
    splits = [{"name": name, "images": images[name], "use": use} for name, use in _SPLITS.items() if name in images]
    return {"splits": splits, "data_note": note}


def _curves(facts: RunFacts) -> Facts:
    """Loss and accuracy over the epochs, and all scores as a table."""
    by_split = {
        split: [event for event in facts.events if event["split"] == split and event["epoch"] is not None]
        for split in ("train", "val")
    }
    # One epoch is no curve; the table of scores has it.
    several = len({event["epoch"] for events in by_split.values() for event in events}) > 1
    drawn = []
    best = facts.summary.get("best_epoch") if by_split["val"] else None
    for name, share in (("loss", False), ("accuracy", True)):
        lines = [
            charts.Line(split, [(int(event["epoch"]), event.get(name)) for event in events])
            for split, events in by_split.items()
            if events
        ]
        chart = charts.curves(name, lines, best, share=share)
        if chart is not None and several:
            drawn.append((name.capitalize(), chart))
    columns, rows = run_tables.epochs(by_split)
    return {"curves": drawn, "epoch_columns": columns, "epochs": rows}


def _scores(facts: RunFacts) -> Facts:
    s = facts.summary
    splits = [split for split in ("val", "test") if s.get(split)]
    names = dict.fromkeys(name for split in splits for name in s[split])
    rows = [(run_tables.NAMES.get(name, name), [score(s[split].get(name), name) for split in splits]) for name in names]
    epoch = s.get("best_epoch")
    whose = (
        s.get("soup")
        or words.mixture(s)
        or ("the trained weights" if epoch is None else f"the weights of epoch {epoch}")
    )
    note = f"Of {whose}, which {s.get('metric', 'accuracy')} on validation chose."
    return {"scores": rows, "score_splits": splits, "scores_note": note}


def _test(facts: RunFacts) -> Facts:
    """What the predictions of the test split show."""
    found = facts.predicted
    nothing = dict.fromkeys(("matrix", "confused", "of_classes", "reliability"))
    if found is None or not found.known.any():
        return {**nothing, "classes": (), "tall": False, "confused_note": "", "calibration_note": ""}
    confusion, few = found.confusion, len(found.classes) <= MATRIX_UP_TO
    pairs = most_confused(confusion, found.classes, _PAIRS["few" if few else "many"])
    bins, error = calibration(found)
    said = (facts.summary.get("test") or {}).get("ece", error)
    return {
        "matrix": run_tables.matrix(confusion, found.classes) if few else None,
        "classes": found.classes,
        "tall": max(map(len, found.classes)) > 3,
        "confused": pairs,
        "confused_note": "In one direction each, the most frequent first, with their share of the true class."
        + ("" if few else f" A matrix of {len(found.classes):,} classes could not be read."),
        "of_classes": run_tables.of_classes(by_class(confusion, found.classes), facts.dataset),
        "reliability": charts.reliability(bins, error),
        "calibration_note": words.calibration_note(said, found) + words.temperature_note(facts.summary),
    }


def _mistakes(facts: RunFacts) -> Facts:
    found = facts.predicted
    if found is None:
        return {"mistakes_note": ""}
    wrong = int(found.wrong.sum())
    shown = len(facts.mistakes)
    many = "all of them" if shown == wrong else f"the {shown} that it was surest of"
    return {
        "mistakes_note": f"{wrong:,} test images were called something else; here are {many}. Look at the labels, too."
    }


def _parameters(facts: RunFacts) -> Facts:
    counts = facts.summary.get("parameters") or {}
    note = f"{count(counts.get('trainable'))} of {count(counts.get('total'))} parameters train."
    return {"groups": run_tables.groups(facts.parameters), "groups_note": note}


def _times(facts: RunFacts) -> Facts:
    parts = facts.summary.get("seconds") or {}
    known = {name: value for name, value in parts.items() if isinstance(value, int | float)}
    whole = sum(known.values())
    rows = [
        {"name": run_tables.PARTS.get(name, name), "seconds": value, "width": round(100 * value / whole, 1)}
        for name, value in known.items()
        if whole
    ]
    return {"times": rows, "times_note": f"{seconds(whole)} in all, start-up of the program apart."}
