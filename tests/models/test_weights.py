"""Weights: found, read safely, fitted or refused."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.imagenet import IMAGENET
from transfer_cli.errors import UserError
from transfer_cli.models import backbones, weights
from transfer_cli.models.checkpoint_files import read_checkpoint
from transfer_cli.models.network import Network
from transfer_cli.models.preprocessing import Preprocessing


def tiny(classes: int = 3) -> Network:
    return backbones.build("test_resnet", "timm", classes, 32)


def file_source(path: Path) -> weights.WeightsSource:
    return weights.WeightsSource("file", f"weights {path}", IMAGENET, location=path)


def body(network: Network) -> dict[str, Tensor]:
    return {name: t for name, t in network.module.state_dict().items() if not name.startswith("fc.")}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_file_fills_the_body_and_replaces_a_head_of_other_classes(tmp_path: Path, suffix: str, wrapped: bool) -> None:
    donor, network = tiny(9), tiny(3)
    path = tmp_path / f"donor{suffix}"
    state = donor.module.state_dict()
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if wrapped else state, path)
    report = weights.load(network, file_source(path), 32)
    assert same(body(network), body(donor))
    assert not report.head_kept
    assert "head replaced" in report.label
    assert weights.load(tiny(9), file_source(path), 32).head_kept


def as_run(folder: Path, donor: Network, classes: str, **head: object) -> weights.WeightsSource:
    folder.mkdir()
    save_file(donor.module.state_dict(), folder / "model.safetensors")
    about = {"preprocessing": IMAGENET.to_dict(), "classes": list(classes), "head": head}
    (folder / "model.json").write_text(json.dumps(about))
    return weights.resolve("test_resnet", "timm", str(folder))


def test_rows_of_a_runs_head_are_kept_by_name(tmp_path: Path) -> None:
    donor = tiny(3)
    source = as_run(tmp_path / "run", donor, "abc")
    theirs = donor.module.state_dict()
    for classes, rows in {"abc": [0, 1, 2], "cab": [2, 0, 1], "b": [1]}.items():
        network = tiny(len(classes))
        report = weights.load(network, source, 32, classes=tuple(classes))
        assert report.head_kept and report.new_rows is None and report.label == source.label
        ours = network.module.state_dict()
        assert torch.equal(ours["fc.weight"], theirs["fc.weight"][rows])
        assert torch.equal(ours["fc.bias"], theirs["fc.bias"][rows])
    network = tiny(3)
    drawn = network.module.state_dict()["fc.weight"].clone()
    report = weights.load(network, source, 32, classes=("x", "c", "y"))
    assert (report.head_kept, report.new_rows) == (False, (0, 2))
    assert torch.equal(network.module.state_dict()["fc.weight"][1], theirs["fc.weight"][2])
    assert torch.equal(network.module.state_dict()["fc.weight"][[0, 2]], drawn[[0, 2]])
    assert same(body(network), body(donor))


@pytest.mark.parametrize("head", [{"kind": "cosine"}, {"pooling": "average"}, {"stages": ["layer4"]}])
def test_a_head_on_other_features_is_not_this_networks(tmp_path: Path, head: dict[str, object]) -> None:
    report = weights.load(tiny(3), as_run(tmp_path / "run", tiny(3), "abc", **head), 32, classes=tuple("abc"))
    assert not report.head_kept and "its head replaced" in report.label


def test_a_file_names_no_classes(tmp_path: Path) -> None:
    save_file(tiny(3).module.state_dict(), tmp_path / "donor.safetensors")
    report = weights.load(tiny(3), file_source(tmp_path / "donor.safetensors"), 32, classes=tuple("abc"))
    assert not report.head_kept and "its head replaced: no classes are named" in report.label


def test_the_file_of_a_run_names_them(tmp_path: Path) -> None:
    donor = tiny(3)
    as_run(tmp_path / "run", donor, "abc")
    source = weights.resolve("test_resnet", "timm", str(tmp_path / "run" / "model.safetensors"))
    network = tiny(3)
    assert weights.load(network, source, 32, classes=tuple("cab")).head_kept
    assert torch.equal(network.module.state_dict()["fc.bias"], donor.module.state_dict()["fc.bias"][[2, 0, 1]])
    assert "it knows none of these" in weights.load(tiny(3), source, 32, classes=tuple("xyz")).label


def test_a_file_of_another_architecture_names_up_to_five_tensors(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(backbones.build("resnet18", "auto", 3, 32).module.state_dict(), path)
    with pytest.raises(UserError, match="does not fit") as told:
        weights.load(tiny(), file_source(path), 32)
    assert str(told.value).count(";") == 4
    assert "more" in str(told.value)
    assert "\nThe file has 122 tensors: " in str(told.value)
    assert "\nThe model has 92 tensors: conv1.0.weight" in str(told.value)


def test_packaged_weights_are_the_real_ones() -> None:
    """EfficientNet-Lite0's ImageNet weights: found without importing the package, with known statistics."""
    source = weights.resolve("efficientnet_lite0", "auto", "auto")
    assert source.kind == "package"
    assert source.preprocessing == Preprocessing(224, 256, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = backbones.build("efficientnet_lite0", "auto", 10, 64)
    before = network.module.state_dict()["classifier.weight"].clone()
    report = weights.load(network, source, 64)
    assert report.sha256 is not None
    assert report.sha256.startswith(source.location.stem.rsplit("-", 1)[1])  # type: ignore[union-attr]
    assert torch.equal(network.module.state_dict()["classifier.weight"], before)
    assert network.module.state_dict()["blocks.0.0.bn1.running_var"].mean() > 0


def test_packaged_weights_know_imagenet() -> None:
    """With its own head the network is a classifier: its logits are sharp, unlike a random network's."""
    source = weights.resolve("efficientnet_lite0", "auto", "auto")
    assert source.location is not None
    network = backbones.build("efficientnet_lite0", "auto", 1000, 224).eval()
    tensors = read_checkpoint(source.location).tensors
    network.module.load_state_dict(dict(zip(network.module.state_dict(), tensors.values(), strict=True)))
    rows = np.linspace(0, 255, 224, dtype=np.uint8)
    image = torch.from_numpy(np.broadcast_to(rows[:, None], (224, 224)).copy()).float().expand(1, 3, -1, -1)
    with torch.no_grad():
        logits = network((image / 255 - 0.5) / 0.5)
    assert logits.softmax(1).max() > 0.01
    assert logits.std() > 0.5


def test_enum_names_with_and_without_their_class() -> None:
    plain = weights.resolve("resnet50", "auto", "IMAGENET1K_V1")
    assert plain.preprocessing == IMAGENET
    assert plain == weights.resolve("resnet50", "auto", "ResNet50_Weights.IMAGENET1K_V1")
    assert weights.resolve("resnet50", "auto", "auto").preprocessing.resize_pixels == 232
    assert plain.classes is not None
    assert len(plain.classes) == 1000
    with pytest.raises(UserError, match=r"IMAGENET1K_V9.*IMAGENET1K_V1"):
        weights.resolve("resnet50", "auto", "IMAGENET1K_V9")
    with pytest.raises(UserError, match="a9_in1k"):
        weights.resolve("resnet50", "timm", "a9_in1k")


@pytest.mark.parametrize(("name", "source"), [("resnet18", "torchvision"), ("vit_small_patch16_224", "timm")])
def test_weights_that_cannot_be_fetched_fail_at_once_with_the_ways_on(
    name: str, source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("transfer_cli.models.fetching.unreachable", lambda remote: "no network")
    chosen = weights.resolve(name, source, "auto")
    assert chosen.location is None
    started = time.perf_counter()
    with pytest.raises(UserError) as told:
        weights.fetch(chosen)
    assert time.perf_counter() - started < 1
    for words in ("model.weights=<file>", "model.weights=none", "no network", chosen.remote.name):  # type: ignore[union-attr]
        assert words in str(told.value)


def test_a_fetched_file_is_found_where_torch_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    remote = weights.resolve("resnet18", "auto", "auto").remote
    assert remote is not None
    place = tmp_path / "hub" / "checkpoints" / remote.name
    place.parent.mkdir(parents=True)
    place.touch()
    assert weights.resolve("resnet18", "auto", "auto").location == place


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_position_embeddings_are_interpolated(tmp_path: Path, source: str) -> None:
    name, sizes = ("vit_b_32", (64, 96)) if source == "torchvision" else ("test_vit", (160, 64))
    donor = backbones.build(name, source, 4, sizes[0])
    path = tmp_path / "vit.safetensors"
    save_file({key: t.contiguous() for key, t in donor.module.state_dict().items()}, path)
    network = backbones.build(name, source, 4, sizes[1])
    assert weights.load(network, file_source(path), sizes[1]).head_kept
    assert network(torch.rand(1, 3, sizes[1], sizes[1])).shape == (1, 4)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (40, 300), (999, 231), (224, 224)])
@pytest.mark.parametrize(
    "name", ["resnet50", "convnext_tiny", "efficientnet_b3", "swin_t", "efficientnet_v2_s", "vit_b_16"]
)
def test_pixels_equal_torchvisions_own_transform(name: str, size: tuple[int, int]) -> None:
    from torchvision.models._api import get_model_weights
    from torchvision.transforms import functional

    transform = get_model_weights(name).DEFAULT.transforms()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    expected = functional.resize(image, transform.resize_size, interpolation=transform.interpolation, antialias=True)
    expected = functional.pil_to_tensor(functional.center_crop(expected, transform.crop_size))
    assert torch.equal(weights.resolve(name, "auto", "auto").preprocessing.apply(image), expected)


def test_preprocessing_survives_json_and_refuses_nonsense() -> None:
    assert Preprocessing.from_dict(IMAGENET.to_dict()) == IMAGENET
    for key, value in {
        "crop_pixels": 0,
        "resize_pixels": 10,
        "std": [0, 1, 1],
        "mean": [0],
        "interpolation": "x",
    }.items():
        with pytest.raises(ValueError):  # noqa: PT011
            Preprocessing.from_dict({**IMAGENET.to_dict(), key: value})
