"""Contrastive representation distillation (CRD, Tian 2020, arXiv 1910.10699): its memory, negatives and loss.

A sample's student embedding is made similar to its teacher embedding; each is made dissimilar to the embeddings that
the memory holds of the other network for samples of other classes, the negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from transfer_cli.data.reading.listing import UNLABELLED
from transfer_cli.data.views.random_numbers import uniforms
from transfer_cli.errors import UserError
from transfer_cli.methods.distill.feature_losses import vectors
from transfer_cli.methods.distill.terms import LossInputs, Term
from transfer_cli.methods.full_precision import full_precision

_NETWORKS = ("student", "teacher")


class Negatives:
    """Draws training samples of other classes, a pure function of (seed, view, index), with repetition.

    `labels` [N] are those of the whole data set and `members` [n] the indices of its training split; an unlabelled
    sample is a class of its own. Raises UserError where all are of one class.
    """

    def __init__(self, labels: NDArray[np.int64], members: NDArray[np.int64], count: int, seed: int) -> None:
        groups = labels[members].copy()
        alone = groups == UNLABELLED
        groups[alone] = groups.max(initial=0) + 1 + np.arange(alone.sum())
        by_group = np.argsort(groups, kind="stable")
        self._sorted, found = members[by_group], groups[by_group]
        if len(np.unique(found)) < 2:
            raise UserError("strategy.loss.crd: negatives are images of other classes, and the training split has one.")
        self._first, self._stop = np.zeros_like(labels), np.zeros_like(labels)
        self._first[members] = np.searchsorted(found, groups, "left")
        self._stop[members] = np.searchsorted(found, groups, "right")
        self._count, self._seed = count, seed

    def __call__(self, indices: NDArray[np.int64], view: int) -> Tensor:
        """Indices of negatives, int64 [B, count], for training samples `indices` [B]."""
        first, size = self._first[indices][:, None], (self._stop - self._first)[indices][:, None]
        numbers = uniforms(self._seed, view, indices, self._count, "negatives")
        positions = (numbers * (len(self._sorted) - size)).astype(np.int64)
        return torch.from_numpy(self._sorted[positions + size * (positions >= first)])


class Contrast(nn.Module):
    """Two learned embeddings, of student [B, Ds] and teacher [B, Dt] vectors, and a memory of their latest values.

    `rows` N is the size of the data set, `population` n that of its training split. The memory is part of the state
    dict; it moves in training mode alone.
    """

    momentum = 0.5
    temperature = 0.07
    width = 128

    def __init__(self, student_width: int, teacher_width: int, rows: int, population: int, seed: int) -> None:
        super().__init__()
        self.embed_student = nn.Linear(student_width, self.width)
        self.embed_teacher = nn.Linear(teacher_width, self.width)
        self.population = population
        generator = torch.Generator().manual_seed(seed)
        for name in _NETWORKS:
            rows_at_random = torch.randn(rows, self.width, generator=generator)
            self.register_buffer(f"{name}_memory", F.normalize(rows_at_random, dim=1))
            # Fixed by the first batch; infinite until then.
            self.register_buffer(f"{name}_log_normalizer", torch.tensor(math.inf))

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor, indices: Tensor, negatives: Tensor) -> Tensor:
        """The loss [], a mean over the batch: samples `indices` [B] with their `negatives` [B, M] in the data set."""
        ours = F.normalize(self.embed_student(student), dim=1)
        theirs = F.normalize(self.embed_teacher(teacher), dim=1)
        loss = self._against("teacher", ours, indices, negatives) + self._against("student", theirs, indices, negatives)
        if self.training:
            self._remember("student", ours.detach(), indices)
            self._remember("teacher", theirs.detach(), indices)
        return loss

    def remembered(self) -> dict[str, Tensor]:
        """What training has moved so far. Memories are replaced and not written into: no copy of them is needed."""
        memories = {f"{name}_memory": self.get_buffer(f"{name}_memory") for name in _NETWORKS}
        return {**memories, **{f"{name}_log_normalizer": self._normalizer(name).clone() for name in _NETWORKS}}

    def recall(self, before: dict[str, Tensor]) -> None:
        """Be as when `remembered` gave this."""
        for name in _NETWORKS:
            setattr(self, f"{name}_memory", before[f"{name}_memory"])
            self._normalizer(name).copy_(before[f"{name}_log_normalizer"])

    def _normalizer(self, name: str) -> Tensor:
        return self.get_buffer(f"{name}_log_normalizer")

    def rows(self, indices: Tensor) -> Tensor:
        """What the memory holds of samples `indices` [B], [B, 2 * 128]: of the student, then of the teacher."""
        return torch.cat([self.get_buffer(f"{name}_memory")[indices] for name in _NETWORKS], dim=1)

    def remember_rows(self, indices: Tensor, rows: Tensor) -> None:
        """Hold `rows` [B, 2 * 128] of samples `indices` [B], as other processes have them."""
        for name, own in zip(_NETWORKS, rows.split(self.width, dim=1), strict=True):
            self.get_buffer(f"{name}_memory").index_copy_(0, indices, own)

    def average_normalizers(self, share: float, total: Callable[[Tensor], Tensor]) -> None:
        """Take the mean over processes of what each has fixed by its `share` of the first batch; `total` sums up."""
        for name in _NETWORKS:
            log_normalizer = self._normalizer(name)
            log_normalizer.copy_(total(share * log_normalizer.double().exp()).log())

    def _against(self, name: str, embeddings: Tensor, indices: Tensor, negatives: Tensor) -> Tensor:
        """The loss of embeddings [B, 128] against a memory: their own rows are true, those of `negatives` [B, M] false.

        Compares with all N rows: B * N numbers, where the drawn rows would be 128 * B * M. Repeated draws have equal
        gradients, so a GPU may add them up in any order.
        """
        memory = self.get_buffer(f"{name}_memory")
        true = (embeddings * memory[indices]).sum(1, keepdim=True)
        others = (embeddings @ memory.T).gather(1, negatives)
        similarities = torch.cat([true, others], 1) / self.temperature
        log_normalizer = self._normalizer(name)
        estimate = log_mean_exp(similarities.detach()) + math.log(self.population)
        normalizer = torch.where(log_normalizer.isinf(), estimate, log_normalizer)
        if self.training:
            log_normalizer.copy_(normalizer)
        return noise_contrastive(similarities, normalizer, self.population)

    def _remember(self, name: str, embeddings: Tensor, indices: Tensor) -> None:
        """Move rows of a memory; a new tensor, since the backward pass still needs the old one."""
        memory = self.get_buffer(f"{name}_memory")
        mixed = self.momentum * memory[indices] + (1 - self.momentum) * embeddings
        setattr(self, f"{name}_memory", memory.index_copy(0, indices, F.normalize(mixed, dim=1)))


@full_precision
def noise_contrastive(similarities: Tensor, log_normalizer: Tensor, population: int) -> Tensor:
    """Noise-contrastive loss of similarities [B, 1 + M], each row's first the true pair, a mean over B.

    -log h(first) - sum log(1 - h(other)) with h = p / (p + M / n) and p = exp(similarity) / normalizer, as in the
    paper's own code. Where all similarities are equal it is log(1 + M) + M log(1 + 1 / M), whatever they are.
    """
    noise = (similarities.shape[1] - 1) / population
    log_odds = similarities - log_normalizer - math.log(noise)
    return (F.softplus(-log_odds[:, 0]) + F.softplus(log_odds[:, 1:]).sum(1)).mean()


def log_mean_exp(values: Tensor) -> Tensor:
    """The logarithm of the mean of exp(values), []."""
    return values.flatten().logsumexp(0) - math.log(values.numel())


def _crd_term(batch: LossInputs) -> Tensor:
    assert batch.contrast is not None and batch.embeddings is not None
    assert batch.indices is not None and batch.negatives is not None
    ours, theirs = map(vectors, batch.embeddings)
    return batch.contrast(ours, theirs, batch.indices, batch.negatives)


TERMS: dict[str, Term] = {"crd": Term(_crd_term, needs=frozenset({"embeddings", "contrast"}))}
