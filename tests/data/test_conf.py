"""Every YAML of the two groups is one that the code can use."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from transfer_cli.config import Augment
from transfer_cli.data.torchvision_sets import SETS

CONF = Path(__file__).parents[2] / "conf"
COMMON = {"name", "path", "val_fraction", "test_fraction", "train_fraction", "shots"}
COLUMNS = {"labels", "image_column", "label_column"}
EXTRA = {
    "digits": set(),
    "folder": {"labels"},
    "fake": {"num_classes", "samples"},
    "manifest": {*COLUMNS, "split_column", "weight_column"},
    "hf": {*COLUMNS, "hub", "subset"},
    "webdataset": COLUMNS,
}


def options(group: str) -> dict[str, Any]:
    return {file.stem: yaml.safe_load(file.read_text()) for file in sorted((CONF / group).glob("*.yaml"))}


def test_every_data_set_has_its_yaml_with_its_keys() -> None:
    found = options("dataset")
    assert found["digits"].pop("image_size") == 64
    found["digits"] = found["digits"]["dataset"]
    keys = {name: set(values) for name, values in found.items()}
    assert keys == {name: COMMON | EXTRA.get(name, {"download"}) for name in (*EXTRA, *SETS)}
    assert all(values["name"] == name for name, values in found.items())


def test_recipes_are_valid_and_digits_can_avoid_mirroring() -> None:
    recipes = {}
    for name, values in options("augment").items():
        pairs = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        recipes[name] = Augment(**(values | pairs))
        assert recipes[name].name == name
    assert sorted(recipes) == ["light", "none", "standard"]
    assert recipes["light"].flip == 0


@pytest.mark.parametrize("group", ["dataset", "augment"])
def test_help_finds_one_line_of_meaning(group: str) -> None:
    for file in (CONF / group).glob("*.yaml"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), file
