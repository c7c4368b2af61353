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
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from transfer_cli.cache.entries import Cache
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store import formats, room
from transfer_cli.data.store.device import DeviceStore
from transfer_cli.data.store.duplicates import duplicate_notes
from transfer_cli.data.store.firstpass import KIND, Pass
from transfer_cli.data.store.formats import PixelRequest
from transfer_cli.data.store.live import Contents, MemoryStore, StreamStore
from transfer_cli.data.store.skipping import leave_out
from transfer_cli.data.store.stored import DiskStore, RamStore
from transfer_cli.data.store.table import Table, contents_of
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.errors import RunError, UserError
from transfer_cli.records.text import in_words

if TYPE_CHECKING:
    from transfer_cli.records.terminal import Reporter

_AUTO_SHARE, _MOST_SHARE = 0.25, 0.8
"""Of a GPU's free memory, for pixels: what is taken unasked, and at most."""
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


class Store(Protocol):
    """Decoded pixels of the samples that were wanted. Batches cannot tell one store from another but by speed."""

    where: str
    decodes: bool
    """Whether every use decodes files: worth worker processes instead of threads."""
    images_decoded: int

    def fingerprint(self, indices: Indices) -> str:
        """A digest of what the files of samples hold, in this order: what later caches are keyed by."""

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, 3], the caller's own."""

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, 3]; not to be changed."""


@dataclass(frozen=True)
class Opened:
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
    wants: list[PixelRequest],
    options: StoreOptions,
    cache: Cache,
    reporter: Reporter,
    check_stop: Callable[[], None] = lambda: None,
) -> Opened:
    """The pixels of all that is wanted, decoded now where no earlier run has.

    Raises UserError for images that cannot be decoded and settings that cannot work, RunError for a full disk or files
    that cannot be read.
    """
    if options.where == "device" and options.gpu is None:
        raise UserError(
            "dataset.store=device: needs a CUDA device to train on; here, dataset.store=ram is the fastest."
        )
    if not images.files:
        return _in_memory(images, wants, options, reporter)
    run = Pass(images, cache, step=lambda images: None, say=reporter.say, check_stop=check_stop)
    if options.where != "stream":
        tables = [run.look_up(want) for want in wants]
        reason = room.too_large(images, wants, tables, cache)
        if reason is None:
            opened = _stored(run, wants, tables, options, reporter)
            if opened is not None:
                return opened
            reason = "the store cannot be written"
        elif options.where != "auto":
            raise UserError(f"dataset.store={options.where}: {reason}. Set dataset.store=stream, or make room.")
    else:
        reason = "as dataset.store asks"
    return _streamed(run, wants, options, reporter, reason)


def _in_memory(images: ImageSet, wants: list[PixelRequest], options: StoreOptions, reporter: Reporter) -> Opened:
    if options.where in ("disk", "stream"):
        reporter.warn(f"dataset.store={options.where} is ignored: {images.name} has no files to decode")
    sizes = [_bytes_in_memory(images, want) for want in wants]
    store = _moved(MemoryStore(images, wants), wants, sizes, options, reporter)
    return Opened(store, images, {}, f"{store.where}: {images.name} has no files to decode")


def _bytes_in_memory(images: ImageSet, want: PixelRequest) -> int:
    """About what a want takes, by its first sample."""
    if len(want.indices) == 0:
        return 0
    return len(want.indices) * want.form.make(images.read(int(want.indices[0]))).nbytes


def _moved(
    store: Store, wants: list[PixelRequest], sizes: list[int], options: StoreOptions, reporter: Reporter
) -> Store:
    """The store in RAM or on the GPU where that is asked for, or suits and fits; `sizes` are the bytes of each want."""
    gpu = options.gpu
    if options.where == "ram":
        room.check_ram(sum(sizes))
        return RamStore(store, wants)
    if gpu is None or options.where not in ("auto", "device") or (options.where == "auto" and not gpu.cuts_views):
        return store
    if not gpu.cuts_views:
        reporter.warn("dataset.store=device: this recipe's training views are cut on the host, from there")
        sizes = [size for want, size in zip(wants, sizes, strict=True) if want.form.name == formats.EVALUATION]
    size, free = sum(sizes), gpu.free_bytes()
    if size > free * (_AUTO_SHARE if options.where == "auto" else _MOST_SHARE):
        if options.where == "device":
            raise UserError(f"dataset.store=device: {in_words(size)} do not fit, {in_words(free)} of the GPU are free.")
        return store
    return DeviceStore(store, wants, gpu.device)


def _stored(
    run: Pass, wants: list[PixelRequest], tables: list[Table], options: StoreOptions, reporter: Reporter
) -> Opened | None:
    """A store on disk, or read from there; None where the disk refuses and `auto` may stream instead."""
    try:
        _complete(run, wants, tables, reporter)
    except OSError as error:
        problem = f"{error.filename or run.cache.root}: {error.strerror or error}"
        if options.where == "auto":
            reporter.warn(f"decoded pixels cannot be kept ({problem}); images are decoded every epoch instead")
            return None
        if error.errno in _NOT_OURS:
            raise UserError(f"cache_dir: {problem}. Choose another folder, or dataset.store=stream.") from error
        raise RunError(f"decoded pixels cannot be kept: {problem}. Make room, or set dataset.store=stream.") from error
    images, skipped = leave_out(run.images, tables, options.on_bad, reporter.warn)
    contents = contents_of(tables)
    disk = DiskStore(_by_form(wants, tables), Contents(contents), run.images_decoded)
    left = _without(wants, skipped)
    sizes = [table.bytes() for table in tables]
    store = _moved(disk, left, sizes, options, reporter)
    size = in_words(sum(sizes))
    total = sum(len(want.indices) for want in wants)
    kept = f"{size} in {run.cache.root / KIND}"
    text = f"{store.where}: {total:,} images, {run.images_decoded:,} decoded now, {kept}"
    return Opened(store, images, skipped, text, duplicate_notes(images, contents))


def _streamed(run: Pass, wants: list[PixelRequest], options: StoreOptions, reporter: Reporter, reason: str) -> Opened:
    """Every image is decoded once to check it, which is remembered, and then again whenever it is used."""
    everything = np.unique(np.concatenate([want.indices for want in wants]))
    check = [PixelRequest(formats.checked(wants[0].form), everything)]
    tables = [run.look_up(check[0])]
    try:
        _complete(run, check, tables, reporter)
    except OSError as error:
        reporter.warn(f"that all images can be decoded cannot be remembered ({error.strerror or error})")
        with tempfile.TemporaryDirectory(prefix="transfer-run-") as folder:
            run = replace(run, cache=Cache(Path(folder), max_bytes=2**62))
            try:
                _complete(run, check, tables, reporter)
            except OSError as second:
                raise RunError(f"images cannot be checked: {folder}: {second.strerror or second}.") from second
    images, skipped = leave_out(run.images, tables, options.on_bad, reporter.warn)
    contents = contents_of(tables)
    store = StreamStore(images, {want.form.name: want.form for want in wants}, Contents(contents))
    store.images_decoded = run.images_decoded
    text = f"stream: images are decoded every epoch ({reason})"
    return Opened(store, images, skipped, text, duplicate_notes(images, contents))


def _complete(run: Pass, wants: list[PixelRequest], tables: list[Table], reporter: Reporter) -> None:
    missing = sum(len(table.missing()) for table in tables)
    if missing == 0:
        return
    with reporter.count("decoding", missing, "images") as progress:
        counted = replace(run, step=progress.step)
        try:
            for want, table in zip(wants, tables, strict=True):
                counted.complete(want, table)
        finally:
            run.images_decoded += counted.images_decoded


def _by_form(wants: list[PixelRequest], tables: list[Table]) -> dict[str, Table]:
    return {want.form.name: table for want, table in zip(wants, tables, strict=True)}


def _without(wants: list[PixelRequest], skipped: dict[int, str]) -> list[PixelRequest]:
    gone = np.array(list(skipped), np.int64)
    return [replace(want, indices=want.indices[~np.isin(want.indices, gone)]) for want in wants]
