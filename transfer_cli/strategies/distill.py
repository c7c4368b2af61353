"""Distill: a student trains whole, against labels and teachers' outputs for the same view of each sample."""

from __future__ import annotations

from torch import nn

from transfer_cli.data.batches import Batch
from transfer_cli.engine.devices.device import sent
from transfer_cli.engine.strategy import ParameterGroup, StepResult
from transfer_cli.methods.distill.distillation import DistillationLoss, Outputs
from transfer_cli.methods.distill.output_rows import Layout, split_teachers
from transfer_cli.models.network import Network
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.trainable import Trainable

LOSS_GROUP = "distillation"
"""The parameter group of what the loss itself learns."""


class Distill(nn.Module):
    """The loss of `methods.distill`; what it learns itself (projections, embeddings) is never exported.

    A batch carries teacher outputs [B, sum of widths], laid out as `layouts` say, and negatives [B, M] where the loss
    contrasts samples.
    """

    network: Network
    loss: DistillationLoss

    def __init__(self, network: Network, loss: DistillationLoss, layouts: tuple[Layout, ...]) -> None:
        super().__init__()
        self.network, self.loss, self.layouts = network, loss, layouts
        self.trainable = whole(network)

    def train_mode(self, epoch: int) -> None:
        """All of the student trains, in every epoch."""
        self.trainable.apply(epoch)
        self.loss.train()

    def forward(self, batch: Batch) -> StepResult:
        """The loss of one batch, with the share of each term in it."""
        assert batch.teacher is not None
        student = self._student(batch)
        teacher = split_teachers(batch.teacher, self.layouts)
        indices = None if batch.negatives is None else sent(batch.indices, batch.negatives.device)
        loss, terms = self.loss(student, teacher, batch.labels, indices, batch.negatives)
        parts = {name: self.loss.weights[name] * value for name, value in terms.items()}
        return StepResult(loss, student.logits, parts)

    def _student(self, batch: Batch) -> Outputs:
        stages = self.loss.student_stages
        if not stages:
            return Outputs(self.network.forward(batch.inputs))
        return Outputs(*forward_taps(self.network, batch.inputs, stages))


def whole(network: Network) -> Trainable:
    """All parameters of a network train from the start."""
    return Trainable(network, frozenset(name for name, _ in network.module.named_parameters()))


def distill_groups(network: Network, loss: DistillationLoss) -> list[ParameterGroup]:
    """The student's groups by stage, then one of what the loss learns."""
    groups = parameter_groups(whole(network), Rates())
    own = dict(loss.named_parameters())
    return [*groups, ParameterGroup(LOSS_GROUP, own, 1.0, True)] if own else groups
