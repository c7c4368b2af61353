"""The commands of the campaign: every strategy and way of training, sweeps, and first passes over files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import TINY

FILES = ("model.safetensors", "metrics.jsonl", "predictions.csv")
NAME = "run"
_PLAIN = [*(word for word in TINY if "epochs" not in word and "samples" not in word), "dataset.samples=150"]
_LOOP = [*_PLAIN, "model.name=test_efficientnet", "trainer.epochs=3", "tune=off", "trainer.checkpoint_every=4 steps"]
_FOLDER = [*(word for word in _LOOP if "dataset" not in word), "dataset=folder", "dataset.path=photos"]
_PROBE = [*(word for word in _PLAIN if "augment" not in word), "strategy=extract", "augment=none"]
_STUDENT = [*_LOOP, "strategy=distill", "strategy.use_teacher=true", "strategy.teacher.allow_chance=true"]


@dataclass(frozen=True)
class Case:
    """A command, and what it must leave whatever happens to it."""

    words: list[str]
    before: tuple[str, ...] = ()
    """The command that must have run first, in the same folder."""
    photos: bool = False
    """Whether it reads a folder of images."""
    sweep: bool = False

    @property
    def command(self) -> list[str]:
        """The words that are given, and given again after a kill."""
        return [*self.words, f"name={NAME}", "resume=auto"]

    def results(self, where: Path) -> dict[str, bytes]:
        """The files of the run, or of all jobs of the sweep, that must be the same."""
        folder = where / "outputs" / ("sweeps" if self.sweep else "runs") / NAME
        runs = [path for path in sorted(folder.iterdir()) if path.is_dir()] if self.sweep else [folder]
        return {f"{run.relative_to(folder)}/{file}": (run / file).read_bytes() for run in runs for file in FILES}


_TEACHER = (*_LOOP, "name=teacher", "trainer.epochs=1")
CASES: dict[str, Case] = {
    "finetune": Case(
        [
            *_LOOP,
            "augment=standard",
            "augment.mixup=0.2",
            "strategy.ema=0.9",
            "model.name=test_vit",
            "strategy.drop_path=0.2",
        ]
    ),
    "workers": Case([*_FOLDER, "augment=standard", "trainer.workers=2", "dataset.store=stream"], photos=True),
    "gradual": Case([*_LOOP, "strategy.gradual=1", "strategy.batch_norm=train"]),
    "lora": Case([*_LOOP, "strategy.adapter=lora", "strategy.adapter_rank=2"]),
    "sam": Case([*_LOOP, "strategy.sam=0.05", "optimizer=sgd"]),
    "cached prefix": Case([*_LOOP, "strategy.unfreeze=1", "augment.views=2"]),
    "first pass": Case([*_FOLDER, "trainer.epochs=1"], photos=True),
    "probe": Case([*_PROBE, "strategy.solver=lbfgs"]),
    "grid": Case([*_PROBE, "strategy.solver=optimizer", "strategy.grid.lr=[1e-3,1e-2]", "trainer.epochs=5"]),
    "distill": Case([*_STUDENT, "strategy.teacher.weights=outputs/runs/teacher", "augment.views=2"], before=_TEACHER),
    "generations": Case(
        [*_STUDENT, "strategy.teacher.weights=outputs/runs/teacher", "strategy.generations=2"], before=_TEACHER
    ),
    "sweep": Case([*_LOOP, "trainer.epochs=2", "-m", "seed=0,1"], sweep=True),
}


def make_photos(where: Path) -> None:
    """Sixty small images of two classes."""
    random = np.random.default_rng(0)
    for number in range(60):
        file = where / Path("photos", f"class{number % 2}", f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(file)
