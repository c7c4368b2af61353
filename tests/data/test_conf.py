"""Every YAML of the two groups is one that the code can use."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import experiment
from transfer_cli.config.schema import Augment
from transfer_cli.data.sources.torchvision_sets import SETS

CONF = Path(__file__).parents[2] / "conf"
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
    assert keys == {name: {"name", *EXTRA.get(name, {"path", "download"})} for name in (*EXTRA, *SETS)}
    assert all(values["name"] == name for name, values in found.items())


def recipe(*overrides: str) -> Augment:
    return experiment(*overrides).augment


def test_recipes_carry_their_names_and_say_what_they_are() -> None:
    recipes = {file.stem: recipe(f"augment={file.stem}") for file in (CONF / "augment").glob("*.yaml")}
    assert sorted(recipes) == ["auto", "bit", "light", "none", "standard", "strong", "trivial"]
    assert all(found.name == name for name, found in recipes.items())
    assert recipes["none"] == Augment("none")
    light, standard, strong = (recipes[name] for name in ("light", "standard", "strong"))
    assert (light.flip, light.brightness, light.contrast, light.saturation) == (0, 0, 0, 0)
    assert standard.flip == 0.5 and min(standard.brightness, standard.contrast, standard.saturation) > 0
    assert strong.randaugment and strong.erase > 0
    assert recipes["trivial"].trivialaugment


def test_every_key_of_a_recipe_can_be_overridden() -> None:
    assert recipe("augment=light", "augment.randaugment=[3,5]", "augment.cutmix=1").randaugment == (3, 5)
    keys = set(yaml.safe_load((CONF / "augment" / "none.yaml").read_text()))
    assert keys == {field.name for field in fields(Augment)}


@pytest.mark.parametrize("group", ["dataset", "augment"])
def test_help_finds_one_line_of_meaning(group: str) -> None:
    for file in (CONF / group).glob("*.yaml"):
        lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), file
