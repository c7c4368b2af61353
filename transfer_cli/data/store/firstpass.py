"""The first pass over the images that a run needs: each is decoded once, checked, and kept for all later runs.

It proceeds in chunks, each an entry of the cache that is there whole or not at all: a pass that is killed goes on
where it was, and jobs that request the same images take turns instead of doing the work twice.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from transfer_cli.cache.entries import Cache
from transfer_cli.cache.entry import digest
from transfer_cli.data.reading import kinds
from transfer_cli.data.reading.bands.open import open_picture, readers
from transfer_cli.data.reading.decode import DecodeError
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import EncodedImages, Indices
from transfer_cli.data.reading.workers import cpus, run_jobs
from transfer_cli.data.store.formats import PixelFormat, PixelRequest
from transfer_cli.data.store.packed import PackedPixels
from transfer_cli.data.store.packs import PIXELS, Decoded, Pack, write_pack
from transfer_cli.data.store.stamps import stamp, stamps
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.errors import RunError

KIND = "pixels"
CHUNK_IMAGES = 2048
MOST_PACKS = 100
"""Entries that one set may be spread over, apart from new ones: each is an open file."""


@dataclass
class FirstPass:
    """Finds what earlier runs have decoded of a set, and decodes the rest."""

    images: ImageSet
    cache: Cache
    step: Callable[[int], None]
    """Called with the number of images that are there now."""
    say: Callable[[str], None]
    check_stop: Callable[[], None] = lambda: None
    """Raises Stopped where a signal came."""
    images_decoded: int = field(default=0, init=False)

    def look_up(self, request: PixelRequest) -> PackedPixels:
        """What earlier runs have left of a request."""
        found, unreachable = stamps(encoded_of(self.images), request.indices)
        packed = PackedPixels(
            len(self.images.ids),
            request.indices,
            found,
            channels_of(self.images),
            remake=functools.partial(self._remade, request),
            discard=lambda pack: self.cache.discard(pack.folder, "its pixels have changed"),
        )
        packed.leave_out(unreachable)
        self._take_known(request.format, packed)
        return packed

    def complete(self, request: PixelRequest, packed: PackedPixels) -> None:
        """Decode what is missing, chunk by chunk.

        Raises OSError where the cache cannot be written, RunError where a file cannot be read.
        """
        files = {int(index): encoded_of(self.images).location(int(index))[0] for index in packed.missing()}
        readable = functools.cache(lambda file: os.access(file, os.R_OK))
        packed.leave_out({index: "permission denied" for index, file in files.items() if not readable(file)})
        while len(packed.missing()):
            with self._turn(request.format):
                self.step(self._take_known(request.format, packed))
                chunk = packed.missing()[:CHUNK_IMAGES]
                if len(chunk):
                    self._fill(request.format, packed, chunk)

    def _take_known(self, pixel_format: PixelFormat, packed: PackedPixels) -> int:
        """Add what the cache has, the largest entries first; returns the number of samples found.

        A set that grew file by file lies in many small entries: what the smallest hold is decoded into one again.
        """
        before = len(packed.missing())
        entries = [
            entry
            for entry in self.cache.entries()
            if entry.kind == KIND and entry.key.get("form") == self._form(pixel_format)
        ]
        for entry in sorted(entries, key=lambda entry: -entry.bytes):
            if len(packed.packs) >= MOST_PACKS or not len(packed.missing()):
                break
            if not self.cache.is_sound(entry.path, apart_from=PIXELS):
                continue
            try:
                found = packed.add(Pack(entry.path, channels_of(self.images)))
            except OSError:
                continue  # evicted meanwhile
            except (ValueError, KeyError, TypeError, AttributeError):
                # Whole, and yet no pack: of an earlier version.
                self.cache.discard(entry.path, "written otherwise than today")
                continue
            if found:
                self.cache.use(entry.path)
        return before - len(packed.missing())

    def _remade(self, request: PixelRequest, index: int) -> Pixels:
        """The pixels of an image whose pack is damaged. Raises RunError where its file can no longer be decoded."""
        expected = stamps(encoded_of(self.images), np.array([index], np.int64))[0][0].tobytes()
        decoded = decode(self.images, request.format, index, expected)
        if decoded.pixels is None:
            raise RunError(f"{self.images.ids[index]}: {decoded.reason}; and its pixels in the cache have changed.")
        return decoded.pixels

    def _fill(self, pixel_format: PixelFormat, packed: PackedPixels, chunk: Indices) -> None:
        """Decode some images into a new entry."""
        row_stamps = packed.stamps(chunk)
        ends = [os.path.abspath(self.images.ids[int(chunk[end])]) for end in (0, -1)]
        about = {"data": self.images.name, "from": os.path.commonpath(map(os.path.dirname, ends)), "images": len(chunk)}

        def build(folder: Path) -> None:
            write_pack(folder, row_stamps, self._decoded(pixel_format, packed, chunk), about)

        key = {"form": self._form(pixel_format), "rows": digest({"stamps": row_stamps.tobytes().hex()})}
        self.cache.get(KIND, key)  # counts it as a miss
        packed.add(Pack(self.cache.fill(KIND, key, build), channels_of(self.images)))

    def _form(self, pixel_format: PixelFormat) -> dict[str, Any]:
        """What determines an entry besides its images: under another cap, or without HEIC, others are refused."""
        more: dict[str, Any] = {"max_pixels": self.images.max_pixels, "heif": kinds.heif_version()}
        if self.images.channels is not None:
            more |= {"channels": self.images.channels, **readers()}
        return pixel_format.spec | {key: value for key, value in more.items() if value is not None}

    def _decoded(self, pixel_format: PixelFormat, packed: PackedPixels, chunk: Indices) -> Iterator[Decoded]:
        """The images of a chunk in order, decoded by threads a few at a time."""

        def job(position: int) -> Decoded:
            index = int(chunk[position])
            return decode(self.images, pixel_format, index, packed.stamps(chunk[position : position + 1])[0].tobytes())

        for decoded in run_jobs(job, range(len(chunk)), cpus(), threads=True, while_waiting=self.check_stop):
            self.check_stop()
            self.images_decoded += 1
            self.step(1)
            yield decoded

    @contextmanager
    def _turn(self, pixel_format: PixelFormat) -> Iterator[None]:
        """Of all processes that decode into a format, this one, until the block ends."""
        lock = self.cache.lock(f"{KIND}-{digest(self._form(pixel_format))}")
        waited = False
        while not lock.is_locked:
            self.check_stop()
            try:
                lock.acquire(timeout=1)
            except Timeout:
                if not waited:
                    self.say("store     another process is decoding images of this size; waiting for its chunk")
                waited = True
        try:
            yield
        finally:
            lock.release()


def decode(images: ImageSet, pixel_format: PixelFormat, index: int, expected: bytes) -> Decoded:
    """One image in a format. Raises RunError if its file cannot be read, or is no more what it was (`expected`)."""
    name, encoded, sha256 = images.ids[index], encoded_of(images), bytes(32)
    try:
        try:
            data = encoded.encoded(index)
            sha256 = hashlib.sha256(data).digest()
            remarks: list[str] = []
            image = open_picture(
                data, channels=images.channels, name=name, max_pixels=images.max_pixels, remark=remarks.append
            )
            decoded = Decoded(sha256, pixels=pixel_format.make(image), remark="; ".join(remarks))
        except DecodeError as error:
            decoded = Decoded(sha256, reason=error.reason)
        if stamp(encoded.location(index)) != expected:
            raise RunError(f"{name}: changed while it was read. Run the same command again.")
    except OSError as error:
        raise RunError(f"{name}: cannot be read ({error.strerror or error}).") from error
    return decoded


def channels_of(images: ImageSet) -> int:
    """How many channels decoded images have."""
    return images.channels or 3


def encoded_of(images: ImageSet) -> EncodedImages:
    """Where the encoded images of a set with files are."""
    assert images.encoded is not None
    return images.encoded
