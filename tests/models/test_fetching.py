"""Whether a server can be reached is found out in a moment, whatever hangs."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from transfer_cli.models import fetching
from transfer_cli.models.fetching import Remote, unreachable


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "getproxies", dict)


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def look_up(*_: object, **__: object) -> None:
        over.wait(60)
        raise OSError

    monkeypatch.setattr(fetching, "REACH_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", look_up)
    started = time.perf_counter()
    assert unreachable(Remote.from_url("https://example.org/weights-0123abcd.pth")) is not None
    assert time.perf_counter() - started < 30
    over.set()


def test_a_server_that_answers_and_one_that_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert unreachable(Remote.from_url(f"http://127.0.0.1:{port}/weights.pth")) is None
    assert unreachable(Remote.from_url(f"http://127.0.0.1:{port}/weights.pth")) is not None
