"""How near an export must be to the run, and what 8 bits cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transfer_cli.errors import RunError
from transfer_cli.runs.export.check import allowed, cost_of, largest_difference
from transfer_cli.runs.export.samples import Samples

LOGITS = np.array([[1.0, -2.0], [30.0, 0.5]], np.float32)


def test_the_tolerance_grows_with_large_logits_alone() -> None:
    near = LOGITS + np.array([[9e-5, 0], [0, 2.9e-4]], np.float32)
    assert largest_difference(LOGITS, near, "x") == pytest.approx(2.9e-4, rel=1e-2)
    for wrong in ([[1.2e-4, 0], [0, 0]], [[0, 0], [0, 3.1e-4]], [[0, np.nan], [0, 0]]):
        with pytest.raises(RunError, match="x: logits of 1 of 2 images differ"):
            largest_difference(LOGITS, LOGITS + np.array(wrong, np.float32), "x")
    large = "0.0001, or 1e-05 of an image's largest logit, is allowed"
    with pytest.raises(RunError, match=f"up to 0.0031 where {large}; nothing is kept"):
        largest_difference(LOGITS, LOGITS + np.array([[0, 0], [0, 3.1e-3]], np.float32), "x")
    assert (allowed(LOGITS), allowed(LOGITS[:1])) == (large, "0.0001 is allowed")
    with pytest.raises(RunError, match=r"logits of shape \[2, 1\], not \[2, 2\]"):
        largest_difference(LOGITS, LOGITS[:, :1], "x")


def test_accuracy_is_of_images_with_labels() -> None:
    found = np.array([[1.0, -2.0], [0.0, 0.5]], np.float32)
    pixels = torch.zeros(2, 3, 1, 1, dtype=torch.uint8)
    cost = cost_of(LOGITS, found, Samples(pixels, np.array([-1, 0]), "two"))
    assert (cost.agreement, cost.accuracy_before, cost.accuracy) == (0.5, 1.0, 0.0)
    assert str(cost) == "accuracy 100.00 % becomes 0.00 %; 50.00 % of 2 images keep their label"
    assert "not known" in str(cost_of(LOGITS, found, Samples(pixels, np.array([-1, -1]), "two")))
