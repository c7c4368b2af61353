"""The loss of a training: what it takes from the data set and the configuration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from transfer_cli.engine.objective import Objective, adjustment_for, weights_for
from transfer_cli.errors import UserError

CPU = torch.device("cpu")
LABELS = np.array([0, 0, 0, 1, 2, 2])
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]])
TARGETS = torch.tensor([0, 1])


def test_plain_is_cross_entropy_of_classes_and_of_mixtures() -> None:
    assert Objective(smoothing=0.1)(LOGITS, TARGETS).equal(F.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1))
    soft = F.one_hot(TARGETS, 3).float()
    torch.testing.assert_close(Objective()(LOGITS, soft), F.cross_entropy(LOGITS, TARGETS))


def test_focal_counts_what_is_right_for_less() -> None:
    p = LOGITS.softmax(1)[torch.arange(2), TARGETS]
    torch.testing.assert_close(Objective("focal", gamma=2.0)(LOGITS, TARGETS), (-((1 - p) ** 2) * p.log()).mean())


def test_rare_classes_count_more() -> None:
    weights = weights_for(LABELS, 3, "inverse", CPU)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0, 1.0]))
    losses = F.cross_entropy(LOGITS, TARGETS, reduction="none")
    expected = (losses * torch.tensor([2 / 3, 2.0])).mean()
    torch.testing.assert_close(Objective(class_weights=weights)(LOGITS, TARGETS), expected)
    assert weights_for(LABELS, 3, "none", CPU) is None


def test_logits_are_shifted_by_the_log_of_the_class_shares() -> None:
    adjustment = adjustment_for(LABELS, 3, 1.0, CPU)
    assert adjustment is not None
    torch.testing.assert_close(adjustment, torch.tensor([1 / 2, 1 / 6, 1 / 3]).log())
    expected = F.cross_entropy(LOGITS + adjustment, TARGETS)
    torch.testing.assert_close(Objective(adjustment=adjustment)(LOGITS, TARGETS), expected)
    assert adjustment_for(LABELS, 3, 0.0, CPU) is None
    with pytest.raises(UserError, match="class 3 has no training images"):
        adjustment_for(LABELS, 4, 1.0, CPU)
