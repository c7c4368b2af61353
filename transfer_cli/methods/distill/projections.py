"""Learned maps from a student's channels to a teacher's. They live beside the student and train with it.

They never enter its state dict: an exported student is the plain architecture.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Projections(nn.Module):
    """For each pair of feature shapes without the batch, one affine map of channels, alike at all positions."""

    def __init__(self, shapes: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layer(student, teacher) for student, teacher in shapes)

    def forward(self, number: int, features: Tensor) -> Tensor:
        """Student features of pair `number`, [B, C, ...], in the teacher's channels."""
        projected = self.layers[number](features)
        assert isinstance(projected, Tensor)
        return projected


def _layer(student: tuple[int, ...], teacher: tuple[int, ...]) -> nn.Module:
    if len(student) == 1:
        return nn.Linear(student[0], teacher[0])
    convolution = {2: nn.Conv1d, 3: nn.Conv2d}[len(student)]
    return convolution(student[0], teacher[0], kernel_size=1)
