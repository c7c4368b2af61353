"""What is kept of a finetuning: its weights, or something between them and the frozen network with its fitted head.

"Robust fine-tuning of zero-shot models" (WiSE-FT: Wortsman 2022, arXiv 2109.01903). Where there are few images the two
are about as good and wrong in different ones, and a mean of their weights is often better than either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transfer_cli.engine.best import standard_error
from transfer_cli.engine.ranks.agreement import Following, agreed
from transfer_cli.engine.stop import Stop
from transfer_cli.methods.scores import Rank, Scores
from transfer_cli.methods.soups import Weights, interpolated
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import load_into
from transfer_cli.records.pages.render import score
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.evaluation import Evaluation
from transfer_cli.runs.finish import STOPPED
from transfer_cli.runs.frozen.probe import fit_probe, put_head
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.strategies.extract import Fitted

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the trained weights."""
USUAL = 0.75
"""On the image sets that rules were chosen by it was never far from the best; a small validation split often is."""


@dataclass
class FrozenStart:
    """The network as it was pretrained, and the head that is fitted to its features: where mixing begins."""

    network: Network
    epochs: int
    """In which its head is fitted; 0: by L-BFGS."""
    fitted: Fitted | None = None
    """Once it is known."""

    def weights(self, job: LoopJob, stop: Stop) -> Weights:
        """Its tensors by name. The head is fitted again where an earlier process did that; features are cached."""
        world, quiet = job.world, Reporter(quiet=True)
        if self.fitted is None:
            stop = stop if world.is_first else Following(stop, world)
            self.fitted = fit_probe(job.materials, self.network, self.epochs, job.compute, None, quiet, stop)
        put_head(self.network, self.fitted)
        world.copy_first(self.network)
        return self.network.module.state_dict()


def keep_a_mixture(start: FrozenStart, job: LoopJob, best: Scores, reporter: Reporter, stop: Stop) -> dict[str, Any]:
    """Load into the network, which has the weights of the best epoch, of these scores, the mixture that is kept.

    It is the usual one, unless another share is better on validation by a standard error. Returns what the summary says
    of it. Raises Stopped.
    """
    module, task = job.network.module, job.materials.task
    trained = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    frozen = start.weights(job, stop)
    # All ranks end after the same evaluation.
    stop = agreed(stop, job.world)
    evaluation = Evaluation(job.network, job.inputs, job.materials, job.compute, None, stop, job.world)
    found: dict[float, Scores] = {}
    for share in SHARES:
        load_into(module, interpolated(frozen, trained, share))
        val = best if share == 1 else evaluation.scores("val")
        if val is None:
            stop.check(STOPPED)
        assert val is not None
        found[share] = val
    ranks = {share: task.rank(val) for share, val in found.items()}
    share = kept(ranks, task.metric, job.materials.images.labelled("val"))
    load_into(module, interpolated(frozen, trained, share))
    by_share = {f"{one:g}": float(val[task.metric]) for one, val in found.items()}
    shown = ", ".join(f"{one}: {score(value, task.metric)}" for one, value in by_share.items())
    reporter.say(
        f"mixed     {share:g} of the trained weights, else the frozen ones; {task.metric} on validation by that share: "
        f"{shown}"
    )
    return {"share": share, "metric": by_share, "val": found[share]}


def kept(ranks: Mapping[float, Rank], metric: str, images: int) -> float:
    """The usual share; where another's rank is higher by a standard error, of so many images, the highest one's."""
    best = max(ranks, key=lambda share: ranks[share])
    chance = standard_error(metric, ranks[best][0], images)
    return USUAL if ranks[USUAL][0] >= ranks[best][0] - chance else best
