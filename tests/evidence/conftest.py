"""A set of a few coloured pictures, and results that nobody measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.evidence.results import Result

COLOURS = {"blue": (20, 30, 200), "green": (20, 200, 30), "red": (200, 20, 30)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Forty noisy pictures of each of three colours, by class."""
    draw = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        folder = tmp_path / "made" / "pictures" / label
        folder.mkdir(parents=True)
        for number in range(40):
            noise = draw.integers(-20, 20, (16, 16, 3))
            Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(folder / f"{number:02d}.png")
    return tmp_path / "made" / "pictures"


@pytest.fixture
def made() -> Callable[..., Result]:
    """`made(set, method, seed, test)`: a result with that accuracy, a share."""

    def result(
        name: str,
        method: str,
        seed: int,
        test: float | None,
        *,
        val: float | None = None,
        data: str = "low",
        held_back: bool = False,
    ) -> Result:
        return Result(
            key=f"{name}{data}{method}{seed}",
            model="net",
            set=name,
            held_back=held_back,
            data=data,
            seed=seed,
            method=method,
            setting="augment=none",
            val=test if val is None else val,
            test=test,
            seconds=1.0,
            commit="c0ffee",
            code="c0de",
            device="cpu",
        )

    return result
