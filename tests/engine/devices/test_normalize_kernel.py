"""The kernel that normalises makes what `Normalize` makes without it, to the bit, as Triton's interpreter runs it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.conftest import TINY, experiment
from tests.fake_gpu import GPU, fake_gpu
from tests.interpreted import interpreted
from transfer_cli.engine.devices import device, gpus, kernels
from transfer_cli.engine.devices.device import Normalize
from transfer_cli.records.terminal import Reporter
from transfer_cli.runs import machine

NAME = "transfer_cli.engine.devices.normalize_kernel"
MEAN, STD = (0.485, 0.456, 0.406, 0.5, 0.1), (0.229, 0.224, 0.225, 0.3, 0.7)
CPU = torch.device("cpu")
B, SIZE = 3, 37


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with interpreted(NAME, monkeypatch) as module:
        yield module


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    """What a test finds out about a GPU is its own."""
    kernels.why_not.cache_clear()
    yield
    kernels.why_not.cache_clear()


def images(channels: int) -> Tensor:
    """Channels last, as views are."""
    generator = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (B, SIZE, SIZE, channels), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def maps() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    random = torch.rand(B, 3, 4, generator=generator) - 0.5
    return (torch.eye(3, 4) + 0.3 * random) * torch.tensor([1.0, 1, 1, 60])


def normalize(channels: int, *, has_kernel: bool, there: torch.device = CPU) -> Normalize:
    made = Normalize(MEAN[:channels], STD[:channels], there)
    made._has_kernel = has_kernel
    return made


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("colour", [None, maps()], ids=["plain", "coloured"])
def test_the_kernel_makes_the_same_bits(colour: Tensor | None) -> None:
    for channels in (1, 3, 5) if colour is None else (3,):
        expected = normalize(channels, has_kernel=False)(images(channels), colour)
        for given in (images(channels), images(channels).contiguous()):
            made = normalize(channels, has_kernel=True)(given, colour)
            assert torch.equal(made, expected) and made.dtype == torch.float32
            assert made.is_contiguous(memory_format=torch.channels_last)
    low, high = expected.amin((0, 2, 3)), expected.amax((0, 2, 3))
    black, white = -torch.tensor(MEAN) / torch.tensor(STD), (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(low, black[: len(low)]) and torch.allclose(high, white[: len(high)])


@pytest.mark.usefixtures("kernel")
def test_bits_of_a_sample_depend_on_nothing_beside_it() -> None:
    made = normalize(3, has_kernel=True)
    for colour in (None, maps()):
        whole = made(images(3), colour)
        assert torch.equal(made(images(3)[1:2], None if colour is None else colour[1:2]), whole[1:2])
    assert made(images(3)[:0]).shape == (0, 3, SIZE, SIZE)


@pytest.mark.parametrize("colour", [None, maps()], ids=["plain", "coloured"])
def test_a_gpu_has_one_kernel_to_run_and_the_host_does_not_wait(
    colour: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Tensor, ...]] = []

    def normalized(pixels: Tensor, *known: Tensor) -> Tensor:
        given.append((pixels, *known))
        return torch.empty(pixels.shape, device=GPU)

    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace(normalized=normalized))
    with fake_gpu(lambda: iter(())) as audit:
        place = normalize(3, has_kernel=True, there=GPU)
        pixels = images(3).pin_memory()
        audit.found.clear()
        made = place(pixels, None if colour is None else colour.pin_memory())
        assert audit.found == [] and made.device == GPU
    assert [len(known) for known in given] == [3 if colour is None else 4]
    assert all(tensor.device == GPU for tensor in given[0])


@pytest.mark.usefixtures("kernel")
def test_where_kernels_run_nothing_is_said() -> None:
    assert kernels.why_not(CPU) is None


def test_a_gpu_without_triton_is_said_so_and_normalises_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAME, None)
    for module, name, value in (
        (device, "select_device", lambda name: GPU),
        (device, "prepare", lambda *_, **__: None),
        (machine, "check_has", lambda *_: None),
        (gpus, "hides_one", lambda: None),
    ):
        monkeypatch.setattr(module, name, value)
    said: list[str] = []
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "warn", said.append)
    machine.open_machine(experiment(*TINY), reporter)
    assert len(said) == 1 and said[0].startswith("pixels are normalised on the GPU without Triton, which is slower: ")
    with fake_gpu(lambda: iter(())):
        assert not Normalize(MEAN, STD, GPU)._has_kernel


def test_a_gpu_that_is_full_has_not_lost_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def normalized(*_: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setitem(sys.modules, NAME, SimpleNamespace(normalized=normalized))
    with pytest.raises(RuntimeError, match="out of memory"):
        kernels.why_not(CPU)


@pytest.mark.slow
@pytest.mark.parametrize("coloured", [False, True], ids=["plain", "coloured"])
@pytest.mark.parametrize("capability", [75, 80, 90, 100])
def test_the_kernel_compiles_for_a_gpu_that_is_not_there(capability: int, coloured: bool) -> None:
    pytest.importorskip("triton")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    sys.modules.pop(NAME, None)
    kinds = {"out": "*fp32", "pixels": "*u8"} | dict.fromkeys(["maps", "first", "second"], "*fp32")
    kinds |= dict.fromkeys(["count", "channels", "blocks"], "i32") | dict.fromkeys(["COLOURED", "BLOCK"], "constexpr")
    source = ASTSource(importlib.import_module(NAME)._kernel, kinds, {"COLOURED": coloured, "BLOCK": 1024})
    made = compile(source, target=GPUTarget("cuda", capability, 32), options={"enable_fp_fusion": False})
    # Each operation is rounded by itself.
    assert made.asm["cubin"] and "fma" not in made.asm["ptx"]
    assert coloured or "div.rn" in made.asm["ptx"]


@pytest.mark.gpu
@pytest.mark.parametrize("colour", [None, maps()], ids=["plain", "coloured"])
def test_on_a_gpu_the_kernel_makes_what_many_make(colour: Tensor | None) -> None:
    there = torch.device("cuda", torch.cuda.current_device())
    assert kernels.why_not(there) is None
    made, expected = (normalize(3, has_kernel=which, there=there)(images(3), colour) for which in (True, False))
    assert made.device == there and torch.allclose(made, expected, rtol=0, atol=1e-6)
    assert torch.allclose(made.cpu(), normalize(3, has_kernel=False)(images(3), colour), atol=1e-5)
