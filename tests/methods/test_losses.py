"""Losses by hand, against torch's own, and the identities that their papers prove."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.errors import UserError
from transfer_cli.methods.losses import cross_entropy, focal, logit_adjustment, smoothed

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])
SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]])


def test_cross_entropy_by_hand() -> None:
    total = math.e**2 + 1 + math.e**-1
    assert cross_entropy(LOGITS, LABELS)[0] == pytest.approx(math.log(total) - 2)
    assert cross_entropy(LOGITS, LABELS)[2] == pytest.approx(math.log(3))
    spread = 0.7 * (math.log(total) - 2) + 0.3 * math.log(total)
    assert cross_entropy(LOGITS, SOFT)[0] == pytest.approx(spread)


def test_smoothing_by_hand() -> None:
    expected = 0.9 * cross_entropy(LOGITS, LABELS) - 0.1 * LOGITS.log_softmax(1).mean(1)
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS, smoothing=0.1), expected)
    torch.testing.assert_close(smoothed(LABELS, 3, 0.3)[0], torch.tensor([0.8, 0.1, 0.1]))


@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
def test_hard_labels_are_soft_ones_on_one_class(targets: Tensor) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0])
    terms = -smoothed(targets, 3, 0.1) * LOGITS.log_softmax(1) * weights
    torch.testing.assert_close(cross_entropy(LOGITS, targets, smoothing=0.1, class_weights=weights), terms.sum(1))


def test_means_survive_splitting_a_batch() -> None:
    weights = torch.tensor([0.1, 3.0, 1.0])
    whole = cross_entropy(LOGITS, LABELS, class_weights=weights).mean()
    parts = [cross_entropy(LOGITS[i : i + 1], LABELS[i : i + 1], class_weights=weights) for i in range(3)]
    torch.testing.assert_close(torch.cat(parts).mean(), whole)


@pytest.mark.parametrize("targets", [LABELS, SOFT], ids=["hard", "soft"])
def test_focal_with_gamma_0_is_cross_entropy(targets: Tensor) -> None:
    weights = torch.tensor([0.5, 2.0, 1.0])
    torch.testing.assert_close(
        focal(LOGITS, targets, gamma=0, smoothing=0.1, class_weights=weights),
        cross_entropy(LOGITS, targets, smoothing=0.1, class_weights=weights),
    )


def test_focal_by_hand() -> None:
    p = LOGITS.softmax(1)[torch.arange(3), LABELS]
    torch.testing.assert_close(focal(LOGITS, LABELS, gamma=2), -((1 - p) ** 2) * p.log())


def test_focal_has_a_finite_slope_at_certainty() -> None:
    logits = torch.tensor([[100.0, 0.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0]), gamma=0.5).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_logit_adjustment_learns_the_balanced_posterior() -> None:
    """Prior shift: log p(x|y) is the optimum of the adjusted loss, whatever the prior; of the plain loss it is not.

    A world of 4 images and 3 classes; the expected loss is over the joint probability of image and class.
    """
    likelihood = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.5, 0.2, 0.05]]).double()  # [K, X]
    counts = torch.tensor([60, 30, 10])
    joint = likelihood * (counts / counts.sum())[:, None]

    def slope(adjustment: Tensor | None) -> float:
        logits = likelihood.log().T.clone().requires_grad_()  # [X, K]
        posterior = (joint / joint.sum(0)).T
        (joint.sum(0) * cross_entropy(logits, posterior, adjustment=adjustment)).sum().backward()
        assert logits.grad is not None
        return float(logits.grad.abs().max())

    assert slope(logit_adjustment(counts)) < 1e-7
    assert slope(None) > 1e-2
    balanced = (likelihood / likelihood.sum(0)).T
    torch.testing.assert_close(likelihood.log().T.softmax(1), balanced)


def test_logit_adjustment_by_hand() -> None:
    torch.testing.assert_close(
        logit_adjustment(torch.tensor([3, 1]), tau=2.0), torch.tensor([2 * math.log(0.75), 2 * math.log(0.25)])
    )


def test_a_class_without_images_is_named() -> None:
    with pytest.raises(UserError, match="class 1 has no training images"):
        logit_adjustment(torch.tensor([3, 0, 2]))


def test_half_precision_logits_do_not_round_the_loss() -> None:
    """The logits here are exact in bfloat16; their losses are not."""
    half = LOGITS.bfloat16()
    assert torch.equal(cross_entropy(half, SOFT), cross_entropy(LOGITS, SOFT))
    assert torch.equal(focal(half, SOFT, gamma=1.0), focal(LOGITS, SOFT, gamma=1.0))


def test_hard_and_soft_agree_with_torch() -> None:
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS).mean(), F.cross_entropy(LOGITS, LABELS))
