"""What is evaluated at the end of every epoch of the loop: a new evaluator is a line here."""

from __future__ import annotations

EVALUATORS: dict[str, tuple[str, ...]] = {
    "transfer_cli.runs.evaluation.validation": ("val",),
}
"""Functions of an `Evaluation` that give scores by the name of the log's lines, and the splits that each reads."""


def evaluated_splits() -> set[str]:
    """Splits whose pixels of evaluation are needed in every run of the loop."""
    return {split for splits in EVALUATORS.values() for split in splits}
