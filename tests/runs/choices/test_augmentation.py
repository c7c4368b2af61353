"""augment=auto: what a probe cannot bear is left out, and what the command says stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import TINY, Ended, experiment
from transfer_cli.runs.choices.augmentation import VARIATIONS, Cost, described, recipe

Command = Callable[..., Ended]


def costs(**drops: float) -> dict[str, Cost]:
    """Nothing costs anything, but for these."""
    found = dict.fromkeys(VARIATIONS, 0.0) | {name.replace("_", " "): drop for name, drop in drops.items()}
    return {name: Cost(0.9, 0.9 - drop) for name, drop in found.items()}


def test_photos_are_varied_as_usual() -> None:
    allowed = recipe(costs(turning_upside_down=0.1, turning_by_any_angle=0.2))
    assert allowed["flip"] == 0.5
    assert allowed["crop_scale"] == (0.35, 1.0)
    assert "rotate" not in allowed
    assert described(allowed) == "crops of 35 to 100 %, mirroring, mild colour"


def test_letters_are_not_mirrored_and_hardly_cropped() -> None:
    drops = {"mirroring": 0.05, "turning_upside_down": 0.3, "turning_by_any_angle": 0.4, "colour": 0.03}
    measured = costs(**drops)
    measured["crops of 35 %"] = Cost(0.9, 0.7)
    allowed = recipe(measured)
    assert allowed == {"crop_scale": (0.7, 1.0), "crop_ratio": (0.85, 1.18)}


def test_what_has_no_upright_side_is_turned() -> None:
    allowed = recipe(costs())
    assert (allowed["rotate"], allowed["vertical_flip"]) == (180.0, 0.5)


def test_what_costs_a_little_is_no_licence() -> None:
    assert Cost(0.6, 0.595).bearable()
    assert not Cost(0.6, 0.58).bearable()


@pytest.fixture(scope="module")
def arrows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright left or right halves: classes that mirroring exchanges."""
    folder, generator = tmp_path_factory.mktemp("arrows"), np.random.default_rng(0)
    for label, side in (("left", slice(0, 24)), ("right", slice(24, 48))):
        (folder / label).mkdir()
        for number in range(40):
            pixels = generator.integers(0, 60, (48, 48, 3), dtype=np.uint8)
            pixels[:, side] += 150
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


REAL = ["model=efficientnet_lite0", "trainer.device=cpu", "trainer.precision=fp32", "image_size=64", "trainer.epochs=1"]


def test_classes_that_mirroring_exchanges_are_not_mirrored(command: Command, arrows: Path) -> None:
    words = [*REAL, "dataset=folder", f"dataset.path={arrows}", "augment.erase=0.1", "tune=off", "name=arrows"]
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "no mirroring" in ended.out
    chosen = yaml.safe_load(Path("outputs/runs/arrows/config.yaml").read_text())["augment"]
    assert (chosen["name"], chosen["flip"], chosen["erase"]) == ("measured", 0.0, 0.1)


def test_random_weights_measure_nothing(command: Command) -> None:
    words = [word for word in TINY if not word.startswith("augment=")]
    ended = command(*words, "name=random")
    assert ended.code == 0, ended.err
    assert "random weights see nothing" in ended.out


def test_own_data_are_measured_by_default() -> None:
    assert experiment("dataset=folder", "dataset.path=x").augment.name == "auto"
