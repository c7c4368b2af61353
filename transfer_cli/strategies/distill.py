"""Distill: a student trains whole, against labels and against what teachers say about the same view of each sample."""

from __future__ import annotations

from transfer_cli.data.batches import Batch
from transfer_cli.engine.strategy import ParameterGroup, StepResult
from transfer_cli.methods.distill.distillation import DistillationLoss, Outputs
from transfer_cli.methods.distill.teacher_outputs import Layout, split_teachers
from transfer_cli.models.network import Network
from transfer_cli.models.taps import forward_taps
from transfer_cli.strategies.groups import Rates, parameter_groups
from transfer_cli.strategies.trainable import Trainable

ANSWERS, NEGATIVES = "teacher", "negatives"
"""Extras of a batch: answers [B, sum of widths] as `layouts` say, negatives [B, M]."""

BESIDE = "distillation"
"""What is learnt beside the student: the name of its parameter group, and of its file in a state."""


class Distill:
    """The loss of `methods.distill.distillation`; what it learns itself (projections, embeddings) is never exported."""

    def __init__(self, network: Network, loss: DistillationLoss, layouts: tuple[Layout, ...]) -> None:
        self.network, self.loss, self.layouts = network, loss, layouts
        self.trainable = Trainable(network, frozenset(name for name, _ in network.module.named_parameters()))

    def parameter_groups(self) -> list[ParameterGroup]:
        """The student's groups by stage, then one of what the loss learns."""
        own = dict(self.loss.named_parameters())
        groups = parameter_groups(self.trainable, Rates())
        return [*groups, ParameterGroup(BESIDE, own, 1.0, True)] if own else groups

    def train_mode(self, epoch: int) -> None:
        """All of the student trains, in every epoch."""
        self.trainable.apply(epoch)
        self.loss.train()

    def step(self, batch: Batch) -> StepResult:
        """The loss of one batch with its extras."""
        student = self._student(batch)
        teacher = split_teachers(batch.extras[ANSWERS], self.layouts)
        negatives = batch.extras.get(NEGATIVES)
        indices = None if negatives is None else batch.indices.to(negatives.device)
        loss, _ = self.loss(student, teacher, batch.labels, indices, negatives)
        return StepResult(loss, student.logits)

    def _student(self, batch: Batch) -> Outputs:
        stages = self.loss.student_stages
        if not stages:
            return Outputs(self.network.forward(batch.inputs))
        return Outputs(*forward_taps(self.network, batch.inputs, stages))
