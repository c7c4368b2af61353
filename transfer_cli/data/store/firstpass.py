"""The first pass over the images that a run needs: each is decoded once, checked, and kept for all later runs.

It proceeds in chunks, each an entry of the cache that is there whole or not at all: a pass that is killed goes on
where it was, and jobs that want the same images take turns instead of doing the work twice.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from transfer_cli.cache.entries import Cache, digest
from transfer_cli.data.reading.decode import DecodeError, open_image
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import EncodedImages, Indices
from transfer_cli.data.store.formats import PixelFormat, PixelRequest
from transfer_cli.data.store.packs import Decoded, Pack, write_pack
from transfer_cli.data.store.stamps import stamp, stamps
from transfer_cli.data.store.table import Table
from transfer_cli.data.workers import cpus, run_jobs
from transfer_cli.errors import RunError

KIND = "pixels"
CHUNK_IMAGES = 2048
MOST_PACKS = 100
"""Entries that one set may be spread over, apart from new ones: each is an open file."""
_LOCKS = ".locks"


@dataclass
class Pass:
    """Tables of all that a run needs, and what it takes to complete them."""

    images: ImageSet
    cache: Cache
    step: Callable[[int], None]
    """Told of each image that is there now."""
    say: Callable[[str], None]
    check_stop: Callable[[], None] = lambda: None
    """Raises Stopped where a signal came."""
    images_decoded: int = field(default=0, init=False)

    def look_up(self, want: PixelRequest) -> Table:
        """The table of what earlier runs have left of a want."""
        found, unreachable = stamps(encoded_of(self.images), want.indices)
        table = Table(len(self.images.ids), want.indices, found)
        table.leave_out(unreachable)
        self._take_known(want.form, table)
        return table

    def complete(self, want: PixelRequest, table: Table) -> None:
        """Decode what is missing, chunk by chunk.

        Raises OSError where the cache cannot be written, RunError where a file cannot be read.
        """
        files = {int(index): encoded_of(self.images).location(int(index))[0] for index in table.missing()}
        readable = functools.cache(lambda file: os.access(file, os.R_OK))
        table.leave_out({index: "permission denied" for index, file in files.items() if not readable(file)})
        while len(table.missing()):
            with self._turn(want.form):
                self.step(self._take_known(want.form, table))
                chunk = table.missing()[:CHUNK_IMAGES]
                if len(chunk):
                    self._fill(want.form, table, chunk)

    def _take_known(self, form: PixelFormat, table: Table) -> int:
        """Add what the cache has, the largest entries first; returns the number of samples found.

        A set that grew file by file lies in many small entries: what the smallest hold is decoded into one again.
        """
        before = len(table.missing())
        entries = [entry for entry in self.cache.entries() if entry.kind == KIND and entry.key.get("form") == form.spec]
        for entry in sorted(entries, key=lambda entry: -entry.bytes):
            if len(table.packs) >= MOST_PACKS or not len(table.missing()):
                break
            try:
                found = table.add(Pack(entry.path))
            except (OSError, ValueError, KeyError):
                continue  # evicted meanwhile, or damaged: its images are decoded again
            if found:
                self.cache.get(KIND, entry.key)  # counts it as a hit, and as used just now
        return before - len(table.missing())

    def _fill(self, form: PixelFormat, table: Table, chunk: Indices) -> None:
        """Decode some images into a new entry."""
        wanted = table.stamps(chunk)
        ends = [os.path.abspath(self.images.ids[int(chunk[end])]) for end in (0, -1)]
        about = {"data": self.images.name, "from": os.path.commonpath(map(os.path.dirname, ends)), "images": len(chunk)}

        def build(folder: Path) -> None:
            write_pack(folder, wanted, self._decoded(form, table, chunk), about)

        key = {"form": form.spec, "rows": digest({"stamps": wanted.tobytes().hex()})}
        self.cache.get(KIND, key)  # counts it as a miss
        table.add(Pack(self.cache.fill(KIND, key, build)))

    def _decoded(self, form: PixelFormat, table: Table, chunk: Indices) -> Iterator[Decoded]:
        """The images of a chunk in order, decoded by threads a few at a time."""

        def job(position: int) -> Decoded:
            index = int(chunk[position])
            return decode(self.images, form, index, table.stamps(chunk[position : position + 1])[0].tobytes())

        for decoded in run_jobs(job, range(len(chunk)), cpus(), threads=True):
            self.check_stop()
            self.images_decoded += 1
            self.step(1)
            yield decoded

    @contextmanager
    def _turn(self, form: PixelFormat) -> Iterator[None]:
        """Of all processes that decode into a form, this one, until the block ends."""
        folder = self.cache.root / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{KIND}-{digest(form.spec)}.lock")
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


def decode(images: ImageSet, form: PixelFormat, index: int, expected: bytes) -> Decoded:
    """One image in a form. Raises RunError if its file cannot be read, or is no more what it was (`expected`)."""
    name, encoded, sha256 = images.ids[index], encoded_of(images), bytes(32)
    try:
        try:
            data = encoded.encoded(index)
            sha256 = hashlib.sha256(data).digest()
            decoded = Decoded(sha256, pixels=form.make(open_image(data, name=name)))
        except DecodeError as error:
            decoded = Decoded(sha256, reason=error.reason)
        if stamp(encoded.location(index)) != expected:
            raise RunError(f"{name}: changed while it was read. Run the same command again.")
    except OSError as error:
        raise RunError(f"{name}: cannot be read ({error.strerror or error}).") from error
    return decoded


def encoded_of(images: ImageSet) -> EncodedImages:
    """Where the encoded images of a set with files are."""
    assert images.encoded is not None
    return images.encoded
