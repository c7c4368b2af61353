"""Whether a server can be reached is found out in a moment, whatever hangs."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from transfer_cli.downloads import reach
from transfer_cli.downloads.reach import unreachable


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(60)
        raise OSError

    monkeypatch.setattr(reach, "REACH_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", look_up)
    started = time.perf_counter()
    assert unreachable("https://example.org/weights-0123abcd.pth") is not None
    assert time.perf_counter() - started < 30
    over.set()


def test_a_server_that_answers_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert unreachable(f"http://127.0.0.1:{port}/weights.pth") is None
    assert unreachable(f"http://127.0.0.1:{port}/weights.pth") == "no network connection to its server"


def test_with_a_proxy_only_that_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert unreachable("https://nowhere.invalid/weights.pth") is None
    assert unreachable("https://nowhere.invalid/weights.pth") == f"the proxy 127.0.0.1:{port} does not answer"
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    monkeypatch.setattr(reach, "_connects", lambda host, port: host == "nowhere.invalid")
    assert unreachable("https://nowhere.invalid/weights.pth") is None
