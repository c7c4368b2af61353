"""One file from a server, gone on with where an earlier attempt ended.

torch.hub begins anew after every interruption, and so does the model hub's client since it gives every attempt a file
of its own; neither notices a file without a hash in its name that came short, or one of the hub that is altered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from transfer_cli.downloads.digest import Digest
from transfer_cli.downloads.partial import Partial, megabytes, partial

READ_SECONDS = 30.0
"""A connection that is silent for so long is given up."""
SLOWEST_WINDOW_SECONDS, SLOWEST_BYTES = 60.0, 2**14
"""So is one that brings less than this in a window."""
PAUSES_SECONDS = (0.5, 2.0)
"""Before attempts that follow one that brought nothing."""
MOST_ATTEMPTS = 20
_BLOCK_BYTES = 2**18
_PASSING = (408, 429, 500, 502, 503, 504)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Watch = Callable[[int, int | None], None]
"""Told the bytes that are there and, where it is known, of how many."""


class DownloadError(Exception):
    """No file: the message says why, as a part of a sentence."""


def download(
    url: str,
    path: Path,
    digest: Digest | None,
    headers: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    *,
    verified_later: bool = False,
) -> None:
    """Fetch `url` to `path`, which appears whole and verified or not at all; `headers` go to its own server alone.

    Without a digest an earlier attempt is gone on from only where `verified_later`: the caller compares a hash. Proxies
    are those of http_proxy, https_proxy and no_proxy. Raises DownloadError, RunError where the disk is full, UserError
    where the folder cannot be written.
    """
    with partial(path) as unfinished:
        if digest is not None and path.is_file() and digest.holds(path):
            unfinished.drop()  # another process was faster
            return
        if digest is None and not verified_later:
            unfinished.cut()  # nothing says what an earlier attempt has left
        resumed = unfinished.size() > 0
        _receive_all(url, unfinished, headers or {}, watch)
        if digest is not None and resumed and not digest.holds(unfinished.path):
            # What was left may be of another file; only a download in one piece is evidence.
            unfinished.cut()
            _receive_all(url, unfinished, headers or {}, watch)
        check(unfinished, digest)
        unfinished.done()


def check(unfinished: Partial, digest: Digest | None) -> None:
    """Raises DownloadError for other bytes than those that `digest` is of; they are not kept."""
    if digest is None or digest.holds(unfinished.path):
        return
    found = digest.found(unfinished.path)
    unfinished.drop()
    raise DownloadError(f"its hash is {found[: len(digest.digits)]}, not {digest.digits}: what came is damaged")


def _receive_all(url: str, unfinished: Partial, headers: Mapping[str, str], watch: Watch | None) -> None:
    """All bytes, however often the connection breaks, as long as attempts bring some."""
    in_vain = 0
    validator: list[str] = []
    for _ in range(MOST_ATTEMPTS):
        before = unfinished.size()
        try:
            return _receive(url, unfinished, headers, validator, watch)
        except (OSError, HTTPException) as error:
            failed = error
        in_vain = 0 if unfinished.size() > before else in_vain + 1
        if in_vain > len(PAUSES_SECONDS) or not _may_pass(failed):
            break
        if in_vain:
            time.sleep(PAUSES_SECONDS[in_vain - 1])
    kept = unfinished.size()
    raise DownloadError(_reason(failed) + (f"; {megabytes(kept)} are kept, to go on from" if kept else "")) from failed


def _receive(
    url: str, unfinished: Partial, headers: Mapping[str, str], validator: list[str], watch: Watch | None
) -> None:
    """One attempt, behind what is there. Raises OSError and HTTPException, of sockets and servers."""
    request = Request(url, headers={"User-Agent": "transfer-run", "Accept-Encoding": "identity"})
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    offset = unfinished.size()
    if offset:
        request.add_header("Range", f"bytes={offset}-")
        if validator:
            request.add_header("If-Range", validator[0])
    try:
        response: HTTPResponse = urlopen(request, timeout=READ_SECONDS)
    except HTTPError as error:
        error.close()
        if error.code == 416 and offset and _whole(error, offset):
            return
        if error.code == 416 and offset:
            unfinished.cut()
            raise ConnectionError("the server has another file than before") from error
        raise
    with response:
        total = _total(response, unfinished, offset)
        validator[:] = [tag for tag in [response.headers.get("ETag")] if tag and not tag.startswith("W/")]
        if total is not None:
            unfinished.need(total - unfinished.size())
        _copy(response, unfinished, total, watch)


def _total(response: HTTPResponse, unfinished: Partial, offset: int) -> int | None:
    """The size of the whole file, where the server says it; what is there goes where the server begins anew."""
    placed = _RANGE.fullmatch(response.headers.get("Content-Range") or "") if response.status == 206 else None
    if placed is None or int(placed.group(1)) != offset:
        unfinished.cut()
        if response.status == 206:
            raise ConnectionError("the server sends another part than it was asked for")
    elif placed.group(2) != "*":
        return int(placed.group(2))
    length = response.headers.get("Content-Length")
    return unfinished.size() + int(length) if length is not None and length.isdecimal() else None


def _whole(error: HTTPError, offset: int) -> bool:
    """Whether a server has no more bytes because all of them are there."""
    return (error.headers.get("Content-Range") or "") == f"bytes */{offset}"


def _copy(response: HTTPResponse, unfinished: Partial, total: int | None, watch: Watch | None) -> None:
    began, received = time.monotonic(), 0
    # read1 returns with what has come; read would wait for a whole block, however slowly it comes.
    while block := response.read1(_BLOCK_BYTES):
        unfinished.write(block)
        received += len(block)
        if watch is not None:
            watch(unfinished.size(), total)
        if time.monotonic() - began > SLOWEST_WINDOW_SECONDS:
            if received < SLOWEST_BYTES:
                raise TimeoutError(f"only {received:,} bytes came in {time.monotonic() - began:.0f} s")
            began, received = time.monotonic(), 0
    if total is not None and unfinished.size() != total:
        raise ConnectionError(f"the connection was closed after {unfinished.size():,} of {total:,} bytes")


def _may_pass(error: Exception) -> bool:
    """Whether another attempt may help: not where the server has said no, or nothing for long."""
    if isinstance(error, HTTPError):
        return error.code in _PASSING
    inner = error.reason if isinstance(error, URLError) else error
    return not isinstance(inner, TimeoutError)


def _reason(error: Exception) -> str:
    """Why an attempt failed, as a part of a sentence."""
    if isinstance(error, HTTPError):
        return f"{urlsplit(error.url or '').hostname} answers {error.code} {error.reason}"
    inner = error.reason if isinstance(error, URLError) else error
    if isinstance(inner, TimeoutError) and str(inner) in ("timed out", "The read operation timed out"):
        return f"the server was silent for {READ_SECONDS:.0f} s"
    text = str(inner).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
