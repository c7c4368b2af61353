"""Settings that a run chooses for itself where they say auto, and what a run that goes on has chosen already."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Literal, TypeVar

AUTO: Literal["auto"] = "auto"
CHOSEN = (
    *("image_size", "image_fit", "trainer.epochs", "trainer.evaluate_every", "trainer.batch_size", "optimizer.lr"),
    "trainer.patience",
    *("strategy.solver", "strategy.keep_probe", "strategy.head_init", "strategy.batch_norm", "strategy.layer_decay"),
    *("strategy.ema", "strategy.wise_ft"),
    *("strategy.use_teacher", "strategy.teacher.run"),
)
"""Keys of single values that are chosen by the run; config.yaml has what was chosen."""
_OF_TEACHER = tuple(f"strategy.adapt.{key.removeprefix('strategy.')}" for key in CHOSEN if key.startswith("strategy."))
"""Keys that the run of a teacher chooses: a student's config.yaml says auto, or what was the default before."""

MEASURED: dict[str, Any] = {
    "crop_scale": None,
    "crop_ratio": [1.0, 1.0],
    "flip": 0.0,
    "vertical_flip": 0.0,
    "rotate": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
}
"""Keys of `augment` that augment=auto chooses, with what they are where nothing is said of them."""

Value = TypeVar("Value")


def chosen(value: Value | Literal["auto"]) -> Value:
    """A setting that is no longer auto: whoever computes with it comes after the choice."""
    assert value != AUTO
    return value


def is_open(values: dict[str, Any]) -> bool:
    """Whether plain values of an experiment leave something to be chosen."""
    places = (_place(values, key) for key in CHOSEN)
    return any(place.get(name) == AUTO for place, name in places) or values["augment"]["name"] == AUTO


def adopted(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our plain values, with what the run that they go on with has chosen in place of auto."""
    result = deepcopy(ours)
    for key in (*CHOSEN, *_OF_TEACHER):
        (place, name), (found, _) = _place(result, key), _place(theirs, key)
        if place.get(name) == AUTO and name in found:
            place[name] = found[name]
    own, measured = result["augment"], theirs["augment"]
    if own["name"] == AUTO:
        taken = {key for key, unsaid in MEASURED.items() if own[key] == unsaid}
        own |= {key: value for key, value in measured.items() if key in taken or key == "name"}
    return result


def settled(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Keys that our plain values leave open and theirs do not."""
    found = []
    for key in (*CHOSEN, *_OF_TEACHER):
        (own, name), (their, _) = _place(ours, key), _place(theirs, key)
        if own.get(name) == AUTO and their.get(name, AUTO) != AUTO:
            found.append(key)
    return found


def place_of(values: dict[str, Any], group: str) -> dict[str, Any]:
    """The mapping that a dotted group names; an empty one where there is none."""
    for name in group.split(".") if group else []:
        values = values.get(name, {})
    return values


def _place(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted key, and its name there."""
    group, _, name = key.rpartition(".")
    return place_of(values, group), name
