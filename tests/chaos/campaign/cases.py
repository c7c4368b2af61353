"""The commands of the campaign: every strategy and way of training, sweeps, searches, first passes, uses of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import TINY

FILES = ("model.safetensors", "metrics.jsonl", "predictions.csv")
NAME = "run"
_PLAIN = [*(word for word in TINY if "epochs" not in word and "samples" not in word), "dataset.samples=90"]
_LOOP = [*_PLAIN, "model.name=test_efficientnet", "trainer.epochs=3", "tune=off", "trainer.checkpoint_every=2 steps"]
ONE_EPOCH = [*(word for word in _LOOP if "epochs" not in word), "trainer.epochs=1"]
FOLDER = [*(word for word in _LOOP if "dataset" not in word), "dataset=folder", "dataset.path=photos"]
_PROBE = [*(word for word in _PLAIN if "augment" not in word), "strategy=extract", "augment=none"]
_STUDENT = [*_LOOP, "strategy=distill", "strategy.use_teacher=true", "strategy.teacher.allow_chance=true"]
_STUDENT += ["strategy.teacher.weights=outputs/runs/teacher"]


@dataclass(frozen=True)
class Case:
    """A command, and what it must leave whatever happens to it."""

    words: list[str]
    before: tuple[str, ...] = ()
    """The command that must have run first, in the same folder."""
    photos: bool = False
    """Whether it reads a folder of images."""
    results: tuple[str, ...] = tuple(f"outputs/runs/{NAME}/{file}" for file in FILES)
    """The files that must be the same, as patterns."""
    ends: tuple[str, ...] = (f"name={NAME}", "resume=auto")
    workers: bool = False
    """Whether it starts processes that load images."""

    @property
    def command(self) -> list[str]:
        """The words that are given, and given again after a kill."""
        return [*self.words, *self.ends]

    def found(self, where: Path) -> dict[str, bytes]:
        """The files that must be the same, by their names."""
        paths = [path for pattern in self.results for path in where.glob(pattern)]
        return {str(path.relative_to(where)): path.read_bytes() for path in sorted(paths)}


def _jobs(folder: str) -> tuple[str, ...]:
    return tuple(f"outputs/{folder}/{NAME}/*/{file}" for file in FILES)


_TEACHER = (*_LOOP, "name=teacher", "trainer.epochs=1")
MODEL = (*ONE_EPOCH, "name=model")
_SEVERAL = (*ONE_EPOCH, "name=several", "-m", "optimizer.lr=1e-3,1e-2")
SEARCHED = "optimizer.lr=tag(log,interval(1e-4,1e-2))"
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
    "workers": Case(
        [*FOLDER, "augment=standard", "trainer.workers=2", "dataset.store=stream"], photos=True, workers=True
    ),
    "gradual": Case([*_LOOP, "strategy.gradual=1", "strategy.batch_norm=train"]),
    "lora": Case([*_LOOP, "strategy.adapter=lora", "strategy.adapter_rank=2"]),
    "sam": Case([*_LOOP, "strategy.sam=0.05", "optimizer=sgd"]),
    "cached prefix": Case([*_LOOP, "strategy.unfreeze=1", "augment.views=2"]),
    "first pass": Case([*(word for word in FOLDER if "epochs" not in word), "trainer.epochs=1"], photos=True),
    "probe": Case([*_PROBE, "strategy.solver=lbfgs"]),
    "grid": Case([*_PROBE, "strategy.solver=optimizer", "strategy.grid.lr=[1e-3,1e-2]", "trainer.epochs=5"]),
    "distill": Case([*_STUDENT, "augment.views=2"], before=_TEACHER),
    "generations": Case([*_STUDENT, "strategy.generations=2"], before=_TEACHER),
    "tuned": Case([*_PLAIN, "trainer.epochs=2", "dataset.samples=200"]),
    "sweep": Case([*ONE_EPOCH, "-m", "seed=0,1,2"], results=_jobs("sweeps")),
    "search": Case([*ONE_EPOCH, "-m", "hydra/sweeper=search", "sweep.trials=3", SEARCHED], results=_jobs("sweeps")),
    "compare": Case(
        [*ONE_EPOCH, "mode=compare", "compare.rows=[probe,lora]", "compare.seeds=1"], results=_jobs("compare")
    ),
    "soup": Case(
        ["mode=soup", "sweep=outputs/sweeps/several"],
        before=_SEVERAL,
        results=tuple(f"outputs/runs/{NAME}/{file}" for file in ("model.safetensors", "predictions.csv", "soup.json")),
    ),
    "predict": Case(
        ["mode=predict", "run=outputs/runs/model", "input=photos"],
        before=MODEL,
        photos=True,
        results=("outputs/runs/model/predict/*.csv",),
        ends=(),
    ),
    "export": Case(
        ["mode=export", "run=outputs/runs/model", "format=safetensors"],
        before=MODEL,
        results=("outputs/runs/model/export/**/*.safetensors",),
        ends=(),
    ),
}


def make_photos(where: Path) -> None:
    """Sixty small images of two classes."""
    random = np.random.default_rng(0)
    for number in range(60):
        file = where / Path("photos", f"class{number % 2}", f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(file)
