"""Which bytes an image holds, told without reading them."""

from __future__ import annotations

import functools
import hashlib
import os

import numpy as np

from transfer_cli.cache.digests import Digests
from transfer_cli.data.reading.listing import EncodedImages, Indices

STAMP_BYTES = 16
SHA256_BYTES = 32


def stamps(images: EncodedImages, indices: Indices) -> tuple[Digests, dict[int, str]]:
    """A stamp for each of the images, uint8 [len(indices), 16], and why one cannot be reached, by its index.

    Whoever writes to a file, or puts another in its place, changes its stamp: time and size can be forged (`cp -p`),
    the time of the last change of the inode cannot. In a file of many images, that is the stamp of them all.
    """
    digests = np.zeros((len(indices), STAMP_BYTES), np.uint8)
    unreachable: dict[int, str] = {}
    folders = functools.cache(os.path.realpath)
    for row, index in enumerate(indices):
        try:
            digests[row] = np.frombuffer(stamp(images.location(int(index)), folders), np.uint8)
        except OSError as error:
            unreachable[int(index)] = (error.strerror or str(error)).lower()
    return digests, unreachable


def stamp(location: tuple[str, str], folders: functools._lru_cache_wrapper[str] | None = None) -> bytes:
    """The stamp of a file and a position in it, 16 bytes; `folders` remembers real paths of folders. Raises OSError."""
    path, within = location
    status = os.stat(path)
    folder, name = os.path.split(path)
    real = (folders or os.path.realpath)(folder)
    text = f"{real}\0{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}\0{within}"
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=STAMP_BYTES).digest()
