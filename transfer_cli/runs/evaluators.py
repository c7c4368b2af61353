"""What is evaluated at the end of every epoch: a new evaluator is a function, and its name in `EVALUATORS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transfer_cli.engine.device import Compute
from transfer_cli.engine.evaluation import BATCH_SIZE, evaluate
from transfer_cli.engine.stop import Stop
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.scores import Scores
from transfer_cli.models.network import Network
from transfer_cli.runs.inputs import Inputs
from transfer_cli.runs.materials import Materials


@dataclass(frozen=True)
class Evaluation:
    """A network in training, and what it is evaluated on."""

    network: Network
    inputs: Inputs
    materials: Materials
    compute: Compute
    average: Average | None
    """Of the weights, where one is kept."""
    stop: Stop

    def scores(self, split: str) -> Scores | None:
        """Of the network as it is; None where the split has no images or a signal asked for an end."""
        if len(self.materials.images.splits[split]) == 0:
            return None
        batches = self.inputs.ordered(split, BATCH_SIZE[self.compute.device.type])
        task, to_device = self.materials.task, self.inputs.to_device
        return evaluate(self.network, batches, task, self.compute, to_device, self.stop)


Evaluator = Callable[[Evaluation], dict[str, Scores]]
"""Scores by the name that the log gives them; none where a signal asked for an end."""


def validation(evaluation: Evaluation) -> dict[str, Scores]:
    """`val`: of the averaged weights where these are kept, and then `val_raw` of the weights themselves."""
    raw = evaluation.scores("val")
    if evaluation.average is None or raw is None:
        return {} if raw is None else {"val": raw}
    with evaluation.average.swapped(evaluation.network.module):
        averaged = evaluation.scores("val")
    return {} if averaged is None else {"val": averaged, "val_raw": raw}


EVALUATORS: tuple[Evaluator, ...] = (validation,)


def evaluate_epoch(evaluation: Evaluation) -> dict[str, Scores]:
    """The scores of every evaluator; `val` chooses the best epoch."""
    return {name: scores for evaluator in EVALUATORS for name, scores in evaluator(evaluation).items()}
