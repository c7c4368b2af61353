"""Settings that a run chooses for itself where they say auto, and what a run that goes on has chosen already."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

AUTO: Literal["auto"] = "auto"
CHOSEN = ("strategy.keep_probe",)
"""Keys of single values that are chosen by the run; config.yaml has what was chosen."""

Value = TypeVar("Value")


def chosen(value: Value | Literal["auto"]) -> Value:
    """A setting that is no longer auto: whoever computes with it comes after the choice."""
    assert value != AUTO
    return value


def adopted(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our plain values, with what the run that they go on with has chosen in place of auto."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in ours.items()}
    for key in CHOSEN:
        group, _, name = key.rpartition(".")
        place, found = (result[group], theirs[group]) if group else (result, theirs)
        if place.get(name) == AUTO and name in found:
            place[name] = found[name]
    return result
