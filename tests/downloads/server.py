"""A server on this machine: files, a model hub's answers, a proxy; it breaks off, lies or falls silent when told to."""

from __future__ import annotations

import hashlib
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c" * 40


class Server(ThreadingHTTPServer):
    """What it has and how it behaves; `asked` is every request, as (method, path, range)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.hub: dict[str, bytes] = {}
        """By `<owner>/<repository>/<file>`."""
        self.cuts: list[int | None] = []
        """After how many bytes the next answers break off; None: not at all."""
        self.ranges = True
        self.silent_after: int | None = None
        self.failures: list[int] = []
        """Status codes of the next answers."""
        self.moved: dict[str, str] = {}
        """Where to ask for a path instead."""
        self.asked: list[tuple[str, str, str | None]] = []
        self.tokens: list[str | None] = []
        """Of every request."""
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def content(self, path: str) -> tuple[bytes, dict[str, str]] | None:
        """The bytes of a path and the headers that go with them."""
        if path in self.files:
            return self.files[path], {}
        for name, content in self.hub.items():
            owner, repository, file = name.split("/")
            if path in (f"/{owner}/{repository}/resolve/{version}/{file}" for version in ("main", COMMIT)):
                return content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        return None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what is tested here."""


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        server, path = self.server, unquote(urlsplit(self.path).path)
        server.asked.append((self.command, self.path, self.headers.get("Range")))
        server.tokens.append(self.headers.get("Authorization"))
        if path in server.moved:
            self.send_response(302)
            self.send_header("Location", server.moved[path])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if with_body and server.failures:
            return self.send_error(server.failures.pop(0))
        found = server.content(path)
        if found is None:
            return self.send_error(404)
        content, headers = found
        unchanged = self.headers.get("If-Range") in (None, headers.get("ETag"))
        offset = self._offset(len(content)) if with_body and unchanged else 0
        if offset is None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if offset else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - offset))
        self.end_headers()
        if with_body:
            self._send(content[offset:])
        return None

    def _offset(self, size: int) -> int | None:
        asked = self.headers.get("Range")
        if not asked or not self.server.ranges:
            return 0
        offset = int(asked.removeprefix("bytes=").split("-")[0])
        return offset if offset < size else None

    def _send(self, content: bytes) -> None:
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        if self.server.silent_after is not None:
            self.wfile.write(content[: self.server.silent_after])
            self.server.over.wait(60)
            return
        self.wfile.write(content[:cut])
        self.close_connection = True


def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no mirror of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "TRANSFER_RUN_MIRROR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # urllib reads them once in a process.
    monkeypatch.setattr(urllib.request, "_opener", None)


@contextmanager
def serving() -> Iterator[Server]:
    """A server that runs until the block ends."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
