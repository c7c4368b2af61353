"""Losses on logits: by hand, in their limits, and the identities of their papers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.data.reading.listing import UNLABELLED
from transfer_cli.methods.distill.logit_losses import ce, correlation, dist, dkd, kd, mix_teachers, standardize

STUDENT = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.0, 0.3, 0.1, 2.0], [3.0, -2.0, 0.0, 0.0]])
TEACHER = torch.tensor([[2.0, 1.0, -2.0, 0.0], [0.2, 0.1, 0.0, 4.0], [-1.0, 2.0, 1.0, 0.5]])
LABELS = torch.tensor([0, 3, 1])

SOFT_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "kd": lambda student, teacher: kd(student, teacher, 4.0),
    "dkd": lambda student, teacher: dkd(student, teacher, LABELS, 4.0),
    "dist": lambda student, teacher: dist(student, teacher, 4.0),
}


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def test_kd_by_hand() -> None:
    """At T=2 the logits 2 ln 3 and 2 ln 2 against 0 are probabilities 3/4 and 2/3."""
    student = torch.tensor([[2 * math.log(3), 0.0]])
    teacher = torch.tensor([[2 * math.log(2), 0.0]])
    expected = 4 * kl([2 / 3, 1 / 3], [3 / 4, 1 / 4])
    assert kd(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-5)
    both = kd(torch.cat([student, student]), torch.cat([teacher, student]), 2.0)
    assert both.item() == pytest.approx(expected / 2, rel=1e-5)


def test_kd_tends_to_matching_centred_logits() -> None:
    student, teacher = STUDENT.double(), TEACHER.double()
    centred = [logits - logits.mean(1, keepdim=True) for logits in (student, teacher)]
    difference = centred[0] - centred[1]
    limit = difference.square().sum(1).mean() / (2 * 4)
    torch.testing.assert_close(kd(student, teacher, 1e4), limit, rtol=1e-3, atol=0)
    slope = gradient(lambda logits: kd(logits, teacher, 1e4), student)
    torch.testing.assert_close(slope, difference / (4 * 3), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_a_student_that_agrees_has_no_loss_and_no_gradient(name: str) -> None:
    loss = SOFT_LOSSES[name]
    assert loss(TEACHER, TEACHER).item() == pytest.approx(0, abs=1e-5)
    assert loss(STUDENT, TEACHER).item() > 0.1
    assert gradient(lambda logits: loss(logits, TEACHER), TEACHER).abs().max() < 1e-5
    assert gradient(lambda logits: loss(logits, TEACHER), STUDENT).abs().max() > 0.05


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_a_shift_of_a_row_changes_nothing(name: str) -> None:
    shift = torch.tensor([[5.0], [-3.0], [0.0]])
    torch.testing.assert_close(SOFT_LOSSES[name](STUDENT + shift, TEACHER - shift), SOFT_LOSSES[name](STUDENT, TEACHER))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_dkd_with_the_teachers_doubt_as_weight_is_kd(temperature: float) -> None:
    wrong = 1 - (TEACHER / temperature).softmax(1)[torch.arange(3), LABELS]
    taken_apart = dkd(STUDENT, TEACHER, LABELS, temperature, alpha=1, beta=wrong)
    torch.testing.assert_close(taken_apart, kd(STUDENT, TEACHER, temperature))


def test_dkd_by_hand() -> None:
    student = torch.tensor([[0.5, 0.3, 0.2]]).log()
    teacher = torch.tensor([[0.6, 0.1, 0.3]]).log()
    target, others = kl([0.1, 0.9], [0.3, 0.7]), kl([2 / 3, 1 / 3], [5 / 7, 2 / 7])
    value = dkd(student, teacher, torch.tensor([1]), 1.0, alpha=2, beta=5)
    assert value.item() == pytest.approx(2 * target + 5 * others, rel=1e-5)


def test_a_confident_teacher_leaves_dkd_finite() -> None:
    certain = torch.tensor([[200.0, 0.0, -200.0, 1.0]])
    for labels in (torch.tensor([0]), torch.tensor([2])):
        slope = gradient(lambda logits: dkd(logits, certain, labels, 1.0), -certain)  # noqa: B023
        assert torch.isfinite(slope).all()


def test_unlabelled_samples_add_nothing_and_count() -> None:
    labels = torch.tensor([0, UNLABELLED, 1])
    rows = [F.cross_entropy(STUDENT[i : i + 1], LABELS[i : i + 1]) for i in (0, 2)]
    torch.testing.assert_close(ce(STUDENT, labels), sum(rows) / 3)
    parts = [dkd(STUDENT[i : i + 1], TEACHER[i : i + 1], LABELS[i : i + 1], 2.0) for i in (0, 2)]
    torch.testing.assert_close(dkd(STUDENT, TEACHER, labels, 2.0), sum(parts) / 3)
    none = torch.full((3,), UNLABELLED)
    assert ce(STUDENT, none) == dkd(STUDENT, TEACHER, none, 2.0) == 0


def test_ce_takes_probabilities() -> None:
    torch.testing.assert_close(ce(STUDENT, F.one_hot(LABELS, 4).float(), 0.1), ce(STUDENT, LABELS, 0.1))


def test_dist_by_hand() -> None:
    """Two samples, three classes, T=1: rows and columns against numpy's own coefficient."""
    import numpy as np

    student, teacher = STUDENT[:2, :3], TEACHER[:2, :3]
    p, q = student.softmax(1).double().numpy(), teacher.softmax(1).double().numpy()
    inter = 1 - np.mean([np.corrcoef(p[i], q[i])[0, 1] for i in range(2)])
    intra = 1 - np.mean([np.corrcoef(p[:, k], q[:, k])[0, 1] for k in range(3)])
    assert dist(student, teacher, 1.0, beta=2, gamma=0.5).item() == pytest.approx(2 * inter + 0.5 * intra, rel=1e-4)
    p, q = (student / 3).softmax(1).double().numpy(), (teacher / 3).softmax(1).double().numpy()
    inter = 1 - np.mean([np.corrcoef(p[i], q[i])[0, 1] for i in range(2)])
    assert dist(student, teacher, 3.0, gamma=0).item() == pytest.approx(9 * inter, rel=1e-4)


