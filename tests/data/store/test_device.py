"""Pixels on a device: those of the host, views to one level. On the CPU here; the same on a GPU with -m gpu."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.data.loading import load
from tests.fake_gpu import GPU, fake_gpu
from transfer_cli.cache.entries import Cache
from transfer_cli.config.schema import Augment
from transfer_cli.data.batches import OrderedBatches, Samples, TrainBatches
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import device, formats
from transfer_cli.data.store.device import DeviceStore, cuts_there
from transfer_cli.data.store.device_crops import Cuts
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.open import DecodedSet, Gpu, StoreOptions, open_store
from transfer_cli.engine.devices.device import Normalize, PixelsToDevice
from transfer_cli.errors import UserError
from transfer_cli.models.preprocessing import Preprocessing
from transfer_cli.records.terminal import Reporter

STANDARD = Augment("standard", None, (0.35, 1.0), (0.75, 4 / 3), 0.5, 0.2, 0.2, 0.2)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def images(tmp_path: Path, make_images: Callable[..., list[Path]]) -> ImageSet:
    """Two classes of 12 smooth images, each of another size: portraits, landscapes, tiny ones."""
    for name in ("a", "b"):
        for number, file in enumerate(make_images(tmp_path / "photos" / name, 12, size=(6, 5))):
            size = (70 - 5 * number, 12 + 4 * number)
            Image.open(file).resize(size, Image.Resampling.BICUBIC).save(file)
    path = str(tmp_path / "photos")
    return load("folder", path)


def opened(
    images: ImageSet, preprocessing: Preprocessing, options: StoreOptions, reporter: Reporter | None = None
) -> DecodedSet:
    held_out = np.union1d(images.splits["val"], images.splits["test"])
    wants = [
        PixelRequest(formats.training(preprocessing, 1.5), images.splits["train"]),
        PixelRequest(formats.evaluation(preprocessing), held_out),
    ]
    return open_store(images, wants, options, Cache(Path("cache"), 10**12), reporter or Reporter(quiet=True))


def on(device: str, images: ImageSet, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> DeviceStore:
    monkeypatch.setattr(Gpu, "free_bytes", lambda self: 10**9)
    store = opened(images, preprocessing, StoreOptions("device", "error", Gpu(torch.device(device), True))).store
    assert isinstance(store, DeviceStore)
    return store


@pytest.mark.parametrize("device", DEVICES)
def test_evaluation_pixels_are_the_hosts_byte_for_byte(
    device: str, images: ImageSet, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = on(device, images, preprocessing, monkeypatch)
    shown = Samples(images, store, preprocessing, STANDARD, 0)
    host = Samples(
        images, opened(images, preprocessing, StoreOptions("disk", "error")).store, preprocessing, STANDARD, 0
    )
    for split in ("val", "test"):
        for ours, theirs in zip(
            OrderedBatches(shown, images.splits[split], batch_size=3, workers=1),
            OrderedBatches(host, images.splits[split], batch_size=3, workers=0),
            strict=True,
        ):
            assert ours.inputs.device.type == device
            assert torch.equal(ours.inputs.cpu(), theirs.inputs)
    assert store.fingerprint(images.splits["val"]) == host.store.fingerprint(images.splits["val"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("interpolation", "pixels"), [("bilinear", 16), ("bicubic", 16), ("bicubic", 64)])
@pytest.mark.parametrize(
    "recipe",
    [
        STANDARD,
        replace(STANDARD, vertical_flip=0.5, grayscale=0.5),
        replace(STANDARD, brightness=0.0, contrast=0.0, saturation=0.0),
    ],
)
def test_views_are_the_hosts_to_a_level(
    device: str,
    interpolation: str,
    pixels: int,
    recipe: Augment,
    images: ImageSet,
    preprocessing: Preprocessing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 64 pixels many boxes are so small that the host does not round them."""
    preprocessing = replace(preprocessing, interpolation=interpolation, crop_pixels=pixels, resize_pixels=pixels + 2)
    store = on(device, images, preprocessing, monkeypatch)
    disk = opened(images, preprocessing, StoreOptions("disk", "error")).store
    shown, host = (Samples(images, which, preprocessing, recipe, 5) for which in (store, disk))
    place = PixelsToDevice(Normalize(preprocessing.mean, preprocessing.std, torch.device(device)))
    for epoch in range(3):
        for ours, theirs in zip(
            TrainBatches(shown, batch_size=5, workers=1).epoch(epoch),
            TrainBatches(host, batch_size=5, workers=0).epoch(epoch),
            strict=True,
        ):
            assert ours.indices.tolist() == theirs.indices.tolist()
            gaps = (ours.inputs.cpu().int() - theirs.inputs.int()).abs()
            assert gaps.max() <= 2 and (gaps > 1).float().mean() < 1e-4
            assert ours.colour is None or ours.colour.device.type == device
            # A level is 2 / 255 after normalising by 0.5; colour stretches it a little.
            assert (place(ours).inputs - place(theirs).inputs).abs().max() < 0.03


