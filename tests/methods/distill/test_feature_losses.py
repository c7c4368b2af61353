"""Losses on features: by hand, and what they must not see (scale, isometries, size)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.methods.distill.feature_losses import (
    attention,
    hint,
    pairwise_distances,
    rkd,
    rkd_angle,
    rkd_distance,
    same_size,
    vectors,
)

# A right-angled triangle with sides 3, 4 and 5, and an equilateral one.
TRIANGLE = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
EQUAL = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_hint_by_hand() -> None:
    student, teacher = torch.ones(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert hint(student, teacher, lambda x: 2 * x).item() == pytest.approx((1 + 0 + 1 + 4) / 4)


def test_hints_meet_at_the_smaller_size() -> None:
    """A projection alike at all positions may come before or after the pooling."""
    student, teacher = features(2, 3, 8, 8), features(2, 3, 4, 6, seed=1)
    ours, theirs = same_size(student, teacher)
    assert ours.shape == theirs.shape == (2, 3, 4, 6)
    torch.testing.assert_close(hint(student, teacher, lambda x: 2 * x + 1), F.mse_loss(2 * ours + 1, theirs))


@pytest.mark.parametrize(("have", "want"), [((8, 8), (4, 4)), ((7, 9), (4, 5)), ((14, 14), (13, 1)), ((5, 5), (5, 3))])
def test_pooling_is_adaptive_average_pooling(have: tuple[int, int], want: tuple[int, int]) -> None:
    maps = features(2, 3, *have)
    ours, _ = same_size(maps, features(2, 1, *want))
    torch.testing.assert_close(ours, F.adaptive_avg_pool2d(maps, want))


def test_attention_by_hand() -> None:
    """Two channels at two positions: sums of squares (25, 0) and (3, 4), of norm 25 and 5."""
    student = torch.tensor([[[3.0, 0.0], [4.0, 0.0]]])
    teacher = torch.tensor([[[1.0, 2.0], [math.sqrt(2), 0.0]]])
    assert attention(student, teacher).item() == pytest.approx(((1 - 0.6) ** 2 + 0.8**2) / 2)


@pytest.mark.parametrize("shape", [(4, 5, 6, 6), (4, 5, 36)], ids=["maps", "tokens"])
def test_attention_is_invariant_to_scale(shape: tuple[int, ...]) -> None:
    student, teacher = features(*shape), features(*shape, seed=1)
    each = torch.tensor([0.1, -1.0, 10.0, 1000.0]).view(4, *[1] * (len(shape) - 1))
    torch.testing.assert_close(attention(student * each, teacher), attention(student, teacher))
    assert attention(each * teacher, teacher) < 1e-10
    assert attention(student, teacher) > 1e-4


def test_attention_ignores_channels_and_takes_any_size() -> None:
    student, teacher = features(2, 5, 8, 8), features(2, 9, 4, 4, seed=1)
    plain = attention(student, teacher)
    torch.testing.assert_close(attention(student.flip(1).repeat(1, 2, 1, 1), teacher.flip(1)), plain)
    pooled = F.adaptive_avg_pool2d(student.square().sum(1, keepdim=True), 4)
    torch.testing.assert_close(plain, attention(pooled.sqrt(), teacher))


def test_dead_features_leave_attention_a_gradient() -> None:
    dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
    attention(dead, features(2, 3, 4, 4)).backward()
    assert dead.grad is not None
    assert torch.isfinite(dead.grad).all()


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    return rkd_distance(pairwise_distances(student), pairwise_distances(teacher))


def angle(student: Tensor, teacher: Tensor) -> Tensor:
    return rkd_angle(student, teacher)


def test_rkd_distance_by_hand() -> None:
    """Distances 3, 4, 5 have mean 4; those of the other triangle are all 1. Nine pairs, three of them at 0."""
    differences = [3 / 4 - 1, 0, 5 / 4 - 1]
    expected = 2 * sum(d * d / 2 for d in differences) / 9
    assert distance(TRIANGLE, EQUAL).item() == pytest.approx(expected, rel=1e-5)


def test_rkd_angle_by_hand() -> None:
    """Cosines 0, 3/5 and 4/5 against three times 1/2, each counted twice among 27 triples."""
    expected = 2 * sum((c - 0.5) ** 2 / 2 for c in (0, 0.6, 0.8)) / 27
    assert angle(TRIANGLE, EQUAL).item() == pytest.approx(expected, rel=1e-5)
    together = distance(TRIANGLE, EQUAL) + 2 * angle(TRIANGLE, EQUAL)
    torch.testing.assert_close(rkd(TRIANGLE, EQUAL), together)


def test_rkd_is_huber_for_far_relations() -> None:
    """One of four points far off: its relative distance, 2, against 1 elsewhere is within 1; a fifth's is not."""
    line = torch.tensor([[0.0], [0.0], [0.0], [0.0], [1.0]])
    spread = torch.zeros(5, 4)
    spread[1:] = torch.eye(4)
    mean = (8 * 1 + 12 * math.sqrt(2)) / 20
    relative = [(0, 1 / mean)] * 3 + [(0, math.sqrt(2) / mean)] * 3 + [(1, 1 / mean)] + [(1, math.sqrt(2) / mean)] * 3
    huber = [d * d / 2 if d < 1 else d - 0.5 for d in (abs(a - b) for a, b in relative)]
    assert any(abs(a - b) > 1 for a, b in relative)
    assert distance(line, spread).item() == pytest.approx(2 * sum(huber) / 25, rel=1e-5)


def test_rkd_is_invariant_to_isometries_and_scale() -> None:
    """Rotated, mirrored, moved and scaled, in more dimensions: the same figure. A shear is another one."""
    teacher = features(7, 5)
    turn, _ = torch.linalg.qr(features(8, 8, seed=1))
    moved = 3 * F.pad(teacher, (0, 3)) @ turn + features(8, seed=2)
    assert distance(moved, teacher) < 1e-9
    assert angle(moved, teacher) < 1e-9
    sheared = teacher * torch.tensor([1.0, 1.0, 1.0, 1.0, 5.0])
    assert distance(sheared, teacher) > 1e-3
    assert angle(sheared, teacher) > 1e-3


@pytest.mark.parametrize("rows", [1, 3])
def test_equal_vectors_leave_rkd_a_gradient(rows: int) -> None:
    same = torch.ones(rows, 4, requires_grad=True)
    rkd(same, features(rows, 6)).backward()
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_vectors_are_means_over_positions() -> None:
    maps = features(2, 3, 4, 5)
    torch.testing.assert_close(vectors(maps), maps.mean((2, 3)))
    torch.testing.assert_close(vectors(maps.flatten(2)), maps.mean((2, 3)))
    assert torch.equal(vectors(maps[:, :, 0, 0]), maps[:, :, 0, 0])


@pytest.mark.parametrize("gap", [1e-3, 1e-6])
def test_angles_of_near_duplicates_keep_their_digits(gap: float) -> None:
    """The same picture twice, or two of a burst: their gradient is that of float64."""
    points, teacher = features(6, 8), features(6, 5, seed=1)
    points[1] = points[0] + gap * features(8, seed=2)
    slopes = []
    for dtype in (torch.float32, torch.float64):
        ours = points.to(dtype, copy=True).requires_grad_()
        rkd_angle(ours, teacher.to(dtype)).backward()
        assert ours.grad is not None
        slopes.append(ours.grad.double())
    single, double = slopes
    assert (single - double).norm() / double.norm() < 1e-4
