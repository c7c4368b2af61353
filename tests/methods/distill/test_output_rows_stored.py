"""Stored and live teacher outputs are equal, bit for bit on a CPU: what makes them a cache and not a method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from transfer_cli.engine.devices.device import Compute
from transfer_cli.methods.distill.logit_losses import dist, dkd, kd
from transfer_cli.methods.distill.output_rows import compress, expand
from transfer_cli.models import backbones
from transfer_cli.models.network import Network
from transfer_cli.models.taps import forward_taps

MODELS = ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"]
CPU = torch.device("cpu")
N = 24


def teacher(name: str) -> tuple[Network, Tensor]:
    """A teacher in eval mode whose norms have seen data, and images."""
    torch.manual_seed(0)
    network = backbones.build(name, "timm", 5, 64)
    images = torch.rand(N, 3, 64, 64)
    with torch.no_grad():
        network.train()(images)
    return network.eval(), images.to(memory_format=torch.channels_last)


def answers(network: Network, images: Tensor, precision: str) -> dict[str, Tensor]:
    """Logits and features of the last maps and of the pooling, as teaching computes them."""
    tapped = [stage.name for stage in network.stages[-3:-1]]
    with torch.no_grad(), Compute(CPU, precision).autocast():
        logits, features = forward_taps(network, images, tapped)
    return {"logits": logits, **features}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_answers_do_not_depend_on_the_company(name: str, precision: str) -> None:
    """Filled in data set order, taught in any order: bit for bit in batches of one size, the last one padded."""
    network, images = teacher(name)
    stored = in_batches(network, images, precision)
    visited = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    live = in_batches(network, images[visited], precision)
    for part, tensor in stored.items():
        assert torch.equal(live[part], tensor[visited]), part


@pytest.mark.parametrize("name", MODELS)
def test_another_batch_size_rounds_otherwise_at_most(name: str) -> None:
    """Kernels are chosen by batch size and threads; one image alone takes the most different ones."""
    network, images = teacher(name)
    stored = in_batches(network, images, "fp32")
    for size in (1, 2, 5):
        for batch in torch.arange(N).split(size):
            for part, tensor in answers(network, images[batch], "fp32").items():
                torch.testing.assert_close(tensor, stored[part][batch], rtol=1e-4, atol=1e-5)


def in_batches(network: Network, images: Tensor, precision: str) -> dict[str, Tensor]:
    """Answers in batches of 16, as a teacher's cache is filled."""
    parts: dict[str, list[Tensor]] = {}
    for batch in images.split(16):
        padded = torch.cat([batch, batch[:1].expand(16 - len(batch), -1, -1, -1)])
        for part, tensor in answers(network, padded, precision).items():
            parts.setdefault(part, []).append(tensor[: len(batch)])
    return {part: torch.cat(tensors) for part, tensors in parts.items()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_cannot_tell_stored_from_live(tmp_path: Path, precision: str) -> None:
    """Whole logits through float32 files, safetensors and memory-mapped, and through top-k with k = K."""
    network, images = teacher("test_resnet")
    live = answers(network, images, precision)["logits"]
    save_file({"logits": live.float()}, tmp_path / "logits.safetensors")
    rows = np.lib.format.open_memmap(tmp_path / "logits.npy", mode="w+", dtype=np.float32, shape=(N, 5))
    rows[:] = live.float().numpy()
    rows.flush()
    stored = {
        "safetensors": load_file(tmp_path / "logits.safetensors")["logits"],
        "memory map": torch.from_numpy(np.load(tmp_path / "logits.npy", mmap_mode="c")),
        "top-k": expand(compress(live, 5), 5),
        "top-k in float32": expand(compress(live.float(), 5), 5),
    }
    student, labels = torch.randn(N, 5, requires_grad=True), torch.arange(N) % 5
    for way, logits in stored.items():
        for loss in (
            lambda s, t: kd(s, t, 4.0),
            lambda s, t: dkd(s, t, labels, 4.0),
            lambda s, t: dist(s, t, 4.0),
        ):
            values = [loss(student, each) for each in (live, logits)]
            assert torch.equal(*values), way
            slopes = [torch.autograd.grad(value, student)[0] for value in values]
            assert torch.equal(*slopes), way


def test_rows_are_stored_alone() -> None:
    """Compressing a batch is compressing its samples: an entry filled in data set order serves any batch."""
    logits = torch.randn(N, 9, generator=torch.Generator().manual_seed(2))
    whole = compress(logits, 3)
    visited = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    for batch in visited.split(7):
        assert all(torch.equal(a, b[batch]) for a, b in zip(compress(logits[batch], 3), whole, strict=True))
        picked = type(whole)(*(part[batch] for part in whole))
        assert torch.equal(expand(picked, 9), expand(whole, 9)[batch])
