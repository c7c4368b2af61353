"""Students of tiny networks, and how two of them are compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.conftest import TINY, Ended

Command = Callable[..., Ended]
RUNS = Path("outputs/runs")
TAUGHT = [*TINY, "strategy=distill", "strategy.teacher.allow_chance=true", "strategy.use_teacher=true"]
CONVNEXT = ["strategy.teacher.model=test_convnext", "strategy.teacher.source=timm", "strategy.teacher.weights=none"]


def run(command: Command, name: str, *words: str) -> Path:
    ended = command(*TAUGHT, f"name={name}", *words)
    assert ended.code == 0, ended.err
    return RUNS / name


def same_student(one: Path, other: Path) -> bool:
    files = ("model.safetensors", "metrics.jsonl", "predictions.csv")
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def forget_last_epoch(path: Path) -> None:
    """As if the run had been killed before its last state was written."""
    shutil.rmtree(max((path / "checkpoints").iterdir()))
    (path / "summary.json").unlink()


def photos(folder: Path, first: int = 0) -> None:
    """Dark ones and bright ones, 20 each."""
    for number in range(first, first + 20):
        for name, level in (("dark", 40), ("bright", 200)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (level + number % 40, 3 * number, level)).save(folder / name / f"{number}.png")


OF_PHOTOS = [*(word for word in TAUGHT if not word.startswith("dataset")), "dataset=folder", "dataset.path=photos"]
