"""logger=tensorboard: event files in `tensorboard/` of the run directory; `tensorboard --logdir outputs` shows all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from transfer_cli.records.loggers.logger import Run

FOLDER = "tensorboard"


class TensorBoardLogger:
    """Scalars by step, the settings as text, and the run's pictures."""

    remote = False

    def __init__(self) -> None:
        self._writer: Any = None

    def begins(self, run: Run) -> bool:
        """What an earlier process logged after the state that the run goes on from is taken back."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.directory / FOLDER
        fresh = not folder.is_dir()
        # All of it, where the run starts again from its beginning.
        self._writer = SummaryWriter(str(folder), purge_step=None if fresh else run.first_step + min(run.first_step, 1))
        lines = "\n".join(f"    {key}: {value}" for key, value in run.settings.items())
        self._writer.add_text("settings", lines)
        return fresh or run.first_step == 0

    def scores(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Each as a scalar."""
        for name, value in {**values, "epoch": float(epoch)}.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def ends(self, run: Run, status: str, summary: Mapping[str, float]) -> None:
        """The final scores and the pictures."""
        for name, value in summary.items():
            self._writer.add_scalar(f"result/{name}", value, 0)
        for path in sorted((run.directory / "plots").glob("*.png")):
            with Image.open(path) as picture:
                self._writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
        self._writer.close()