def test_nothing_goes_to_the_device_before_it_is_asked_for(
    images: ImageSet, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    real = DeviceStore._load
    monkeypatch.setattr(DeviceStore, "_load", lambda self, want: loaded.append(want.format.name) or real(self, want))
    store = on("cpu", images, preprocessing, monkeypatch)
    store.fingerprint(images.splits["train"])
    assert loaded == []
    for _ in range(2):
        store.batch(images.splits["val"])
    assert loaded == ["evaluation"]


def test_what_a_gpu_cannot_cut() -> None:
    assert cuts_there(STANDARD, "bilinear") and cuts_there(STANDARD, "bicubic")
    assert not cuts_there(STANDARD, "lanczos") and not cuts_there(STANDARD, "nearest")
    changes = {"crop_scale": None, "rotate": 5.0, "shear": 5.0, "hue": 0.1, "erase": 0.1, "trivialaugment": True}
    for key, value in {**changes, "randaugment": (2, 9)}.items():
        assert not cuts_there(replace(STANDARD, **{key: value}), "bilinear"), key


@pytest.mark.parametrize(
    ("where", "free", "cuts", "expected"),
    [
        ("auto", 10**9, True, "device"),
        ("auto", 10**9, False, "disk"),
        ("auto", 150_000, True, "disk"),
        ("device", 150_000, True, "device"),
        ("device", 10**9, False, "device"),
        ("disk", 10**9, True, "disk"),
    ],
)
def test_auto_takes_a_gpu_where_all_fits_well(
    images: ImageSet,
    preprocessing: Preprocessing,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    free: int,
    cuts: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(Gpu, "free_bytes", lambda self: free)
    gpu = Gpu(torch.device("cpu"), cuts)
    assert opened(images, preprocessing, StoreOptions(where, "error", gpu)).store.where == expected


def test_what_does_not_fit_is_refused(
    images: ImageSet, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gpu, "free_bytes", lambda self: 20_000)
    with pytest.raises(UserError, match=r"dataset\.store=device.*do not fit"):
        opened(images, preprocessing, StoreOptions("device", "error", Gpu(torch.device("cpu"), True)))
    with pytest.raises(UserError, match=r"dataset\.store=device.*CUDA"):
        opened(images, preprocessing, StoreOptions("device", "error"))


@pytest.mark.parametrize(
    ("recipe", "interpolation"), [(replace(STANDARD, rotate=20.0), "bilinear"), (STANDARD, "lanczos")]
)
def test_views_that_a_gpu_cannot_cut_come_from_the_host(
    recipe: Augment,
    interpolation: str,
    images: ImageSet,
    preprocessing: Preprocessing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    preprocessing = replace(preprocessing, interpolation=interpolation)
    monkeypatch.setattr(Gpu, "free_bytes", lambda self: 10**9)
    store = opened(images, preprocessing, StoreOptions("device", "error", Gpu(torch.device("cpu"), False))).store
    disk = opened(images, preprocessing, StoreOptions("disk", "error")).store
    train = images.splits["train"]
    ours, theirs = (Samples(images, which, preprocessing, recipe, 0).view(train, 1) for which in (store, disk))
    assert torch.equal(ours.inputs, theirs.inputs)
    assert ours.colour is not None and theirs.colour is not None and torch.equal(ours.colour, theirs.colour)


@pytest.mark.parametrize("kernel", [True, False])
def test_the_host_sends_what_is_drawn_once_a_view_and_waits_for_nothing(
    kernel: bool, images: ImageSet, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = opened(images, preprocessing, StoreOptions("disk", "error")).store
    store = DeviceStore(disk, [PixelRequest(formats.training(preprocessing, 1.5), images.splits["train"])], GPU, print)
    sent: list[list[Tensor]] = []
    real = device._sent
    monkeypatch.setattr(device, "_sent", lambda *given: sent.append(real(*given)) or sent[-1])
    monkeypatch.setattr(Tensor, "data_ptr", lambda tensor: 0)
    with fake_gpu(lambda: iter(())) as audit:

        def cut(rows: Tensor, places: Tensor, cuts: Cuts, size: int, channels: int, _: str) -> tuple[Tensor, Tensor]:
            made = torch.empty(len(rows), size, size, channels, dtype=torch.uint8, device=GPU)
            return made.permute(0, 3, 1, 2), torch.empty(len(rows), channels, dtype=torch.int64, device=GPU)

        monkeypatch.setitem(sys.modules, f"{device.__name__}_kernel", SimpleNamespace(cut=cut) if kernel else None)
        samples = Samples(images, store, preprocessing, STANDARD, 0, pinned=True)
        for view in range(2):
            audit.found.clear()
            for batch in np.array_split(images.splits["train"], 3):
                made = samples.view(batch, view)
        assert audit.found == []
        assert made.inputs.device == GPU and made.colour is not None and made.colour.device == GPU
        assert made.inputs.shape[1:] == (3, 16, 16) and made.colour.shape[1:] == (3, 4)
    places, rows = [1], [1, 1, 1]
    assert [len(parts) for parts in sent] == [*places, 4, *rows, 4, *rows]
    assert len({part.untyped_storage()._cdata for part in sent[1]}) == 1


def test_threads_that_begin_at_once_share_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    class Stream:
        def __init__(self, _: torch.device) -> None:
            time.sleep(0.05)
            made.append(self)

        def synchronize(self) -> None: ...

    def enter(_: int) -> None:
        with store._apart():
            pass

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    pixels: Any = SimpleNamespace(hashes=None, evaluation=None, sources=None)
    store = DeviceStore(pixels, [], GPU, print)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(enter, range(4)))
    assert len(made) == 1


def test_sets_in_memory_may_go_to_a_gpu_too(preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load("digits", None, shots=2)
    store = on("cpu", digits, preprocessing, monkeypatch)
    expected = opened(digits, preprocessing, StoreOptions("auto", "error")).store.evaluation(digits.splits["val"])
    assert np.array_equal(store.batch(digits.splits["val"]).permute(0, 2, 3, 1).numpy(), expected)
