"""CRD: its constant, its loss by hand, its negatives, and its memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_cli.data.reading.listing import UNLABELLED
from transfer_cli.errors import UserError
from transfer_cli.methods.distill.contrast import Contrast, Negatives, log_mean_exp, noise_contrastive

LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 0, UNLABELLED, UNLABELLED])
MEMBERS = np.array([1, 2, 3, 4, 6, 7, 8, 9])
BATCH = torch.tensor([3, 1, 6])
NEGATIVES = torch.tensor([[1, 4, 2], [3, 6, 2], [2, 2, 4]])


def module(seed: int = 0) -> Contrast:
    torch.manual_seed(0)
    return Contrast(student_width=4, teacher_width=6, rows=10, population=8, seed=seed)


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 4, generator=generator), torch.randn(3, 6, generator=generator), BATCH, NEGATIVES


@pytest.mark.parametrize("similarity", [-14.0, 0.0, 14.0])
@pytest.mark.parametrize("count", [1, 20])
def test_equal_similarities_give_the_closed_form_constant(similarity: float, count: int) -> None:
    similarities = torch.full((5, 1 + count), similarity)
    normalizer = log_mean_exp(similarities) + math.log(1000)
    constant = math.log(1 + count) + count * math.log(1 + 1 / count)
    assert noise_contrastive(similarities, normalizer, 1000).item() == pytest.approx(constant, rel=1e-5)


def test_loss_by_hand() -> None:
    """One true pair and two negatives of eight samples; p = exp(similarity) / Z against noise of 2/8."""
    p = [0.5, 0.2, 0.1]
    value = noise_contrastive(torch.tensor([p]).log() + 3, torch.tensor(3.0), 8)
    expected = -math.log(0.5 / 0.75) - math.log(0.25 / 0.45) - math.log(0.25 / 0.35)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_mean_over_pairs_by_hand() -> None:
    assert log_mean_exp(torch.tensor([[2.0, 3.0, 5.0], [4.0, 7.0, 3.0]]).log()).exp().item() == pytest.approx(4)


def test_both_sides_by_hand() -> None:
    contrast = module()
    student, teacher, indices, negatives = batch()
    ours = F.normalize(student @ contrast.embed_student.weight.T + contrast.embed_student.bias, dim=1)
    theirs = F.normalize(teacher @ contrast.embed_teacher.weight.T + contrast.embed_teacher.bias, dim=1)
    total = 0.0
    for embeddings, memory in ((ours, contrast.teacher_memory), (theirs, contrast.student_memory)):
        rows = [[memory[row] @ embeddings[i] / 0.07 for row in (int(indices[i]), *negatives[i])] for i in range(3)]
        scores = torch.stack([torch.stack(row) for row in rows]).exp()
        p = scores / (scores.mean() * 8)
        terms = -(p[:, 0] / (p[:, 0] + 3 / 8)).log() - (3 / 8 / (p[:, 1:] + 3 / 8)).log().sum(1)
        total += terms.mean().item()
    assert contrast(student, teacher, indices, negatives).item() == pytest.approx(total, rel=1e-4)


def test_learning_draws_pairs_together() -> None:
    contrast, data = module(), batch()
    optimizer = torch.optim.SGD(contrast.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        loss = contrast(*data)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_memory_moves_half_way_and_stays_on_the_sphere() -> None:
    contrast = module()
    before = contrast.student_memory.clone()
    student, teacher, indices, negatives = batch()
    contrast(student, teacher, indices, negatives).backward()
    ours = F.normalize(contrast.embed_student(student), dim=1)
    torch.testing.assert_close(contrast.student_memory[indices], F.normalize((before[indices] + ours) / 2, dim=1))
    untouched = [i for i in range(10) if i not in indices]
    assert torch.equal(contrast.student_memory[untouched], before[untouched])
    torch.testing.assert_close(contrast.teacher_memory.norm(dim=1), torch.ones(10))


def test_the_first_batch_sets_the_normalizer_for_good() -> None:
    contrast = module()
    contrast(*batch())
    first = contrast.student_log_normalizer.clone()
    contrast(*batch(seed=1))
    assert torch.equal(contrast.student_log_normalizer, first)
    assert torch.isfinite(first)


def test_evaluation_changes_no_state() -> None:
    contrast = module().eval()
    before = {name: tensor.clone() for name, tensor in contrast.state_dict().items()}
    contrast(*batch())
    assert all(torch.equal(tensor, before[name]) for name, tensor in contrast.state_dict().items())


def test_a_restored_memory_goes_on_as_if_never_stopped() -> None:
    straight, stopped, restored = module(), module(), module(seed=5)
    for each in (straight, stopped):
        each(*batch())
    assert not torch.equal(restored.student_memory, stopped.student_memory)
    restored.load_state_dict({name: tensor.clone() for name, tensor in stopped.state_dict().items()})
    assert torch.equal(restored(*batch(seed=1)), straight(*batch(seed=1)))
    assert torch.equal(restored.teacher_memory, straight.teacher_memory)


def test_the_memory_starts_from_the_seed_alone() -> None:
    one = module(seed=3).student_memory
    torch.manual_seed(99)
    assert torch.equal(Contrast(1, 1, rows=10, population=8, seed=3).student_memory, one)
    assert not torch.equal(module(seed=4).student_memory, one)


def test_negatives_are_training_samples_of_other_classes() -> None:
    draws = Negatives(LABELS, MEMBERS, count=400, seed=0)(MEMBERS, view=2).numpy()
    for index, row in zip(MEMBERS, draws, strict=True):
        others = [m for m in MEMBERS if m != index and (LABELS[m] != LABELS[index] or LABELS[m] == UNLABELLED)]
        counts = np.array([np.count_nonzero(row == other) for other in others])
        assert counts.sum() == 400
        expected = 400 / len(others)
        assert ((counts - expected) ** 2 / expected).sum() < 35  # chi-square, at most 6 degrees: p about 1e-5


def test_negatives_depend_on_seed_view_and_index_alone() -> None:
    draw = Negatives(LABELS, MEMBERS, count=20, seed=0)
    whole = draw(MEMBERS, view=2)
    assert torch.equal(draw(MEMBERS[[5, 1]], view=2), whole[[5, 1]])
    assert not torch.equal(draw(MEMBERS, view=3), whole)
    assert not torch.equal(Negatives(LABELS, MEMBERS, count=20, seed=1)(MEMBERS, view=2), whole)


def test_one_class_has_no_negatives() -> None:
    with pytest.raises(UserError, match=r"strategy\.loss\.crd.*has one"):
        Negatives(LABELS, np.array([0, 3, 6]), count=4, seed=0)
