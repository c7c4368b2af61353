"""What several trainings of one command share, looked at before any of them writes a file."""

from __future__ import annotations

import numpy as np

from transfer_cli.config.schema import Experiment
from transfer_cli.data.sources import load as sources
from transfer_cli.engine.stop import Stop
from transfer_cli.errors import UserError
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs.choices.image_size import with_size
from transfer_cli.runs.machine import open_machine
from transfer_cli.runs.materials import Plan, open_training_pixels
from transfer_cli.runs.pretrained import find_weights
from transfer_cli.runs.views import NO_AUGMENT


def check_weights(e: Experiment, reporter: Reporter) -> None:
    """Raises UserError where the weights of the model cannot be had."""
    find_weights(e, open_machine(e, reporter).seen_weights, reporter)


def check_shared_input(e: Experiment, reporter: Reporter) -> None:
    """Weights are found and every image is decoded into the store, where each training finds it.

    Raises UserError where that cannot be, or where validation, which is to choose, has no images.
    """
    machine = open_machine(e, reporter)
    pretrained = find_weights(e, machine.seen_weights, reporter)
    images = sources.load(e.dataset, e.seed)
    if not np.any(images.labels[images.splits["val"]] >= 0):
        raise UserError(f"mode={e.mode} chooses on validation, and there are no such images: see dataset.val_fraction.")
    e, pretrained = with_size(e, pretrained, images, reporter)
    open_training_pixels(e, images, pretrained, Plan(1, NO_AUGMENT), machine, reporter, Stop())
