"""How good predictions are: sums over batches on the device, read once, and which score chooses among epochs.

Own code in place of scikit-learn, which takes a second to import and wants all logits on the host; its tests compare
the two. AUROC, which needs every logit at once, is scikit-learn's.

Legend: B samples of a batch, N of all, K classes. A label of -1 means unlabelled; such samples count nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.errors import RunError

Scores = dict[str, float]
Rank = tuple[float, float]
"""The larger the better, whatever the metric."""

WORST: Rank = (-float("inf"), -float("inf"))
_CALIBRATION_BINS = 15


def rank(scores: Mapping[str, float], metric: str) -> Rank:
    """Where `scores` stand by `metric`; among equal ones the lower loss wins. A loss ranks by its negative."""
    value = scores[metric]
    return (-value if metric == "loss" else value), -scores["loss"]


@dataclass(frozen=True)
class Part:
    """The sums of one rank: counts [2 + K * K], of each of its batches loss and gaps, probabilities where kept."""

    counts: Tensor
    sums: list[Tensor]
    kept: list[tuple[Tensor, Tensor]] | None


class Tally:
    """Sums of everything that the scores of a classification need.

    `keep_logits`: for AUROC, as probabilities on the host.
    """

    def __init__(self, classes: int, device: torch.device, *, keep_logits: bool = False) -> None:
        # MPS has no float64.
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._precise = precise
        self._sums: list[Tensor] = []
        """Of each batch: its loss, then its gaps by calibration bin, [1 + bins]."""
        self._in_top5, self._not_finite = torch.zeros(2, dtype=torch.int64, device=device).unbind()
        self._confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        self._edges = torch.linspace(0, 1, _CALIBRATION_BINS + 1, dtype=torch.float64)[1:-1].to(device, precise)
        self._kept: list[tuple[Tensor, Tensor]] | None = [] if keep_logits else None
        self._classes = classes

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits [B, K] and labels [B] on the device. Nothing is read back."""
        labelled = labels >= 0
        true = labels.where(labelled, 0)
        self._not_finite += ((~logits.isfinite()).any(1) & labelled).sum()
        shifted = logits.to(self._precise)
        shifted = shifted - shifted.amax(1, keepdim=True)
        log_sums = shifted.exp().sum(1).log()
        own = shifted.gather(1, true[:, None])
        loss = torch.where(labelled, log_sums - own[:, 0], 0).sum()
        # Among equal logits the lower class comes first, as in argmax.
        places = torch.arange(self._classes, device=logits.device)
        ahead = (shifted > own) | ((shifted == own) & (places < true[:, None]))
        self._in_top5 += ((ahead.sum(1) < 5) & labelled).sum()
        predicted = logits.argmax(1)
        self._confusion.scatter_add_(0, true * self._classes + predicted, labelled.long())
        confidence = (-log_sums).exp()
        bins = torch.bucketize(confidence, self._edges)
        gaps = torch.where(labelled, confidence - (predicted == true).to(confidence.dtype), 0)
        of_bins = (bins[:, None] == torch.arange(_CALIBRATION_BINS, device=bins.device)).to(gaps.dtype).T @ gaps
        self._sums.append(torch.cat([loss[None], of_bins]))
        if self._kept is not None:
            self._kept.append((logits[labelled].float().softmax(1).cpu(), labels[labelled].cpu()))

    def part(self) -> Part:
        """What other ranks need of this one's batches, on the host. The device synchronises here."""
        counts = torch.cat([self._in_top5[None], self._not_finite[None], self._confusion])
        return Part(counts.cpu(), [sums.cpu() for sums in self._sums], self._kept)

    def join(self, parts: Sequence[Part]) -> None:
        """Be the sums of all ranks, by rank; batches of a data set went to one after another.

        Added up in the order of the batches, the same bits as on one.
        """
        counts = torch.stack([part.counts for part in parts]).sum(0).to(self._confusion.device)
        self._in_top5, self._not_finite, self._confusion = counts[0], counts[1], counts[2:]
        self._sums = [one for turn in zip_longest(*(part.sums for part in parts)) for one in turn if one is not None]
        if self._kept is not None:
            self._kept = [pair for part in parts for pair in part.kept or ()]

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts [K, K]: row = true class, column = predicted class."""
        counts: NDArray[np.int64] = self._confusion.cpu().numpy().reshape(self._classes, self._classes)
        return counts

    def scores(self) -> Scores:
        """accuracy, top5_accuracy (top-min(5, K)), macro_f1, balanced_accuracy, loss (cross-entropy in nats), ece.

        And auroc where logits were kept. macro_f1 is the mean over classes that occur among labels or predictions,
        balanced_accuracy over those among labels, as scikit-learn has it; ece is the expected calibration error over
        15 bins of equal width, closed above ("On Calibration of Modern Neural Networks", Guo 2017, arXiv 1706.04599).
        The device synchronises here. Raises ValueError without a single labelled sample, RunError for logits that are
        not finite.
        """
        matrix = self.confusion
        count = int(matrix.sum())
        if count == 0:
            raise ValueError("no labelled samples to score")
        self._check_finite(count)
        hits, of_class = matrix.diagonal(), matrix.sum(1)
        loss, *gaps = sum(torch.stack(self._sums).cpu(), torch.zeros((), dtype=self._precise))
        occurring, there = of_class + matrix.sum(0), of_class > 0
        found = {
            "accuracy": float(hits.sum() / count),
            "top5_accuracy": int(self._in_top5) / count,
            "macro_f1": float(np.mean(2 * hits[occurring > 0] / occurring[occurring > 0])),
            "balanced_accuracy": float(np.mean(hits[there] / of_class[there])),
            "loss": float(loss) / count,
            "ece": float(torch.stack(gaps).abs().sum()) / count,
        }
        return found if self._kept is None else {**found, "auroc": _auroc(self._kept, of_class)}

    def _check_finite(self, count: int) -> None:
        # A comparison with nan is false, so that without this a broken network could score as perfect.
        broken = int(self._not_finite)
        if broken:
            raise RunError(
                f"the network's outputs are not finite for {broken:,} of {count:,} images. "
                "Lower optimizer.lr, or set trainer.precision=fp32."
            )


def scores(logits: NDArray[np.float32], labels: NDArray[np.int64], *, auroc: bool = False) -> Scores:
    """The scores of logits [N, K] and labels [N] in memory."""
    tally = Tally(logits.shape[1], torch.device("cpu"), keep_logits=auroc)
    tally.add(torch.from_numpy(logits), torch.from_numpy(labels))
    return tally.scores()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities [N, K] of logits [N, K], in float64."""
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts [K, K]: row = true class, column = predicted class."""
    labelled = labels >= 0
    cells = labels[labelled] * classes + predicted[labelled]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _auroc(kept: list[tuple[Tensor, Tensor]], of_class: NDArray[np.int64]) -> float:
    """Area under the ROC curve, each class against the rest, the mean over classes that have both kinds of samples.

    "A Simple Generalisation of the Area Under the ROC Curve for Multiple Class Classification Problems" (Hand 2001)
    discusses the choice; nan where no class can be told from a rest.
    """
    from sklearn.metrics import roc_auc_score

    probabilities = torch.cat([part for part, _ in kept]).double().numpy()
    labels = torch.cat([part for _, part in kept]).numpy()
    told = [label for label, count in enumerate(of_class) if 0 < count < len(labels)]
    areas = [roc_auc_score(labels == label, probabilities[:, label]) for label in told]
    return float(np.mean(areas)) if areas else float("nan")
