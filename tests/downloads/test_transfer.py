"""Downloads: whole and verified or not there, gone on with after an interruption, bounded in time."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.downloads.server import Server, serving
from transfer_cli.downloads import transfer
from transfer_cli.downloads.digest import Digest
from transfer_cli.downloads.partial import partial
from transfer_cli.downloads.transfer import DownloadError, download
from transfer_cli.errors import RunError

CONTENT = bytes(range(256)) * 4000  # a megabyte, more than a block
DIGEST = Digest(hashlib.sha256(CONTENT).hexdigest()[:8])
FILE = Path("weights.pth")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(transfer, "PAUSES_SECONDS", (0.0, 0.0))
    server.files["/weights.pth"] = CONTENT


def _get(server: Server, digest: Digest | None = DIGEST) -> None:
    download(f"{server.url}/weights.pth", FILE, digest)


def _only(*names: str) -> None:
    assert sorted(os.listdir()) == sorted(names)


def test_a_file_comes_whole(server: Server) -> None:
    told: list[tuple[int, int | None]] = []
    download(f"{server.url}/weights.pth", FILE, DIGEST, watch=lambda there, total: told.append((there, total)))
    assert FILE.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    _only("weights.pth")


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_broken_connections_are_gone_on_from(server: Server, digest: Digest | None) -> None:
    server.cuts = [300_000, 200_000]
    _get(server, digest)
    assert FILE.read_bytes() == CONTENT
    assert [asked[2] for asked in server.asked] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_file_that_changes_on_the_server_is_not_mixed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.hub["owner/repository/weights.pth"], server.cuts = CONTENT, [300_000]

    def changes(error: Exception) -> bool:
        server.hub["owner/repository/weights.pth"] = CONTENT[::-1]
        return True

    monkeypatch.setattr(transfer, "_may_pass", changes)
    download(f"{server.url}/owner/repository/resolve/main/weights.pth", FILE, None)
    assert FILE.read_bytes() == CONTENT[::-1]
    assert [asked[2] for asked in server.asked] == [None, "bytes=300000-"]


def test_a_token_goes_to_its_own_server_alone(server: Server) -> None:
    with serving() as other:
        other.files["/elsewhere"] = CONTENT
        server.moved["/weights.pth"] = f"{other.url}/elsewhere"
        download(f"{server.url}/weights.pth", FILE, DIGEST, {"Authorization": "Bearer secret"})
        assert (server.tokens, other.tokens) == (["Bearer secret"], [None])


def test_a_server_that_cannot_go_on_begins_anew(server: Server) -> None:
    server.ranges, server.cuts = False, [300_000]
    _get(server)
    assert FILE.read_bytes() == CONTENT


def test_the_next_command_goes_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "MOST_ATTEMPTS", 1)
    server.cuts = [300_000]
    with pytest.raises(DownloadError, match=r"closed after 300,000 of 1,024,000 bytes; 0.3 MB are kept"):
        _get(server)
    _only("weights.pth.partial")
    _get(server)
    assert FILE.read_bytes() == CONTENT
    assert server.asked[-1][2] == "bytes=300000-"
    _only("weights.pth")


def test_all_but_the_rename_was_done(server: Server) -> None:
    Path("weights.pth.partial").write_bytes(CONTENT)
    _get(server)
    assert FILE.read_bytes() == CONTENT
    assert len(server.asked) == 1


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"more"])
def test_what_was_left_is_of_another_file(server: Server, left: bytes) -> None:
    Path("weights.pth.partial").write_bytes(left)
    _get(server)
    assert FILE.read_bytes() == CONTENT


def test_without_a_hash_nothing_is_believed_of_what_was_left(server: Server) -> None:
    Path("weights.pth.partial").write_bytes(CONTENT[:1000])
    _get(server, None)
    assert server.asked[0][2] is None
    assert FILE.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_not_kept(server: Server) -> None:
    FILE.write_bytes(b"before")
    with pytest.raises(DownloadError, match=r"its hash is .{8}, not 0123abcd: what came is damaged"):
        _get(server, Digest("0123abcd"))
    assert FILE.read_bytes() == b"before"
    _only("weights.pth")


def test_what_is_not_there_is_said_at_once(server: Server) -> None:
    with pytest.raises(DownloadError, match=r"127.0.0.1 answers 404"):
        download(f"{server.url}/other.pth", FILE, DIGEST)
    assert len(server.asked) == 1
    _only()


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.failures = [503, 429]
    _get(server)
    assert FILE.read_bytes() == CONTENT
    server.failures = [503] * 10
    FILE.unlink()
    with pytest.raises(DownloadError, match="503"):
        _get(server)
    assert len(server.asked) == 6


@pytest.mark.parametrize("silent_after", [0, 300_000])
def test_a_hung_server_is_given_up(server: Server, silent_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "READ_SECONDS", 0.3)
    server.silent_after = silent_after
    started = time.perf_counter()
    with pytest.raises(DownloadError, match="silent"):
        _get(server)
    assert time.perf_counter() - started < 10


def test_a_trickle_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SLOWEST_WINDOW_SECONDS", 0.0)
    monkeypatch.setattr(transfer, "SLOWEST_BYTES", 10 * len(CONTENT))
    with pytest.raises(DownloadError, match="bytes came in"):
        _get(server)


def test_a_proxy_is_asked_and_no_proxy_is_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as proxy:
        proxy.files["/weights.pth"] = CONTENT
        monkeypatch.setenv("http_proxy", proxy.url)
        _get(server)
        assert FILE.read_bytes() == CONTENT
        assert [asked[1] for asked in proxy.asked] == [f"{server.url}/weights.pth"]
        assert server.asked == []
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        FILE.unlink()
        _get(server)
        assert len(proxy.asked) == 1
        assert len(server.asked) == 1


def test_two_at_once_fetch_once(server: Server) -> None:
    threads = [threading.Thread(target=_get, args=(server,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert FILE.read_bytes() == CONTENT
    assert len(server.asked) == 1
    _only("weights.pth")


def test_who_waited_does_not_write_into_the_file_that_came(server: Server) -> None:
    """Nothing says what is in it, so that each fetches it anew."""
    failed: list[BaseException] = []

    def get() -> None:
        try:
            _get(server, None)
        except BaseException as error:
            failed.append(error)

    with partial(FILE) as unfinished:
        waiting = threading.Thread(target=get)
        waiting.start()
        time.sleep(0.3)  # it has opened the file, and waits for it
        unfinished.write(b"whole")
        unfinished.done()
        os.link(FILE, "kept")
    waiting.join()
    assert not failed
    assert Path("kept").read_bytes() == b"whole"
    assert FILE.read_bytes() == CONTENT


def test_a_file_that_does_not_fit_is_not_begun(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("usage", "free")(1000))
    with pytest.raises(RunError, match=r"1.0 MB more do not fit, 0.0 MB of its disk are free"):
        _get(server)
    _only()


def test_a_full_disk_keeps_nothing(server: Server, full_after: Callable[[int], None]) -> None:
    full_after(300_000)
    with pytest.raises(RunError, match=r"weights.pth cannot be written: File too large. Nothing of it is kept"):
        _get(server)
    _only()
