"""Decoded pixels for a run: where they are kept, how they got there, and what is left out.

Decoding costs more than anything else that a loader does, so it is done once. Files are decoded in a first pass that
all later epochs, runs and sweep jobs share; only sets too large to store are decoded every epoch.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.store import formats, room
from transfer_cli.data.store.device import DeviceStore
from transfer_cli.data.store.duplicates import duplicate_notes
from transfer_cli.data.store.firstpass import KIND, FirstPass
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.host import HostStore
from transfer_cli.data.store.live import MemoryPixels, StreamPixels
from transfer_cli.data.store.packed import PackedPixels, hashes_of
from transfer_cli.data.store.protocol import HostPixels, Store
from transfer_cli.data.store.skipping import leave_out, remark_notes
from transfer_cli.data.store.stored import DiskPixels, RamPixels
from transfer_cli.errors import RunError, UserError
from transfer_cli.records.text import in_words

if TYPE_CHECKING:
    from transfer_cli.records.terminal import Reporter

_AUTO_SHARE, _MOST_SHARE = 0.25, 0.8
"""Of a GPU's free memory, for pixels: what is taken unasked, and at most."""
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True)
class DecodedSet:
    """A store, and the data set that it serves."""

    store: Store
    images: ImageSet
    """Without the images that are left out."""
    skipped: dict[int, str]
    """Why samples were left out, by index."""
    summary: str
    """Where the pixels are and why, for people."""
    notes: list[str] = field(default_factory=list)
    """What the user should be warned of."""


@dataclass(frozen=True)
class StoreOptions:
    """`dataset.store` and `dataset.on_bad`."""

    where: str
    on_bad: str
    gpu: Gpu | None = None
    """Where pixels may go that are used again and again."""


@dataclass(frozen=True)
class Gpu:
    """A device that pixels may be kept on."""

    device: torch.device
    cuts_views: bool
    """Whether the recipe's training views can be cut there."""

    def free_bytes(self) -> int:
        """Memory that nobody uses."""
        return int(torch.cuda.mem_get_info(self.device)[0])


def open_store(
    images: ImageSet,
    requests: list[PixelRequest],
    options: StoreOptions,
    cache: Cache,
    reporter: Reporter,
    check_stop: Callable[[], None] = lambda: None,
) -> DecodedSet:
    """The pixels of all requests, one a format, decoded now where no earlier run has.

    Raises UserError for images that cannot be decoded and settings that cannot work, RunError for a full disk or files
    that cannot be read.
    """
    assert len({request.format.name for request in requests}) == len(requests), "two requests of one format"
    if options.where == "device" and options.gpu is None:
        raise UserError(
            "dataset.store=device: needs a CUDA device to train on; here, dataset.store=ram is the fastest."
        )
    if not images.files:
        return _in_memory(images, requests, options, reporter)
    run = FirstPass(images, cache, step=lambda images: None, say=reporter.say, check_stop=check_stop)
    if options.where != "stream":
        packed = [run.look_up(request) for request in requests]
        reason = room.too_large(images, requests, packed, cache)
        if reason is None:
            opened = _stored(run, requests, packed, options, reporter)
            if opened is not None:
                return opened
            reason = "the store cannot be written"
        elif options.where != "auto":
            raise UserError(f"dataset.store={options.where}: {reason}. Set dataset.store=stream, or make room.")
    else:
        reason = "as dataset.store asks"
    return _streamed(run, requests, options, reporter, reason)


def _in_memory(images: ImageSet, requests: list[PixelRequest], options: StoreOptions, reporter: Reporter) -> DecodedSet:
    if options.where in ("disk", "stream"):
        reporter.warn(f"dataset.store={options.where} is ignored: {images.name} has no files to decode")
    sizes = [_bytes_in_memory(images, request) for request in requests]
    store = _store(MemoryPixels(images, requests), requests, sizes, options, reporter)
    return DecodedSet(store, images, {}, f"{store.where}: {images.name} has no files to decode")


def _bytes_in_memory(images: ImageSet, request: PixelRequest) -> int:
    """About what a request takes, by its first sample."""
    if len(request.indices) == 0:
        return 0
    return len(request.indices) * request.format.make(images.read(int(request.indices[0]))).nbytes


