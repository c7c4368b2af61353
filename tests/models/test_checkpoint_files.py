"""Checkpoints as people have them: whatever trainers wrap weights in, and files that are none."""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.imagenet import IMAGENET
from transfer_cli.errors import UserError
from transfer_cli.models import backbones, weights
from transfer_cli.models.network import Network

Tensors = dict[str, Tensor]


def tiny(classes: int = 3) -> Network:
    return backbones.build("test_resnet", "timm", classes, 32)


def loaded(path: Path, network: Network | None = None) -> tuple[Network, weights.LoadReport]:
    network = tiny() if network is None else network
    source = weights.WeightsSource("file", f"weights {path}", IMAGENET, location=path)
    return network, weights.load(network, source, 32)


def under(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def other(tensors: Tensors) -> Tensors:
    """A second network of the same names."""
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def without_head(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}


def lightning(tensors: Tensors) -> Any:
    hyper = argparse.Namespace(lr=0.1)
    state = {**under("model.", tensors), "criterion.weight": torch.ones(3)}
    return {"state_dict": state, "epoch": 3, "hyper_parameters": hyper, "loops": {}}


def moco(tensors: Tensors) -> Any:
    head = {f"fc.{number}.{name}": torch.zeros(4) for number in (0, 2) for name in ("weight", "bias")}
    query = under("module.encoder_q.", {**without_head(tensors), **head})
    return {"state_dict": {**query, **under("module.encoder_k.", other(tensors)), "module.queue": torch.zeros(2, 4)}}


def timm_train(tensors: Tensors) -> Any:
    args = argparse.Namespace(lr=0.1, data_dir=Path("/data"), mean=None, betas=(0.9, 0.99), nested=[{"a": 1}])
    beside = {"epoch": 7, "arch": "test_resnet", "optimizer": {"state": {}, "param_groups": []}, "version": 2}
    return {**beside, "state_dict": tensors, "args": args, "metric": np.float64(71.5), "state_dict_ema": other(tensors)}


def imagenet_example(tensors: Tensors) -> Any:
    return {"epoch": 1, "state_dict": under("module.", tensors), "best_acc1": torch.tensor(0.5)}


KINDS: dict[str, tuple[Callable[[Tensors], Any], str]] = {
    "plain": (lambda t: t, ""),
    "data parallel": (lambda t: under("module.", t), "module"),
    "compiled": (lambda t: under("_orig_mod.", t), "_orig_mod"),
    "compiled in parallel": (lambda t: under("module._orig_mod.", t), "module._orig_mod"),
    "parallel in compiled": (lambda t: {"model": under("_orig_mod.module.", t)}, "_orig_mod.module"),
    "lightning": (lightning, "model"),
    "moco": (moco, "module.encoder_q"),
    "moco v3": (
        lambda t: {**under("module.base_encoder.", t), **under("module.momentum_encoder.", other(t))},
        "module.base_encoder",
    ),
    "dino": (lambda t: {"student": other(t), "teacher": under("module.backbone.", t), "epoch": 1}, "module.backbone"),
    "any": (lambda t: {**under("my.own_net.", t), "more.bias": torch.ones(1)}, "my.own_net"),
    "timm": (timm_train, ""),
    "the ImageNet example": (imagenet_example, "module"),
    "under an unknown key": (lambda t: {"best_net": t, "lr": np.float32(0.1), "n": np.int64(3)}, ""),
    "before counters": (lambda t: {n: v for n, v in t.items() if "num_batches" not in n}, ""),
    "with numbers beside": (lambda t: {**t, "epoch": 3}, ""),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_of_trainers_fill_the_network(tmp_path: Path, kind: str, legacy: bool) -> None:
    make, prefix = KINDS[kind]
    donor = tiny().module.state_dict()
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(make(donor), path, _use_new_zipfile_serialization=not legacy)
    network, report = loaded(path)
    ours = network.module.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in without_head(donor).items())
    assert report.head_kept == (kind != "moco")
    assert (f"tensors under {prefix}" in report.label) == bool(prefix)


def test_names_that_need_converting_lose_their_prefix_too(tmp_path: Path) -> None:
    """A vision transformer as its authors saved it, whose names timm converts."""
    network = backbones.build("test_vit", "timm", 3, 160)
    donor = backbones.build("test_vit", "timm", 3, 96)
    torch.save(under("module.", donor.module.state_dict()), tmp_path / "vit.pth")
    assert loaded(tmp_path / "vit.pth", network)[1].head_kept


def test_two_networks_in_one_file_are_not_chosen_between_by_chance(tmp_path: Path) -> None:
    tensors = tiny().module.state_dict()
    torch.save({**under("left.", tensors), **under("right.", other(tensors))}, tmp_path / "two.pth")
    with pytest.raises(UserError, match=r"more than once, under left\., right\.: save one"):
        loaded(tmp_path / "two.pth")


def test_which_of_several_networks_was_taken_is_said(tmp_path: Path) -> None:
    torch.save(timm_train(tiny().module.state_dict()), tmp_path / "timm.pth")
    assert "state_dict of it (not state_dict_ema)" in loaded(tmp_path / "timm.pth")[1].label


def test_safetensors_are_known_by_their_content(tmp_path: Path) -> None:
    save_file(tiny().module.state_dict(), tmp_path / "model.bin")
    assert loaded(tmp_path / "model.bin")[1].head_kept


class Evil:
    """Creates a file where it is restored."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.target,))


def hostile(path: Path) -> None:
    tensors = tiny().module.state_dict()
    torch.save({"state_dict": tensors, "args": Evil(path.parent / "pwned")}, path)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/resnet.pth", b"...")


def script(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", b"")
        archive.writestr("model/code/net.py", b"")


def cut(path: Path) -> None:
    torch.save(tiny().module.state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])


def broken(path: Path, value: float) -> None:
    tensors = tiny().module.state_dict()
    tensors["layer1.0.conv1.weight"][0, 0, 0, 0] = value
    torch.save(tensors, path)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "garbage.pth": (lambda path: path.write_bytes(b"not a checkpoint"), "no weights that can be loaded safely"),
    "empty.pt": (lambda path: path.write_bytes(b""), "an empty file"),
    "garbage.safetensors": (lambda path: path.write_bytes(b"\xff" * 64), "not a readable safetensors file"),
    "hostile.pt": (hostile, "it holds an object of"),
    "whole_model.pt": (lambda path: torch.save(tiny().module, path), "it holds an object of timm.models."),
    "sparse.pt": (lambda path: torch.save({"w": torch.eye(3).to_sparse()}, path), "sparse or quantised"),
    "meta.pt": (lambda path: torch.save({"w": torch.empty(3, device="meta")}, path), "shapes and no values"),
    "nested.pt": (lambda path: torch.save({"w": torch.nested.nested_tensor([torch.ones(2)])}, path), "nested tensors"),
    "list.pt": (lambda path: torch.save([1, 2], path), "expected a state_dict"),
    "numbers.pt": (lambda path: torch.save({"a": 1}, path), "expected a state_dict"),
    "pointer.pth": (lambda path: path.write_text(POINTER), "a Git LFS pointer"),
    "pointer.safetensors": (lambda path: path.write_text(POINTER), "a Git LFS pointer"),
    "page.pth": (lambda path: path.write_text("\n<!DOCTYPE html><html>"), "a web page"),
    "zip.pth": (zipped, r"a zip archive with weights/resnet.pth in it: unpack it"),
    "cut.pth": (cut, "its end is missing"),
    "script.pt": (script, "TorchScript"),
    "arrays.npz": (lambda path: np.savez(path, w=np.ones(3)), "a NumPy archive"),
    "gzip.pth": (lambda path: path.write_bytes(b"\x1f\x8b\x08rest"), "a gzip archive"),
    "keras.pth": (lambda path: path.write_bytes(b"\x89HDF\r\n"), "an HDF5 file"),
    "index.json": (lambda path: path.write_text(json.dumps({"weight_map": {}})), "a JSON file"),
    "nan.pth": (lambda path: broken(path, float("nan")), "infinite in layer1.0.conv1.weight: the training"),
    "inf.pth": (lambda path: broken(path, float("inf")), "infinite in layer1.0.conv1.weight: the training"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_weights_is_named_for_what_it_is_and_runs_nothing(tmp_path: Path, name: str) -> None:
    make, says = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as told:
        loaded(tmp_path / name)
    message = str(told.value)
    assert name in message and says in message
    assert "weights_only" not in message and "safe_globals" not in message
    assert not (tmp_path / "pwned").exists()


def test_the_names_of_the_file_are_shown_beside_those_of_the_model(tmp_path: Path) -> None:
    torch.save({"backbone.stem.weight": torch.ones(3), "backbone.stem.bias": torch.ones(3)}, tmp_path / "own.pth")
    with pytest.raises(UserError) as told:
        loaded(tmp_path / "own.pth")
    assert "The file has 2 tensors: backbone.stem.weight, backbone.stem.bias" in str(told.value)
    assert "The model has" in str(told.value) and "conv1.0.weight" in str(told.value)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    tensors = {name: tensor.to(kind) for name, tensor in tiny().module.state_dict().items()}
    torch.save(tensors, tmp_path / "w.pth")
    with pytest.raises(UserError, match=f"conv1.0.weight is of {kind}"):
        loaded(tmp_path / "w.pth")


@pytest.mark.parametrize("word", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_layers_that_were_wrapped_each_by_itself_lose_it(tmp_path: Path, word: str) -> None:
    tensors = tiny().module.state_dict()
    wrapped = {name.replace("layer1.0.", f"layer1.{word}.0.{word}."): tensor for name, tensor in tensors.items()}
    torch.save(under("module.", wrapped), tmp_path / "w.pth")
    network, _ = loaded(tmp_path / "w.pth")
    assert torch.equal(network.module.state_dict()["layer1.0.conv1.weight"], tensors["layer1.0.conv1.weight"])


def test_arrays_and_durations_beside_the_weights_are_data(tmp_path: Path) -> None:
    tensors = tiny().module.state_dict()
    beside = {"curve": np.zeros(3), "random": np.random.get_state(), "took": timedelta(hours=1)}
    torch.save({"model": tensors, **beside}, tmp_path / "w.pth")
    network, _ = loaded(tmp_path / "w.pth")
    assert torch.equal(network.module.state_dict()["conv1.0.weight"], tensors["conv1.0.weight"])
