"""Published weights: what the libraries said is asked for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer_cli.models import published as module
from transfer_cli.models.published import SeenWeights, published, published_classes


def test_a_library_is_asked_once_and_never_again_with_the_same_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = SeenWeights(tmp_path / "seen")
    first = published("resnet18", "auto", None, seen)
    assert SeenWeights(tmp_path / "seen").find("resnet18", "auto", None) is None
    seen.keep()
    monkeypatch.setattr(module, "_torchvision", None)
    again = SeenWeights(tmp_path / "seen")
    assert published("resnet18", "auto", None, again) == first
    assert again.find("resnet18", "auto", "IMAGENET1K_V1") is None
    monkeypatch.setattr(module.metadata, "version", lambda package: "0.0")
    assert again.find("resnet18", "auto", None) is None


def test_a_damaged_file_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    seen = SeenWeights(tmp_path)
    first = published("resnet18", "auto", None, seen)
    seen.keep()
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    assert published("resnet18", "auto", None, SeenWeights(tmp_path)) == first


def test_classes_of_published_weights() -> None:
    assert published_classes(published("resnet18", "auto", None), "resnet18")[1] == "goldfish"
    assert published_classes(published("efficientnet_lite0", "auto", None), "efficientnet_lite0")[1] == "goldfish"
    random = module.WeightsSource("none", "random", published("resnet18", "auto", None).preprocessing)
    assert published_classes(random, "resnet18") == ()
