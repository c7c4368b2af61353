"""The same training in Lightning, as its documentation has it, without logger, progress bar and checkpoints.

python -m tests.benchmarks.training.with_lightning turns '<setting>'    an epoch for each line on standard input
python -m tests.benchmarks.training.with_lightning whole '<setting>'    a run, with validation and test
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import lightning
import torch
from torch import Tensor

from tests.benchmarks.training.pieces import Setting
from tests.benchmarks.training.turns import Asked, Turn, processor_seconds, tell_turn


class Module(lightning.LightningModule):
    """A classifier."""

    def __init__(self, setting: Setting, classes: int) -> None:
        super().__init__()
        self.setting, self.module = setting, setting.network(classes)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss."""
        return self.setting.loss(self.module, *batch)

    def _score(self, name: str, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        self.log(name, (self.module(images).argmax(1) == labels).float().mean(), batch_size=len(labels))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy."""
        self._score("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Accuracy."""
        self._score("test", batch)

    def configure_optimizers(self) -> Any:
        """Cosine from step to step, where an end is known."""
        optimizer, steps = self.setting.optimizer(self), self.trainer.estimated_stepping_batches
        if steps == math.inf:
            return optimizer
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Turns(lightning.Callback):
    """Lets an epoch wait until it is asked for; the workers begin it within its time, as in any training."""

    def __init__(self, asked: Asked, images: int) -> None:
        self._asked, self._images = asked, images

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Wait."""
        if not self._asked.wait():
            trainer.should_stop = True
        self._clock, self._processor = time.perf_counter(), processor_seconds()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell."""
        seconds, processor = time.perf_counter() - self._clock, processor_seconds() - self._processor
        tell_turn(self._asked, Turn(self._images, seconds, processor))


def trainer(setting: Setting, *callbacks: lightning.Callback, epochs: int) -> lightning.Trainer:
    """On the CPU."""
    return lightning.Trainer(
        accelerator="cpu",
        devices=1,
        precision=setting.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def main() -> None:
    """Train when asked, or at once to the end."""
    how, text = sys.argv[1:]
    asked, setting = Asked(), Setting.read(text)
    lightning.seed_everything(0, verbose=False)
    loaders, classes = setting.loaders()
    module = Module(setting, classes)
    if how == "turns":
        asked.tell({})
        trainer(setting, Turns(asked, setting.images), epochs=-1).fit(module, loaders[0])
        return
    train, val, test = loaders
    whole = trainer(setting, epochs=setting.epochs)
    whole.fit(module, train, val)
    asked.tell(whole.test(module, test, verbose=False)[0])


if __name__ == "__main__":
    main()
