"""Which GPU this is, and why there is none: one sentence that a user can act on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from transfer_cli.engine.devices import gpus
from transfer_cli.engine.devices.device import fitting_device, select_device
from transfer_cli.errors import UserError


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch for CUDA on a machine where it finds nothing, and nobody has hidden anything."""
    for name in gpus.VISIBLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)


def cannot(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def init() -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(torch.cuda, "init", init)


def said(name: str = "cuda") -> str:
    with pytest.raises(UserError) as raised:
        select_device(name)
    return str(raised.value)


@pytest.mark.usefixtures("no_gpu")
def test_a_torch_for_cpus_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    assert f"trainer.device=cuda: no such device: this torch ({torch.__version__}) is built for CPUs" in said()


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("value", ["", "-1"])
def test_a_variable_that_hides_them_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert f"no such device: CUDA_VISIBLE_DEVICES is '{value}', which hides all GPUs. Here: cpu;" in said()


@pytest.mark.usefixtures("no_gpu")
def test_a_missing_or_old_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cannot(monkeypatch, "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU.")
    assert "no such device: no NVIDIA driver was found (does nvidia-smi run here?" in said("cuda:1")
    cannot(monkeypatch, "The NVIDIA driver on your system is too old (found version 11040).")
    assert "no such device: The NVIDIA driver on your system is too old (found version 11040). Here: cpu;" in said()


def test_a_number_that_is_not_there_is_told_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    found = said("cuda:2")
    assert found.startswith("trainer.device=cuda:2: this machine has no such device. Here: cpu, cuda:0, cuda:1 (CUDA_")
    assert "(CUDA_VISIBLE_DEVICES=3,5); auto takes the best." in found


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="it is there")
def test_a_mac_is_needed_for_mps() -> None:
    assert "trainer.device=mps: no such device: this torch is built without it" in said("mps")


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_auto_cannot_take_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cannot(monkeypatch, "The NVIDIA driver on your system is too old.")
    assert gpus.hides_one() is None, "there is none"
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path)
    assert gpus.hides_one() == "The NVIDIA driver on your system is too old"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.hides_one() is None, "the user has hidden it"


def test_the_gpu_and_what_drives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus.facts(torch.device("cpu")) == {}
    properties = SimpleNamespace(name="A GPU", uuid="b1-2", total_memory=8 * 2**30, major=8, minor=6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path)
    device = torch.device("cuda", 0)
    assert gpus.facts(device)["driver"] is None
    for line in (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.104.05  Release Build  (dvs-builder@U16)",
    ):
        (tmp_path / "version").write_text(f"{line}\nGCC version:  gcc version 12.3.0\n")
        found = gpus.facts(device)
        assert (found["name"], found["uuid"], found["driver"]) == ("A GPU", "GPU-b1-2", "535.104.05")
        assert found["capability"] == "8.6" and {"cuda", "cudnn", "memory_bytes"} <= set(found)


def test_heads_are_fitted_where_there_is_float64() -> None:
    assert fitting_device(torch.device("mps")).type == "cpu"
    for name in ("cpu", "cuda"):
        assert fitting_device(torch.device(name)).type == name
