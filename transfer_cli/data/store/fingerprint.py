"""What identifies the pixels of samples, whatever their files are called: caches of later results are keyed by it."""

from __future__ import annotations

import hashlib

from transfer_cli.data.store import formats
from transfer_cli.data.store.stamps import Digests


def fingerprint(hashes: Digests) -> str:
    """One digest of the sha256 of samples, uint8 [B, 32] in their order, and of the decoder's versions."""
    assert hashes.any(axis=1).all(), "a fingerprint of samples that were not requested"
    versions = repr(sorted(formats.decoder().items())).encode()
    return hashlib.sha256(versions + hashes.tobytes()).hexdigest()
