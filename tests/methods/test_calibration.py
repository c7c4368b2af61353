"""A temperature undoes what stretched the logits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from transfer_cli.methods.calibration import fit_temperature
from transfer_cli.methods.scores import scores


@pytest.mark.parametrize("stretched", [0.5, 1.0, 4.0])
def test_the_stretch_is_found(stretched: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((len(p), 1))).argmax(1)
    assert fit_temperature((stretched * logits).astype(np.float32), labels) == pytest.approx(stretched, rel=0.03)


def drawn(generator: np.random.Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits [N, 5] whose probabilities are true, and labels [N]: nineteen of twenty are of the likeliest class."""
    logits = generator.normal(0, 0.5, (count, 5))
    logits[np.arange(count), generator.integers(0, 5, count)] += 5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits.astype(np.float32), (p.cumsum(1) > generator.random((count, 1))).argmax(1)


@pytest.mark.parametrize("count", [10, 20, 40])
def test_few_images_that_are_all_right_are_no_reason_to_be_sure(count: int) -> None:
    generator = np.random.default_rng(0)
    test = drawn(generator, 20_000)
    fits = [drawn(generator, count) for _ in range(100)]
    all_right = [(logits, labels) for logits, labels in fits if (logits.argmax(1) == labels).all()]
    temperatures = [fit_temperature(*one) for one in all_right]
    losses = [scores(test[0] / np.float32(temperature), test[1])["loss"] for temperature in temperatures]
    assert len(losses) > 5 and max(losses) < scores(*test)["loss"] + 0.05


def test_without_labels_nothing_is_changed() -> None:
    assert fit_temperature(np.zeros((3, 2), np.float32), np.full(3, -1)) == 1.0
