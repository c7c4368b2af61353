"""What identifies the images of samples, whatever their files are called."""

from __future__ import annotations

import hashlib

import PIL

from transfer_cli.cache.digests import Digests

KIND_OF_DIGEST = {"decoder": 1, "pillow": PIL.__version__}
"""Stays what it is when the decoder changes: runs are asked later whether their images are the same, not how these are
shown. Caches of what comes of their pixels have the decoder's version in their keys besides."""


def fingerprint(hashes: Digests) -> str:
    """One digest of the sha256 of samples, uint8 [B, 32] in their order."""
    assert hashes.any(axis=1).all(), "a fingerprint of samples that were not requested"
    return hashlib.sha256(repr(sorted(KIND_OF_DIGEST.items())).encode() + hashes.tobytes()).hexdigest()
