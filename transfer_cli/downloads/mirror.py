"""A mirror of one's own, asked before any server: a folder that machines share, or a base address.

Its layout is that of an unpacked archive of mode=fetch: `<file>` for weights with an address, for the model hub's
`<owner>/<repository>/<file>`, and manifest.json with their hashes. Files whose names hold a hash, and archives of data
sets, which torchvision verifies, need no manifest.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from transfer_cli.downloads.digest import Digest
from transfer_cli.downloads.manifest import MANIFEST, MOST_BYTES, Entry, from_json
from transfer_cli.downloads.partial import partial
from transfer_cli.downloads.reach import unreachable
from transfer_cli.downloads.transfer import READ_SECONDS, DownloadError, Watch, check, download
from transfer_cli.errors import UserError

VARIABLE = "TRANSFER_RUN_MIRROR"
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Mirror:
    """Where it is: an address, or a folder."""

    base: str

    @classmethod
    def of_environment(cls) -> Mirror | None:
        """That of TRANSFER_RUN_MIRROR. Raises UserError where it is neither an http(s) address nor a folder."""
        base = os.environ.get(VARIABLE, "").rstrip("/")
        if not base:
            return None
        mirror = cls(base)
        if mirror.folder is not None and not mirror.folder.is_dir():
            raise UserError(f"{VARIABLE}={base}: no such folder, and no http:// or https:// address.")
        return mirror

    @property
    def folder(self) -> Path | None:
        """The folder, where it is one."""
        return None if urlsplit(self.base).scheme in ("http", "https") else Path(self.base).expanduser()

    def find(self, name: str) -> Entry | None:
        """What its manifest says of a file; None where it has no manifest, or none of this file.

        Raises DownloadError for a mirror that does not answer, or whose manifest is damaged.
        """
        with self._manifest() as file:
            content = file.read(MOST_BYTES + 1)
        if not content:
            return None
        try:
            return next((entry for entry in from_json(content) if entry.name == name), None)
        except ValueError as error:
            raise DownloadError(f"{self}: {error}") from error

    def take(self, name: str, path: Path, digest: Digest | None, watch: Watch | None = None) -> None:
        """Bring the file of that name to `path`, as `download` does. Raises DownloadError where it is not there."""
        if self.folder is not None:
            _copy(self.folder / name, path, digest, watch)
            return
        self._check_reach()
        download(f"{self.base}/{quote(name)}", path, digest, watch=watch)

    def _manifest(self) -> BinaryIO:
        """The manifest, or nothing where there is none."""
        if self.folder is not None:
            try:
                return (self.folder / MANIFEST).open("rb")
            except FileNotFoundError:
                return io.BytesIO()
            except OSError as error:
                raise DownloadError(f"{self}: {MANIFEST} cannot be read ({error.strerror})") from error
        self._check_reach()
        try:
            request = Request(f"{self.base}/{MANIFEST}", headers={"User-Agent": "transfer-run"})
            response: BinaryIO = urlopen(request, timeout=READ_SECONDS)
            return response
        except HTTPError as error:
            error.close()
            if error.code == 404:
                return io.BytesIO()
            raise DownloadError(f"{self} answers {error.code} {error.reason}") from error
        except OSError as error:
            raise DownloadError(f"{self}: {error}") from error

    def _check_reach(self) -> None:
        reason = unreachable(self.base)
        if reason is not None:
            raise DownloadError(f"{self}: {reason}")

    def __str__(self) -> str:
        return f"the mirror {self.base}"


def _copy(source: Path, path: Path, digest: Digest | None, watch: Watch | None) -> None:
    try:
        file = source.open("rb")
    except OSError as error:
        raise DownloadError(f"{source}: {error.strerror}") from error
    with file, partial(path) as unfinished:
        unfinished.cut()
        total = os.fstat(file.fileno()).st_size
        unfinished.need(total)
        while block := file.read(_BLOCK_BYTES):
            unfinished.write(block)
            if watch is not None:
                watch(unfinished.size(), total)
        check(unfinished, digest)
        unfinished.done()
