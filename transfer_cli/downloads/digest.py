"""What the bytes of a file must hash to."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transfer_cli.files import file_sha256

_IN_NAME = re.compile(r"-([a-f0-9]{8,64})\.[^/]*$")
_SHA256 = re.compile(r"[a-f0-9]{64}")
_SHA1 = re.compile(r"[a-f0-9]{40}")


@dataclass(frozen=True)
class Digest:
    """Hex digits of a sha256, at least the first eight; or the sha1 that git knows a file's content by."""

    digits: str
    kind: Literal["sha256", "git"] = "sha256"

    @classmethod
    def in_name(cls, name: str) -> Digest | None:
        """The one that torch's publishers write into names, as in resnet50-11ad3fa6.pth; None for other names."""
        found = _IN_NAME.search(name)
        return cls(found.group(1)) if found else None

    @classmethod
    def of_etag(cls, etag: str) -> Digest | None:
        """The one that a model hub calls a file's content by: a sha256 of large files, git's own of small ones."""
        if _SHA256.fullmatch(etag):
            return cls(etag)
        return cls(etag, "git") if _SHA1.fullmatch(etag) else None

    def found(self, path: Path) -> str:
        """The same of a file's bytes, all of its digits. Raises OSError."""
        return file_sha256(path) if self.kind == "sha256" else _git_sha1(path)

    def holds(self, path: Path) -> bool:
        """Whether a file is the one that is meant. Raises OSError."""
        return self.found(path).startswith(self.digits)


def git_sha1(size: int) -> hashlib._Hash:
    """What git knows a file of so many bytes by, before its bytes."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def _git_sha1(path: Path) -> str:
    sha1 = git_sha1(path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(2**20):
            sha1.update(block)
    return sha1.hexdigest()
