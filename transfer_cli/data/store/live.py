"""Pixels that are decoded where they are used: sets that are in memory anyway, and sets too large to store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store import formats
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelFormat
from transfer_cli.data.views.geometry import Pixels

KEEP_BYTES = 512 * 2**20
"""Decoded pixels of a set that is in memory anyway are kept up to this size."""


class Contents:
    """Sha256 of what each sample holds, so that later caches are keyed by content."""

    def __init__(self, digests: NDArray[np.uint8]) -> None:
        """`digests` uint8 [N, 32]; zeros where unknown."""
        self._digests = digests

    def fingerprint(self, indices: Indices) -> str:
        """One digest for the pixels of samples in this order, whatever their files are called."""
        chosen = self._digests[indices]
        assert chosen.any(axis=1).all(), "a fingerprint of samples that were not wanted"
        versions = repr(sorted(formats.decoder().items())).encode()
        return hashlib.sha256(versions + chosen.tobytes()).hexdigest()


class StreamStore:
    """Decodes every image whenever it is used."""

    where, decodes = "stream", True

    def __init__(self, images: ImageSet, made: Mapping[str, PixelFormat], contents: Contents) -> None:
        self._images, self._forms, self._contents = images, made, contents
        self.images_decoded = 0

    def fingerprint(self, indices: Indices) -> str:
        """See Store."""
        return self._contents.fingerprint(indices)

    def evaluation(self, indices: Indices) -> Pixels:
        """See Store."""
        return np.stack([self._make(EVALUATION, int(index)) for index in indices])

    def sources(self, indices: Indices) -> list[Pixels]:
        """See Store."""
        return [self._make(TRAINING, int(index)) for index in indices]

    def _make(self, form: str, index: int) -> Pixels:
        return self._forms[form].make(self._images.read(index))


class MemoryStore:
    """Images that are in memory anyway; what they become is kept as long as there is room."""

    where, decodes = "memory", False
    images_decoded = 0

    def __init__(self, images: ImageSet, wants: list[formats.PixelRequest]) -> None:
        self._images = images
        self._wants = {want.form.name: want for want in wants}
        self._kept: dict[tuple[str, int], Pixels] = {}
        self._contents: dict[int, bytes] = {}

    def evaluation(self, indices: Indices) -> Pixels:
        """See Store."""
        return np.stack([self._get(EVALUATION, int(index)) for index in indices])

    def sources(self, indices: Indices) -> list[Pixels]:
        """See Store."""
        return [self._get(TRAINING, int(index)) for index in indices]

    def fingerprint(self, indices: Indices) -> str:
        """See Store."""
        digests = [self._content(int(index)) for index in indices]
        table = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), 32)
        return Contents(table).fingerprint(np.arange(len(digests)))

    def _get(self, form: str, index: int) -> Pixels:
        pixels = self._kept.get((form, index))
        if pixels is None:
            want = self._wants[form]
            pixels = want.form.make(self._images.read(index))
            if pixels.nbytes * len(want.indices) <= KEEP_BYTES:
                self._kept[form, index] = pixels
        return pixels

    def _content(self, index: int) -> bytes:
        digest = self._contents.get(index)
        if digest is None:
            digest = hashlib.sha256(self._bytes(index)).digest()
            self._contents[index] = digest
        return digest

    def _bytes(self, index: int) -> bytes:
        if self._images.encoded is not None:
            return self._images.encoded.encoded(index)
        pixels = np.asarray(self._images.read(index))
        return f"{pixels.shape}".encode() + pixels.tobytes()
