"""How a network in training is evaluated, and the scores of every evaluator at the end of an epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from transfer_cli.engine.devices.device import Compute
from transfer_cli.engine.evaluation import BATCH_SIZE, Turns, evaluate
from transfer_cli.engine.ranks.world import ALONE, World
from transfer_cli.engine.stop import Stop
from transfer_cli.extras import named
from transfer_cli.methods.averaging import Average
from transfer_cli.methods.scores import Scores
from transfer_cli.models.network import Network
from transfer_cli.runs.evaluators import EVALUATORS
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
    """Of the weights, where one is kept: then it is what evaluators see."""
    stop: Stop
    world: World = ALONE
    """The ranks that share the work; all of them must ask for the same scores then."""
    whole: Callable[[], AbstractContextManager[None]] = nullcontext
    """Within, each rank has all of the network's weights."""

    def scores(self, split: str) -> Scores | None:
        """Of the network as it is; None where no image of the split has a label or a signal asked for an end."""
        images = self.materials.images
        if not images.labelled(split):
            return None
        size = BATCH_SIZE[self.compute.device.type]
        batches = self.inputs.ordered(split, size, self.world.shard)
        turns = Turns.of(self.world, len(images.splits[split]), size)
        task, to_device = self.materials.task, self.inputs.to_device
        with self.whole():
            return evaluate(self.network, batches, task, self.compute, to_device, self.stop, turns)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the network has the weights that would be kept."""
        if self.average is None:
            yield
        else:
            with self.average.swapped(self.network.module):
                yield


Evaluator = Callable[[Evaluation], dict[str, Scores]]


def validation(evaluation: Evaluation) -> dict[str, Scores]:
    """`val`, which chooses the best epoch."""
    val = evaluation.scores("val")
    return {} if val is None else {"val": val}


def evaluate_epoch(evaluation: Evaluation) -> dict[str, Scores]:
    """The scores of every evaluator; beside an average of the weights `val_raw`, of the weights themselves."""
    raw = evaluation.scores("val") if evaluation.average is not None else None
    with evaluation.averaged():
        evaluators: list[Evaluator] = [named(path) for path in EVALUATORS]
        found = {name: scores for evaluator in evaluators for name, scores in evaluator(evaluation).items()}
    return found if raw is None else {**found, "val_raw": raw}
