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

from tests.interpreted import interpreted
from transfer_cli.data.store.device import DeviceStore, _padded
from transfer_cli.data.store.device_crops import FILTERS, Cuts, crop_resize_batch
from transfer_cli.data.views import geometry
from transfer_cli.models.preprocessing import RESAMPLING

NAME = "transfer_cli.data.store.device_kernel"
SIZES = [(12, 17), (9, 9), (30, 8), (5, 40), (13, 13)]
BOXES = [(0, 0, 17, 12), (2, 1, 8, 8), (1, 3, 7, 29), (0.5, 0.25, 39.25, 4.5), (3.7, 4.2, 4.1, 4.9)]
LIMITS = [(0, 0, 17, 12), (2, 1, 8, 8), (1, 3, 7, 29), (0, 0, 40, 5), (0, 0, 13, 13)]
FLIPS = [(False, False), (True, False), (False, True), (True, True), (False, False)]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with interpreted(NAME, monkeypatch) as module:
        yield module


def sources(channels: int) -> list[Tensor]:
    """Of different sizes, one behind the other in memory, as a store has them."""
    draw = np.random.default_rng(channels)
    flat = torch.from_numpy(draw.integers(0, 256, sum(h * w for h, w in SIZES) * channels, dtype=np.uint8))
    ends = np.cumsum([h * w * channels for h, w in SIZES])
    return [flat[end - h * w * channels : end].view(h, w, channels) for end, (h, w) in zip(ends, SIZES, strict=True)]


def places(given: list[Tensor]) -> Tensor:
    return torch.tensor([[one.data_ptr(), *one.shape[:2]] for one in given])


def rows() -> Tensor:
    return torch.arange(len(SIZES))


def cuts() -> Cuts:
    return Cuts(torch.tensor(BOXES), torch.tensor(LIMITS, dtype=torch.int32), torch.tensor(FLIPS))


def expected(given: list[Tensor], size: int, interpolation: str) -> Tensor:
    return crop_resize_batch(_padded(given), Cuts(*(one.to(given[0].device) for one in cuts())), size, interpolation)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(("channels", "size"), [(3, 7), (1, 16), (4, 5)])
def test_the_kernel_cuts_what_matrices_cut(channels: int, size: int, interpolation: str, kernel: ModuleType) -> None:
    given = sources(channels)
    made, sums = kernel.cut(rows(), places(given), cuts(), size, channels, interpolation)
    assert sums.equal(made.sum(dim=(2, 3), dtype=torch.int64))
    assert made.shape == (len(SIZES), channels, size, size) and made.dtype == torch.uint8
    assert made.is_contiguous(memory_format=torch.channels_last)
    gaps = (made.int() - expected(given, size, interpolation).int()).abs()
    assert gaps.max() <= 1 and (gaps > 0).float().mean() < 0.03


def test_the_kernel_cuts_some_images_of_many(kernel: ModuleType) -> None:
    given, some = sources(3), torch.tensor([4, 0, 2, 2])
    made, sums = kernel.cut(some, places(given), cuts(), 7, 3, "bicubic")
    every, sums_of_all = kernel.cut(rows(), places(given), cuts(), 7, 3, "bicubic")
    assert made.equal(every[some]) and sums.equal(sums_of_all[some])


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [7, 32])
def test_the_kernel_cuts_what_the_host_cuts(size: int, interpolation: str, kernel: ModuleType) -> None:
    """At 32 pixels most boxes are tiny."""
    given = sources(3)
    heights, widths = np.array(SIZES).T
    boxes = np.array(BOXES, float)
    edges, limits = geometry.edges(boxes, size), geometry.limits(boxes, size, widths, heights)
    unmirrored = torch.zeros(len(boxes), 2, dtype=torch.bool)
    where = Cuts(torch.from_numpy(edges).float(), torch.from_numpy(limits).int(), unmirrored)
    made = kernel.cut(rows(), places(given), where, size, 3, interpolation)[0].permute(0, 2, 3, 1)
    for row, (source, box) in enumerate(zip(given, boxes, strict=True)):
        theirs = geometry.cut(source.numpy(), box, size, RESAMPLING[interpolation])
        gaps = np.abs(made[row].numpy().astype(int) - theirs)
        assert gaps.max() <= 1 and (gaps > 0).mean() < 0.08


def crops_of_a_store(warn: Callable[[str], None], interpolation: str = "bicubic") -> Tensor:
    """Those of a store whose device is said to have kernels."""
    pixels: Any = SimpleNamespace(hashes=None, evaluation=None, sources=None)
    store = DeviceStore(pixels, [], torch.device("cpu"), warn)
    store._has_kernel = True
    given = sources(3)
    held: Any = SimpleNamespace(pixels=given, places=places(given), of=lambda indices: [given[row] for row in indices])
    for _ in range(2):
        made, _ = store._crops(held, rows().numpy(), rows(), cuts(), 7, interpolation)
    return made


@pytest.mark.parametrize("interpolation", FILTERS)
def test_a_store_cuts_with_the_kernel_and_without_padding(
    interpolation: str, kernel: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = expected(sources(3), 7, interpolation)
    monkeypatch.setattr("transfer_cli.data.store.device._padded", pytest.fail)
    assert (crops_of_a_store(pytest.fail, interpolation).int() - wanted.int()).abs().max() <= 1


def test_a_store_without_triton_says_so_once_and_cuts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    said: list[str] = []
    assert crops_of_a_store(said.append).equal(expected(sources(3), 7, "bicubic"))
    assert len(said) == 1 and said[0].startswith("views are cut on the GPU without Triton, which is slower: ")


def test_a_kernel_without_memory_is_no_missing_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: Any) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace(cut=cut))
    with pytest.raises(RuntimeError, match="out of memory"):
        crops_of_a_store(pytest.fail)


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("capability", [75, 80, 90, 100])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(capability: int, interpolation: str) -> None:
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    sys.modules.pop(NAME, None)
    kinds = dict.fromkeys(["sums", "rows", "places"], "*i64") | {"boxes": "*fp32", "limits": "*i32"}
    kinds |= dict.fromkeys(["out", "flips"], "*u8")
    kinds |= dict.fromkeys(["size", "channels", "groups", "blocks"], "i32")
    kinds |= dict.fromkeys(["TOGETHER", "CUBIC", "BLOCK"], "constexpr")
    constants = {"TOGETHER": 3, "CUBIC": interpolation == "bicubic", "BLOCK": 256}
    source = ASTSource(importlib.import_module(NAME)._kernel, kinds, constants)
    assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


@pytest.mark.gpu
@pytest.mark.parametrize("interpolation", FILTERS)
def test_on_a_gpu_the_kernel_cuts_what_matrices_cut(interpolation: str) -> None:
    sys.modules.pop(NAME, None)
    given = [source.cuda() for source in sources(3)]
    there = Cuts(*(one.cuda() for one in cuts()))
    made, sums = importlib.import_module(NAME).cut(rows().cuda(), places(given).cuda(), there, 64, 3, interpolation)
    assert sums.equal(made.sum(dim=(2, 3), dtype=torch.int64))
    assert (made.int() - expected(given, 64, interpolation).int()).abs().max() <= 1
