"""Whether an exported model computes what the run does, and what quantisation costs.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.errors import RunError, first_line
from transfer_cli.runs.export.samples import Samples
from transfer_cli.runs.export.subject import Runner, Subject

TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
"""Of a logit, and in parts of an image's largest one where that is more: float32 rounds to parts of a number."""
_BATCH = 64


def run_on(
    open_model: Callable[[], Runner], subject: Subject, pixels: Tensor, *, alike: bool = True
) -> NDArray[np.float32]:
    """Logits [N, K] in batches, the first image once more alone: a program may have taken the batch for a constant.

    Raises RunError where it does not run, or gives other logits then, if these are to be `alike`: what rounds by the
    range of a batch is not.
    """
    parts = [pixels[first : first + _BATCH] for first in range(0, len(pixels), _BATCH)]
    try:
        runner = open_model()
        logits = np.concatenate([runner(subject.inputs(part)) for part in parts])
        alone = runner(subject.inputs(pixels[:1]))
    except Exception as error:  # each library has its own types
        raise RunError(f"the exported model does not run ({first_line(error)}); nothing is kept.") from error
    if alike and (alone.shape != logits[:1].shape or _differing(logits[:1], alone).any()):
        raise RunError("the exported model gives an image other logits in a batch than alone; nothing is kept.")
    return logits


def largest_difference(expected: NDArray[np.float32], found: NDArray[np.float32], what: str, advice: str = "") -> float:
    """The largest difference between logits [N, K]. Raises RunError, with the advice, where one is too large."""
    if found.shape != expected.shape:
        raise RunError(f"{what}: logits of shape {[*found.shape]}, not {[*expected.shape]}; nothing is kept.")
    differences, wrong = np.abs(expected - found), _differing(expected, found)
    if wrong.any():
        raise RunError(
            f"{what}: logits of {wrong.sum():,} of {len(expected):,} images differ from the run's, by up to "
            f"{np.nanmax(differences):.2g} where {allowed(expected)}; nothing is kept.{advice}"
        )
    return float(differences.max())


def _differing(expected: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Images [N] with a logit that is too far from the run's, or no number."""
    near: NDArray[np.bool_] = (np.abs(expected - found) <= _tolerance(expected)[:, None]).all(1)
    return ~near


def _tolerance(expected: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each image, [N]."""
    largest: NDArray[np.float64] = np.abs(expected).max(1).astype(np.float64)
    return np.maximum(TOLERANCE, RELATIVE_TOLERANCE * largest)


def allowed(expected: NDArray[np.float32]) -> str:
    """What is allowed for logits [N, K], in words."""
    is_relative = _tolerance(expected).max() > TOLERANCE
    of_large = f", or {RELATIVE_TOLERANCE:g} of an image's largest logit," if is_relative else ""
    return f"{TOLERANCE:g}{of_large} is allowed"


@dataclass(frozen=True)
class Cost:
    """What a model of lower precision loses."""

    agreement: float
    """Share of images whose label stays."""
    accuracy_before: float | None
    accuracy: float | None
    """On images with labels; None where there are none."""
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images": self.images,
            "same_label": self.agreement,
            "accuracy": self.accuracy,
            "accuracy_of_the_run": self.accuracy_before,
        }

    def __str__(self) -> str:
        same = f"{100 * self.agreement:.2f} % of {self.images:,} images keep their label"
        if self.accuracy is None or self.accuracy_before is None:
            return f"{same}; their classes are not known, so that this is all that can be said"
        return f"accuracy {100 * self.accuracy_before:.2f} % becomes {100 * self.accuracy:.2f} %; {same}"


def cost_of(expected: NDArray[np.float32], found: NDArray[np.float32], samples: Samples) -> Cost:
    """What changed between two models' logits [N, K]."""
    before, after = expected.argmax(1), found.argmax(1)
    known = samples.labels >= 0
    right = [float((labels == samples.labels)[known].mean()) if known.any() else None for labels in (before, after)]
    return Cost(float((before == after).mean()), right[0], right[1], len(expected))
