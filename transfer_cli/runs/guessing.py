"""What a training would reach that learns nothing."""

from __future__ import annotations

import numpy as np

from transfer_cli.engine.watch import Watch
from transfer_cli.runs.materials import Materials


def watch_of(m: Materials) -> Watch | None:
    """What guessing would reach; only for finetuning, whose loss is that of the labels."""
    train, val = (m.images.labels[m.images.splits[split]] for split in ("train", "val"))
    if m.experiment.strategy.name != "finetune" or len(train) == 0:
        return None
    share = float(np.bincount(train[train >= 0]).max() / len(train))
    return Watch(len(m.images.classes), share, len(train), len(val))
