"""Sentences on a run that its page and its card have in common."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from transfer_cli.records.pages.predicted import Predicted
from transfer_cli.records.pages.render import number, percent

Facts = Mapping[str, Any]


def command(environment: Facts) -> str | None:
    """The command as it was given, in the program's own name."""
    given = environment.get("command")
    if not isinstance(given, str):
        return None
    try:
        words = shlex.split(given)
    except ValueError:
        return given
    return shlex.join(["transfer-run", *words[1:]])


def mixture(summary: Facts) -> str | None:
    """What is in the model besides the weights of its epoch, where they were mixed (WiSE-FT)."""
    share, epoch = (summary.get("wise_ft") or {}).get("share"), summary.get("best_epoch")
    if not isinstance(share, int | float) or not 0 < share < 1:
        return None
    return (
        f"{share:g} of the weights of epoch {epoch}, {1 - share:g} of the frozen network with a fitted head (WiSE-FT)"
    )


def calibration_note(error: float, found: Predicted) -> str:
    """What the expected calibration error on the test split means."""
    confidence = float(found.confidence[found.known].mean())
    accuracy = float(found.right[found.known].mean())
    which = "too sure of itself" if confidence > accuracy else "more modest than it had to be"
    if percent(confidence) == percent(accuracy):
        which = "as sure as it may be"
    return (
        f"Expected calibration error (ECE) {error:.4f} on {int(found.known.sum()):,} test images: confidence and "
        f"accuracy are {percent(error)} apart on average. The network is {which}: it says {percent(confidence)} and is "
        f"right in {percent(accuracy)}."
    )


def temperature_note(summary: Facts) -> str:
    """What a temperature that was fitted afterwards does; other figures are those before it."""
    found = summary.get("calibration")
    if not isinstance(found, dict):
        return ""
    return (
        f" The model divides its outputs by a temperature of {number(found.get('temperature'))} since: on validation "
        f"that takes the ECE from {number(found.get('before'))} to {number(found.get('after'))}."
    )
