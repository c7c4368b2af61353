"""The program's own epochs: composed, prepared and run as a command does it.

    python -m tests.benchmarks.training.ours model=resnet18 ...

trains an epoch for each line on standard input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.training.turns import Asked, Turn, processor_seconds, tell_turn
from tests.conftest import experiment
from transfer_cli.config.finetune import Finetune
from transfer_cli.config.schema import Experiment
from transfer_cli.data.batches import Epochs
from transfer_cli.engine.loop import Cursor, Trainer, train_epoch
from transfer_cli.engine.stop import Stop
from transfer_cli.engine.totals import Totals
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter
from transfer_cli.rundir import saved_experiment
from transfer_cli.runs.finetune import job as finetune
from transfer_cli.runs.loop_job import LoopJob

QUIET = Reporter(quiet=True, prints_result=False)


@dataclass
class Epoch:
    """One training, epoch after epoch, without evaluation and states."""

    job: LoopJob
    trainer: Trainer
    batches: Epochs
    number: int = 0

    @classmethod
    def of(cls, *words: str) -> Epoch:
        """What a command with these words would train."""
        job = finetune.prepare(experiment(*words), QUIET, Stop(), None)
        trainer = job.build_trainer(job.begin(None, QUIET, Stop()).strategy, lambda step: 1e-4, None, QUIET)
        return cls(job, trainer, job.inputs.shuffled(job.materials.experiment.trainer.step_images))

    def steps(self) -> Iterator[int]:
        """The images of each step of the next epoch."""
        totals = Totals.zeros(self.job.materials.task, self.job.compute.device)
        cursor = Cursor(self.number, step=self.number * self.batches.steps_per_epoch)
        self.number += 1
        return train_epoch(self.trainer, self.batches.epoch(cursor.epoch), cursor, totals)

    def about(self) -> dict[str, Any]:
        """What another loop needs to know to do the same."""
        m = self.job.materials
        return setting(m.experiment, m.preprocessing, {name: len(rows) for name, rows in m.images.splits.items()})


def setting(e: Experiment, preprocessing: Preprocessing, images: dict[str, int]) -> dict[str, Any]:
    """What `pieces.Setting` is made from, for the training of an experiment whose splits have so many images."""
    assert isinstance(e.strategy, Finetune)
    return {
        "model": e.model.name,
        "folder": e.dataset.path,
        "size": preprocessing.crop_pixels,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "interpolation": preprocessing.interpolation,
        "crop_scale": e.augment.crop_scale or (1.0, 1.0),
        "crop_ratio": e.augment.crop_ratio,
        "flip": e.augment.flip,
        "colour": (e.augment.brightness, e.augment.contrast, e.augment.saturation),
        "batch": e.trainer.batch_size,
        "images": images["train"],
        "held_out": images["val"],
        "smoothing": e.strategy.label_smoothing,
        "weight_decay": e.optimizer.weight_decay,
        "rate": e.optimizer.lr,
        "epochs": e.trainer.epochs,
    }


def setting_of(run: Path) -> dict[str, Any]:
    """The same of a run that has ended."""
    about, images = (json.loads((run / name).read_text()) for name in ("model.json", "dataset.json"))
    return setting(saved_experiment(run), Preprocessing(**about["preprocessing"]), images["images"])


def main() -> None:
    """Train when asked."""
    asked = Asked()
    epoch = Epoch.of(*sys.argv[1:])
    asked.tell(epoch.about())
    while asked.wait():
        clock, processor = time.perf_counter(), processor_seconds()
        images = sum(epoch.steps())
        tell_turn(asked, Turn(images, time.perf_counter() - clock, processor_seconds() - processor))


if __name__ == "__main__":
    main()
