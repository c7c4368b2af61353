"""Precision: chosen by rule, refuted by a wide margin alone, and not by what else the machine does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.strategies.networks import finetune, tiny
from transfer_cli.data.batches import Batch
from transfer_cli.engine.measured import precision
from transfer_cli.engine.measured.precision import Looked, PrecisionMemory, by_rule, choose_precision, time_training
from transfer_cli.engine.strategy import StepResult
from transfer_cli.errors import RunError, UserError
from transfer_cli.models import backbones
from transfer_cli.strategies.finetune import Finetune

CPU = torch.device("cpu")


WORK = {"work": "nothing"}


@pytest.fixture
def strategy() -> Finetune:
    return finetune(tiny())


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has both precisions."""
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)


@pytest.mark.parametrize("rule", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("fp32", "bf16", "refutes"), [(2.9, 1.0, None), (1.0, 2.9, None), (3.1, 1.0, "bf16"), (1.0, 3.1, "fp32")]
)
@pytest.mark.usefixtures("both")
def test_only_a_wide_margin_refutes_the_rule(
    tmp_path: Path, rule: str, fp32: float, bf16: float, refutes: str | None
) -> None:
    memory, found = PrecisionMemory(tmp_path), Looked(rule, "a reason", {"fp32": fp32, "bf16": bf16})
    best = rule if refutes is None else refutes
    assert choose_precision("auto", CPU, memory, WORK, lambda: found)[0] == best
    assert choose_precision("auto", CPU, memory, WORK, lambda: pytest.fail("measured again"))[0] == best
    assert (memory.hits, memory.misses) == (1, 1)


@pytest.mark.usefixtures("both")
def test_noise_does_not_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    """Ten times with an empty cache, on a machine whose timings are off by half either way."""
    random = np.random.default_rng(0)
    monkeypatch.setattr(
        precision, "_time", lambda *_: {name: float(random.uniform(0.7, 1.4)) for name in ("fp32", "bf16")}
    )
    chosen = {
        choose_precision("auto", CPU, PrecisionMemory(tmp_path / str(n)), WORK, lambda: time_training(strategy, 32, 0))
        for n in range(10)
    }
    assert chosen == {("fp32", "precision fp32 (by rule: a small network)")}


@pytest.mark.usefixtures("both")
def test_what_an_earlier_version_remembers_is_looked_at_again(tmp_path: Path) -> None:
    found = Looked("bf16", "a reason", {"fp32": 1.0, "bf16": 1.0})
    choose_precision("auto", CPU, PrecisionMemory(tmp_path), WORK, lambda: found)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps({"seconds": {"fp32": 1.0, "bf16": 9.0}}))
    assert choose_precision("auto", CPU, PrecisionMemory(tmp_path), WORK, lambda: found)[0] == "bf16"


@pytest.mark.usefixtures("both")
def test_what_somebody_has_changed_in_the_memory_chooses_nothing(tmp_path: Path) -> None:
    found = Looked("bf16", "a reason", {"fp32": 1.0, "bf16": 1.0})
    choose_precision("auto", CPU, PrecisionMemory(tmp_path), WORK, lambda: found)
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text().replace('"bf16": 1.0', '"bf16": 9.0'))
    memory = PrecisionMemory(tmp_path)
    assert choose_precision("auto", CPU, memory, WORK, lambda: found)[0] == "bf16"
    assert (memory.hits, memory.misses) == (0, 1)


@pytest.mark.parametrize(
    ("name", "training", "inference", "with_amx"),
    [
        ("resnet18", "bf16", "bf16", "bf16"),
        ("efficientnet_lite0", "fp32", "bf16", "fp32"),
        ("vit_small_patch32_224", "bf16", "bf16", "bf16"),
        ("test_resnet", "fp32", "fp32", "fp32"),
    ],
)
def test_the_rule_goes_by_family_and_cpu(
    monkeypatch: pytest.MonkeyPatch, name: str, training: str, inference: str, with_amx: str
) -> None:
    for classes in (2, 1000):
        network = backbones.build(name, "auto", classes, 224)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert by_rule(network, training=True)[0] == training
        assert by_rule(network, training=False)[0] == inference
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert by_rule(network, training=False)[0] == with_amx


def test_measuring_leaves_no_trace(strategy: Finetune) -> None:
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    time_training(strategy, 32, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in strategy.network.state_dict().items())
    assert all(parameter.grad is None for parameter in strategy.network.parameters())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads


def test_waiting_for_a_busy_machine_is_not_counted(monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    forward = strategy.forward

    def held_up(batch: Batch) -> StepResult:
        if not torch.is_autocast_enabled("cpu"):
            time.sleep(0.5)
        return forward(batch)

    monkeypatch.setattr(strategy, "forward", held_up)
    assert time_training(strategy, 32, 0).seconds["fp32"] < 0.4


GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says of a GPU of 2020."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")


@pytest.mark.parametrize(("bf16", "tf32", "best"), [(1.0, 3.0, "bf16"), (1.2, 1.0, "bf16"), (1.3, 1.0, "tf32")])
@pytest.mark.usefixtures("gpu")
def test_a_gpu_takes_bf16_unless_it_is_clearly_slower(tmp_path: Path, bf16: float, tf32: float, best: str) -> None:
    memory, found = PrecisionMemory(tmp_path), Looked("bf16", "the fastest of this GPU", {"bf16": bf16, "tf32": tf32})
    chosen, why = choose_precision("auto", GPU, memory, WORK, lambda: found)
    assert chosen == best
    assert ("measured here: bf16 runs at 0.77 times the speed of tf32" in why) == (best == "tf32")
    assert choose_precision("auto", GPU, memory, WORK, lambda: pytest.fail("measured again")) == (chosen, why)


def test_a_device_without_tf32_does_not_pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    for device, name in ((CPU, "cpu"), (GPU, "cuda")):
        with pytest.raises(UserError, match=f"precision=tf32: {name} has no TF32 here"):
            choose_precision("tf32", device, PrecisionMemory(tmp_path), WORK, pytest.fail)


@pytest.mark.usefixtures("both")
def test_what_is_timed_fits(monkeypatch: pytest.MonkeyPatch, strategy: Finetune) -> None:
    forward, counts = strategy.forward, []

    def small(batch: Batch) -> StepResult:
        counts.append(len(batch))
        if len(batch) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(batch)

    monkeypatch.setattr(strategy, "forward", small)
    assert time_training(strategy, 32, 0).slower > 0
    assert counts[:3] == [32, 16, 8] and set(counts[3:]) == {8}
    monkeypatch.setattr(strategy, "forward", lambda batch: small(precision.plain_batch(torch.zeros(9, 3, 32, 32))))
    with pytest.raises(RunError, match=r"out of memory with two images of 32 pixels \(CUDA out of memory"):
        time_training(strategy, 32, 0)


@pytest.mark.gpu
def test_a_real_gpu_is_measured_and_left_as_it_was() -> None:
    strategy = finetune(tiny())
    strategy.to("cuda")
    before = {name: tensor.clone() for name, tensor in strategy.network.state_dict().items()}
    found = time_training(strategy, 64, 0)
    assert found.rule in found.seconds and min(found.seconds.values()) > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in strategy.network.state_dict().items())