def _store(
    pixels: HostPixels,
    requests: list[PixelRequest],
    sizes: list[int],
    options: StoreOptions,
    reporter: Reporter,
    images_decoded: int = 0,
) -> Store:
    """Pixels in RAM or on the GPU where that is asked for, or suits and fits; `sizes` are the bytes of each request."""
    gpu = options.gpu
    if options.where == "ram":
        room.check_ram(sum(sizes))
        return HostStore(RamPixels(pixels, requests), images_decoded)
    if gpu is None or options.where not in ("auto", "device") or (options.where == "auto" and not gpu.cuts_views):
        return HostStore(pixels, images_decoded)
    if not gpu.cuts_views:
        reporter.warn("dataset.store=device: this recipe's training views are cut on the host, from there")
        sizes = [
            size for request, size in zip(requests, sizes, strict=True) if request.format.name == formats.EVALUATION
        ]
    size, free = sum(sizes), gpu.free_bytes()
    if size > free * (_AUTO_SHARE if options.where == "auto" else _MOST_SHARE):
        if options.where == "device":
            raise UserError(f"dataset.store=device: {in_words(size)} do not fit, {in_words(free)} of the GPU are free.")
        return HostStore(pixels, images_decoded)
    return DeviceStore(pixels, requests, gpu.device, reporter.warn, images_decoded)


def _stored(
    run: FirstPass, requests: list[PixelRequest], packed: list[PackedPixels], options: StoreOptions, reporter: Reporter
) -> DecodedSet | None:
    """A store on disk, or read from there; None where the disk refuses and `auto` may stream instead."""
    try:
        _complete(run, requests, packed, reporter)
    except OSError as error:
        problem = f"{error.filename or run.cache.root}: {error.strerror or error}"
        if options.where == "auto":
            reporter.warn(f"decoded pixels cannot be kept ({problem}); images are decoded every epoch instead")
            return None
        if error.errno in _NOT_OURS:
            raise UserError(f"cache_dir: {problem}. Choose another folder, or dataset.store=stream.") from error
        raise RunError(f"decoded pixels cannot be kept: {problem}. Make room, or set dataset.store=stream.") from error
    images, skipped = leave_out(run.images, packed, options.on_bad, reporter.warn)
    disk = DiskPixels({request.format.name: pixels for request, pixels in zip(requests, packed, strict=True)})
    sizes = [pixels.bytes() for pixels in packed]
    store = _store(disk, _without(requests, skipped), sizes, options, reporter, run.images_decoded)
    size = in_words(sum(sizes))
    total = sum(len(request.indices) for request in requests)
    kept = f"{size} in {run.cache.root / KIND}"
    text = f"{store.where}: {total:,} images, {run.images_decoded:,} decoded now, {kept}"
    return DecodedSet(
        store, images, skipped, text, [*remark_notes(images, packed), *duplicate_notes(images, hashes_of(packed))]
    )


def _streamed(
    run: FirstPass, requests: list[PixelRequest], options: StoreOptions, reporter: Reporter, reason: str
) -> DecodedSet:
    """Every image is decoded once to check it, which is remembered, and then again whenever it is used."""
    everything = np.unique(np.concatenate([request.indices for request in requests]))
    check = [PixelRequest(formats.checked(requests[0].format), everything)]
    packed = [run.look_up(check[0])]
    try:
        _complete(run, check, packed, reporter)
    except OSError as error:
        reporter.warn(f"that all images can be decoded cannot be remembered ({error.strerror or error})")
        with tempfile.TemporaryDirectory(prefix="transfer-run-") as folder:
            run = replace(run, cache=Cache(Path(folder), max_bytes=2**62))
            try:
                _complete(run, check, packed, reporter)
            except OSError as second:
                raise RunError(f"images cannot be checked: {folder}: {second.strerror or second}.") from second
    images, skipped = leave_out(run.images, packed, options.on_bad, reporter.warn)
    by_name = {request.format.name: request.format for request in requests}
    store = HostStore(StreamPixels(images, by_name, hashes_of(packed)), run.images_decoded)
    text = f"stream: images are decoded every epoch ({reason})"
    return DecodedSet(
        store, images, skipped, text, [*remark_notes(images, packed), *duplicate_notes(images, hashes_of(packed))]
    )


def _complete(run: FirstPass, requests: list[PixelRequest], packed: list[PackedPixels], reporter: Reporter) -> None:
    missing = sum(len(pixels.missing()) for pixels in packed)
    if missing == 0:
        return
    with reporter.count("decoding", missing, "images") as progress:
        counted = replace(run, step=progress.step)
        try:
            for request, pixels in zip(requests, packed, strict=True):
                counted.complete(request, pixels)
        finally:
            run.images_decoded += counted.images_decoded


def _without(requests: list[PixelRequest], skipped: dict[int, str]) -> list[PixelRequest]:
    gone = np.array(list(skipped), np.int64)
    return [replace(request, indices=request.indices[~np.isin(request.indices, gone)]) for request in requests]
