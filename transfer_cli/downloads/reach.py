"""Whether a server can be reached is found out in a moment, whatever hangs."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

REACH_SECONDS = 1.5


def unreachable(url: str) -> str | None:
    """Why the server of an address, or the proxy that it is asked through, cannot be reached; None where it can."""
    address = urlsplit(url)
    proxy = _proxy(address.scheme, address.hostname or "")
    if proxy is not None:
        host, port = _place(urlsplit(proxy if "://" in proxy else f"//{proxy}"))
        return None if _connects(host, port) else f"the proxy {host}:{port} does not answer"
    return None if _connects(*_place(address)) else "no network connection to its server"


def _place(address: SplitResult) -> tuple[str, int]:
    return address.hostname or "", address.port or (443 if address.scheme == "https" else 80)


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy for a host, from http_proxy, https_proxy and no_proxy, as urllib itself reads them."""
    return None if proxy_bypass(host) else getproxies().get(scheme)


def _connects(host: str, port: int) -> bool:
    """Whether a server answers within REACH_SECONDS; a look-up of its name has no timeout of its own."""
    answered: list[bool] = []

    def connect() -> None:
        with suppress(OSError):
            socket.create_connection((host, port), timeout=REACH_SECONDS).close()
            answered.append(True)

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(REACH_SECONDS)
    return bool(answered)
