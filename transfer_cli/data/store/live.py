"""Pixels that are decoded where they are used: sets that are in memory anyway, and sets too large to store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from transfer_cli.cache.digests import Digests
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.formats import EVALUATION, TRAINING, PixelFormat, PixelRequest
from transfer_cli.data.store.stamps import SHA256_BYTES
from transfer_cli.data.views.geometry import Pixels

KEEP_BYTES = 512 * 2**20
"""Decoded pixels of a set that is in memory anyway are kept up to this size."""


class StreamPixels:
    """Decodes every image whenever it is used."""

    where, decodes = "stream", True

    def __init__(self, images: ImageSet, formats: Mapping[str, PixelFormat], hashes: Digests) -> None:
        """`formats` by their names; `hashes` are the sha256 of the samples' files, [N, 32], zeros where unknown."""
        self._images, self._formats, self._hashes = images, formats, hashes

    def hashes(self, indices: Indices) -> Digests:
        """The sha256 of what the file of each sample holds, [B, 32]."""
        return self._hashes[indices]

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, C]."""
        return np.stack([self._make(EVALUATION, int(index)) for index in indices])

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, C]."""
        return [self._make(TRAINING, int(index)) for index in indices]

    def _make(self, name: str, index: int) -> Pixels:
        return self._formats[name].make(self._images.read(index))


class MemoryPixels:
    """Images that are in memory anyway; what they become is kept as long as there is room."""

    where, decodes = "memory", False

    def __init__(self, images: ImageSet, requests: list[PixelRequest]) -> None:
        self._images = images
        self._requests = {request.format.name: request for request in requests}
        self._kept: dict[tuple[str, int], Pixels] = {}
        self._hashes: dict[int, bytes] = {}

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, C]."""
        return np.stack([self._get(EVALUATION, int(index)) for index in indices])

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, C]."""
        return [self._get(TRAINING, int(index)) for index in indices]

    def hashes(self, indices: Indices) -> Digests:
        """The sha256 of what each sample holds, [B, 32]: of its bytes, else of its pixels."""
        hashes = [self._sha256(int(index)) for index in indices]
        return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), SHA256_BYTES)

    def _get(self, name: str, index: int) -> Pixels:
        pixels = self._kept.get((name, index))
        if pixels is None:
            request = self._requests[name]
            pixels = request.format.make(self._images.read(index))
            if pixels.nbytes * len(request.indices) <= KEEP_BYTES:
                self._kept[name, index] = pixels
        return pixels

    def _sha256(self, index: int) -> bytes:
        digest = self._hashes.get(index)
        if digest is None:
            digest = hashlib.sha256(self._bytes(index)).digest()
            self._hashes[index] = digest
        return digest

    def _bytes(self, index: int) -> bytes:
        if self._images.encoded is not None:
            return self._images.encoded.encoded(index)
        pixels = np.asarray(self._images.read(index))
        return f"{pixels.shape}".encode() + pixels.tobytes()
