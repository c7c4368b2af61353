"""Settings that a user might try in place of the default: points drawn once, the same for every set."""

from __future__ import annotations

import random

from tests.benchmarks.evidence.methods import Recipe

_CHOICES: dict[str, list[str]] = {
    "augment": ["none", "light", "standard", "strong"],
    "strategy.unfreeze": ["all", "all", "2"],
    "strategy.layer_decay": ["1.0", "0.8", "0.65"],
    "strategy.head_init": ["zero", "probe", "model"],
    "strategy.keep_probe": ["true", "false"],
    "strategy.batch_norm": ["train", "frozen"],
    "strategy.label_smoothing": ["0.0", "0.1"],
}
_LOWEST, _HIGHEST = 1e-4, 1e-2
"""Of AdamW's rate; what lies between is as likely at every factor of ten."""


def points(count: int) -> list[Recipe]:
    """The first `count` of one endless list, so that a longer sweep goes on from a shorter one."""
    draw = random.Random(0)
    found = []
    for _ in range(count):
        rate = _LOWEST * (_HIGHEST / _LOWEST) ** draw.random()
        chosen = [f"{key}={draw.choice(values)}" for key, values in _CHOICES.items()]
        found.append(Recipe(("strategy=finetune", f"optimizer.lr={rate:.3g}", *chosen)))
    return found


def name_of(number: int) -> str:
    """What a point is called in results."""
    return f"sweep_{number:02d}"
