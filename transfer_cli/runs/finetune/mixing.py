"""What is kept of a finetuning: its weights, or something between them and the frozen network with its fitted head.

"Robust fine-tuning of zero-shot models" (WiSE-FT: Wortsman 2022, arXiv 2109.01903). Where there are few images the two
are about as good and wrong in different ones, and a mean of their weights is often better than either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transfer_cli.engine.best import standard_error
from transfer_cli.engine.stop import Stop
from transfer_cli.methods.calibration import fitted_loss
from transfer_cli.methods.scores import Scores
from transfer_cli.methods.soups import Weights, interpolated
from transfer_cli.models.network import Network
from transfer_cli.models.tensors import load_into
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.finish import Outputs
from transfer_cli.runs.frozen.probe import fit_probe, put_head
from transfer_cli.runs.loop_job import LoopJob
from transfer_cli.strategies.extract import Fitted

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the trained weights."""


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
        if self.fitted is None:
            quiet = Reporter(quiet=True)
            self.fitted = fit_probe(job.materials, self.network, self.epochs, job.compute, None, quiet, stop)
        put_head(self.network, self.fitted)
        return self.network.module.state_dict()


@dataclass(frozen=True)
class Tried:
    """What one share is on validation."""

    share: float
    val: Scores
    rank: float
    """The larger the better."""
    loss: float
    """Cross-entropy at the temperature that suits it: how sure a share is of itself is easily mended."""


def keep_a_mixture(start: FrozenStart, job: LoopJob, reporter: Reporter, stop: Stop) -> dict[str, Any]:
    """Load into the network, which has the best epoch's weights, the mixture with the frozen ones that is kept.

    Of the shares that validation cannot tell apart by the metric, those within a standard error of the best, it is the
    one whose probabilities suit validation best. Returns what the summary says of it. Raises Stopped.
    """
    module, metric = job.network.module, job.materials.task.metric
    trained = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    frozen = start.weights(job, stop)
    outputs: list[Outputs | None] = []
    for share in SHARES:
        load_into(module, interpolated(frozen, trained, share))
        outputs.append(job.outputs("val", stop))
    found = job.world.of_first(lambda: [_scored(job, one) for one in outputs])
    tried = [Tried(share, *one) for share, one in zip(SHARES, found, strict=True)]
    kept = likeliest(tried, metric, int((job.materials.images.labels[job.materials.images.splits["val"]] >= 0).sum()))
    load_into(module, interpolated(frozen, trained, kept.share))
    shown = ", ".join(f"{one.share:g}: {one.val[metric]:.4f}" for one in tried)
    reporter.say(
        f"mixed     {kept.share:g} of the trained weights, else the frozen ones; by share, {metric} is {shown}"
    )
    by_share = {f"{one.share:g}": float(one.val[metric]) for one in tried}
    return {"share": kept.share, "metric": by_share, "val": kept.val}


def likeliest(tried: list[Tried], metric: str, images: int) -> Tried:
    """The lowest loss among those whose rank is within a standard error, of so many images, of the highest."""
    top = max(one.rank for one in tried)
    chance = standard_error(metric, top, images)
    return min((one for one in tried if one.rank >= top - chance), key=lambda one: one.loss)


def _scored(job: LoopJob, outputs: Outputs | None) -> tuple[Scores, float, float]:
    """Scores, rank and loss, as `Tried` has them."""
    assert outputs is not None
    task, val = job.materials.task, job.materials.task.scores(*outputs)
    return val, task.rank(val)[0], fitted_loss(*outputs)
