"""What an audit finds in the images of a data set, from the features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from transfer_cli.config.extract import linear_probe
from transfer_cli.config.schema import Experiment
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.engine.stop import Stop
from transfer_cli.methods.label_errors import HeldOut, Suspicions, held_out, suspicions
from transfer_cli.methods.near_duplicates import Pair, near_duplicates
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.extract import job as extract
from transfer_cli.runs.views import NO_AUGMENT
from transfer_cli.strategies.extract import table


@dataclass(frozen=True)
class Findings:
    """All positions are those of `members`."""

    images: ImageSet
    members: NDArray[np.int64]
    """Indices of the images that were looked at, split by split."""
    splits: list[str]
    """Of each member."""
    labelled: NDArray[np.int64]
    """Positions of those with a label, which `held` and `labels` are about."""
    held: HeldOut | None
    """None where no class could be told from another."""
    labels: Suspicions | None
    pairs: list[Pair]

    def name(self, position: int) -> str:
        """What a member is called."""
        return self.images.ids[int(self.members[position])]

    def label(self, position: int) -> str | None:
        """The class that a member is labelled with."""
        label = int(self.images.labels[self.members[position]])
        return self.images.classes[label] if label >= 0 else None

    @property
    def likely(self) -> int:
        """How many labels are likely wrong."""
        return 0 if self.labels is None else int(self.labels.likely.sum())

    @property
    def across_splits(self) -> int:
        """How many pairs lie in two splits."""
        return sum(self.splits[pair.one] != self.splits[pair.other] for pair in self.pairs)


def look(e: Experiment, reporter: Reporter, stop: Stop) -> Findings:
    """Audit the data set of an experiment. Raises UserError where there is nothing to audit."""
    e = replace(e, strategy=linear_probe("lbfgs"), augment=NO_AUGMENT)
    job, cached = extract.cached_features(e, reporter, stop)
    images = job.materials.images
    counts = {split: len(indices) for split, indices in images.splits.items()}
    members = np.concatenate([images.splits[split] for split in counts])
    features = torch.cat([table(cached, split)[0] for split in counts])
    labels = images.labels[members]
    labelled = np.flatnonzero(labels >= 0)
    groups = None if images.groups is None else images.groups[members[labelled]]
    held = _held_out(
        e, features[torch.from_numpy(labelled)], labels[labelled], groups, len(images.classes), reporter, stop
    )
    splits = [split for split, count in counts.items() for _ in range(count)]
    return Findings(
        images,
        members,
        splits,
        labelled,
        held,
        None if held is None else suspicions(held.probabilities, labels[labelled]),
        near_duplicates(features, _kinds(counts, labels), e.audit.similarity),
    )


def _held_out(
    e: Experiment,
    features: torch.Tensor,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    classes: int,
    reporter: Reporter,
    stop: Stop,
) -> HeldOut | None:
    present = len(np.unique(labels))
    if present < 2 or len(labels) < 2 * e.audit.folds:
        reporter.warn(
            f"{len(labels):,} labelled images of {present} class(es): too few to say which labels are wrong; only "
            "near-duplicates are looked for"
        )
        return None
    if groups is not None and len(np.unique(groups)) < 2:
        reporter.warn("dataset.group: all images are of one group, so that no head can judge what it has not seen")
        return None
    known = torch.from_numpy(labels).to(features.device)

    def check() -> None:
        stop.check("while labels were judged; the same command starts again, with the features that it has")

    return held_out(features, known, classes, e.audit.folds, e.seed, groups, check)


def _kinds(counts: Mapping[str, int], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each split and class: images of one kind may be as alike as they like."""
    split = np.repeat(np.arange(len(counts)), [*counts.values()])
    return split * (int(labels.max(initial=0)) + 2) + labels + 1
