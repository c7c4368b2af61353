"""The kernel that cuts views makes what the products of matrices make, here as Triton's interpreter runs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transfer_cli.data.store.device import DeviceStore, _padded
from transfer_cli.data.store.device_crops import crop_resize_batch

NAME = "transfer_cli.data.store.device_kernel"
SIZES = [(12, 17), (9, 9), (30, 8), (5, 40), (13, 13)]
BOXES = [(0, 0, 17, 12), (2, 1, 8, 8), (1, 3, 7, 29), (0.5, 0.25, 39.25, 4.5), (3.7, 4.2, 4.1, 4.9)]
FLIPS = [(False, False), (True, False), (False, True), (True, True), (False, False)]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imported anew: Triton looks whether it interprets as it meets a kernel."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    sys.modules.pop(NAME, None)
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


def sources(channels: int) -> list[Tensor]:
    """Of different sizes, one behind the other in memory, as a store has them."""
    draw = np.random.default_rng(channels)
    flat = torch.from_numpy(draw.integers(0, 256, sum(h * w for h, w in SIZES) * channels, dtype=np.uint8))
    ends = np.cumsum([h * w * channels for h, w in SIZES])
    return [flat[end - h * w * channels : end].view(h, w, channels) for end, (h, w) in zip(ends, SIZES, strict=True)]


def expected(given: list[Tensor], size: int) -> Tensor:
    across, down = torch.tensor(FLIPS).to(given[0].device).unbind(1)
    made = crop_resize_batch(_padded(given), torch.tensor(BOXES, device=given[0].device), size, across)
    return torch.where(down[:, None, None, None], made.flip(2), made)


@pytest.mark.parametrize(("channels", "size"), [(3, 7), (1, 16), (4, 5)])
def test_the_kernel_cuts_what_matrices_cut(channels: int, size: int, kernel: ModuleType) -> None:
    given = sources(channels)
    made = kernel.cut(given, torch.tensor(BOXES), torch.tensor(FLIPS), size)
    assert made.shape == (len(SIZES), channels, size, size) and made.dtype == torch.uint8
    assert made.is_contiguous(memory_format=torch.channels_last)
    gaps = (made.int() - expected(given, size).int()).abs()
    assert gaps.max() <= 1 and (gaps > 0).float().mean() < 0.03


def crops_of_a_store(warn: Callable[[str], None]) -> Tensor:
    """Those of a store whose device is said to have kernels."""
    pixels: Any = SimpleNamespace(fingerprint=None, evaluation=None, sources=None)
    store = DeviceStore(pixels, [], torch.device("cpu"), warn)
    store._has_kernel = True
    for _ in range(2):
        made = store._crops(sources(3), torch.tensor(BOXES), torch.tensor(FLIPS), 7)
    return made


def test_a_store_cuts_with_the_kernel_and_without_padding(kernel: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = expected(sources(3), 7)
    monkeypatch.setattr("transfer_cli.data.store.device._padded", pytest.fail)
    assert (crops_of_a_store(pytest.fail).int() - wanted.int()).abs().max() <= 1


def test_a_store_without_triton_says_so_once_and_cuts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    said: list[str] = []
    assert crops_of_a_store(said.append).equal(expected(sources(3), 7))
    assert len(said) == 1 and said[0].startswith("views are cut on the GPU without Triton, which is slower: ")


def test_a_kernel_without_memory_is_no_missing_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace(cut=cut))
    with pytest.raises(RuntimeError, match="out of memory"):
        crops_of_a_store(pytest.fail)


@pytest.mark.slow
@pytest.mark.parametrize("capability", [75, 80, 90])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(capability: int) -> None:
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    sys.modules.pop(NAME, None)
    kinds = {"out": "*u8", "places": "*i64", "boxes": "*fp32", "flips": "*i32", "size": "i32", "channels": "i32"}
    source = ASTSource(importlib.import_module(NAME)._kernel, {**kinds, "BLOCK": "constexpr"}, {"BLOCK": 512})
    assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


@pytest.mark.gpu
def test_on_a_gpu_the_kernel_cuts_what_matrices_cut() -> None:
    sys.modules.pop(NAME, None)
    given = [source.cuda() for source in sources(3)]
    made = importlib.import_module(NAME).cut(given, torch.tensor(BOXES), torch.tensor(FLIPS), 64)
    assert (made.int() - expected(given, 64).int()).abs().max() <= 1