def test_correlation_is_invariant_to_scale_and_shift_of_a_row() -> None:
    scale, shift = torch.tensor([[0.01], [3.0], [100.0]]), torch.tensor([[7.0], [-2.0], [0.5]])
    plain = correlation(STUDENT, TEACHER)
    torch.testing.assert_close(correlation(STUDENT * scale + shift, TEACHER), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(correlation(STUDENT, TEACHER * scale + shift), plain, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(correlation(-STUDENT, TEACHER), -plain)


def test_dist_of_one_sample_or_a_constant_column_has_a_gradient() -> None:
    for rows in (1, 2):
        student = torch.zeros(rows, 4)
        assert torch.isfinite(gradient(lambda logits, rows=rows: dist(logits, TEACHER[:rows], 2.0), student)).all()


@pytest.mark.parametrize("name", SOFT_LOSSES)
def test_standardised_losses_ignore_scale_and_shift_of_a_row(name: str) -> None:
    """Sun 2024; without standardising the same change moves every one of the losses."""
    loss = SOFT_LOSSES[name]
    scale, shift = torch.tensor([[0.1], [3.0], [100.0]]), torch.tensor([[7.0], [-2.0], [0.5]])
    plain = loss(standardize(STUDENT), standardize(TEACHER))
    for student, teacher in ((STUDENT * scale + shift, TEACHER), (STUDENT, TEACHER * scale + shift)):
        torch.testing.assert_close(loss(standardize(student), standardize(teacher)), plain, rtol=1e-4, atol=1e-5)
        assert abs(loss(student, teacher) - loss(STUDENT, TEACHER)) > 0.1
    assert gradient(lambda logits: loss(standardize(logits), standardize(TEACHER)), 3 * TEACHER).abs().max() < 1e-5


def test_standardised_rows_by_hand() -> None:
    rows = standardize(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
    torch.testing.assert_close(rows, torch.tensor([[-1.0, 1.0], [0.0, 0.0]]))


def test_a_head_of_zeros_can_start() -> None:
    """Equal logits have no deviation to divide by; the gradient stays finite and of ordinary size."""
    slope = gradient(lambda logits: kd(standardize(logits), standardize(TEACHER), 2.0), torch.zeros(3, 4))
    assert torch.isfinite(slope).all()
    assert 0 < slope.abs().max() < 100


def test_one_teacher_twice_is_one_teacher() -> None:
    twice = torch.stack([TEACHER, TEACHER], 1)
    torch.testing.assert_close(kd(STUDENT, mix_teachers(twice, 3.0), 3.0), kd(STUDENT, TEACHER, 3.0))


def test_teachers_mix_as_probabilities() -> None:
    other = TEACHER.flip(0)
    both = torch.stack([TEACHER, other], 1)
    p, q = (TEACHER / 3).softmax(1), (other / 3).softmax(1)
    torch.testing.assert_close((mix_teachers(both, 3.0) / 3).softmax(1), (p + q) / 2)


def test_a_student_whose_head_is_zero_learns_by_dist() -> None:
    """The gradient of a constant row was 1e8, from which Adam's second moments did not recover for a thousand steps."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 16, generator=draw)
    teacher = inputs @ torch.randn(16, 10, generator=draw)
    head = torch.zeros(10, 16, requires_grad=True)
    optimizer = torch.optim.Adam([head], lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        dist(inputs @ head.T, teacher, 2.0).backward()
        assert head.grad is not None
        assert head.grad.abs().max() < 1000
        optimizer.step()
    assert ((inputs @ head.T).argmax(1) == teacher.argmax(1)).float().mean() > 0.85


def test_correlation_of_rows_that_vary_is_pearsons_to_the_last_bit() -> None:
    p, q = STUDENT.softmax(1), TEACHER.softmax(1)
    plain = F.cosine_similarity(p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True), dim=1)
    assert torch.equal(correlation(p, q), plain)
