"""A temperature undoes what stretched the logits."""

from __future__ import annotations

import numpy as np
import pytest

from transfer_cli.methods.calibration import fit_temperature


@pytest.mark.parametrize("stretched", [0.5, 1.0, 4.0])
def test_the_stretch_is_found(stretched: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((len(p), 1))).argmax(1)
    assert fit_temperature((stretched * logits).astype(np.float32), labels) == pytest.approx(stretched, rel=0.03)


def test_without_labels_nothing_is_changed() -> None:
    assert fit_temperature(np.zeros((3, 2), np.float32), np.full(3, -1)) == 1.0
