"""Published weights: where they are on this machine, and their download, which fails at once without a network."""

from __future__ import annotations

import os
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from transfer_cli.errors import UserError

REACH_SECONDS = 1.5
READ_SECONDS = 30.0


@dataclass(frozen=True)
class Remote:
    """One published file: a plain URL, or a file of a model hub's repository."""

    url: str | None
    repository: str | None
    name: str

    @classmethod
    def from_url(cls, url: str) -> Remote:
        """A file at an address."""
        return cls(url, None, Path(urlsplit(url).path).name)

    @classmethod
    def from_timm(cls, config: Any) -> Remote:
        """The file that timm's configuration of some weights points at; the hub before the older address."""
        if config.hf_hub_id:
            return cls(None, str(config.hf_hub_id), config.hf_hub_filename or "model.safetensors")
        return cls.from_url(config.url)

    def __str__(self) -> str:
        return self.url or f"{self.repository}/{self.name} on the model hub"


def cached(remote: Remote) -> Path | None:
    """The file on this machine, where torchvision or the hub's own client keep it; None if it is not there."""
    if remote.url:
        path = _torch_cache(remote)
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(remote.repository or "", remote.name)
    return Path(found) if isinstance(found, str) else None


def fetch(remote: Remote, otherwise: str | None = None) -> Path:
    """Download into the cache that torchvision or the hub's client would use, verified and replaced atomically.

    Raises UserError within seconds where the network does not answer; `otherwise` is a sentence on another way to have
    weights of the model.
    """
    reason = unreachable(remote)
    if reason is None:
        try:
            return _download_url(remote) if remote.url else _download_hub(remote)
        except Exception as error:
            # Sockets, TLS, the hub's client and hash checks each raise their own; all mean that there is no file.
            reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    where = _torch_cache(remote) if remote.url else "the model hub's cache"
    manually = f"put the file at {where}, or " if remote.url else ""
    instead = f"{otherwise}\n" if otherwise else ""
    raise UserError(
        f"model.weights: {remote.name} is not on this machine (looked in {where}) and cannot be fetched ({reason}).\n"
        f"{instead}Download {remote} on a connected machine, then {manually}say model.weights=<file>; "
        "model.weights=none starts from random weights; the default model=efficientnet_lite0 needs no download."
    )


def unreachable(remote: Remote) -> str | None:
    """Why the server cannot be reached, within REACH_SECONDS; None if it can, or if a proxy must be asked."""
    if remote.url is None:
        from huggingface_hub import constants

        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set"
        address = urlsplit(constants.ENDPOINT)
    else:
        address = urlsplit(remote.url)
    if address.scheme in getproxies():
        return None
    port = address.port or (443 if address.scheme == "https" else 80)
    return None if _connects(address.hostname or "", port) else "no network connection to its server"


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


def _download_url(remote: Remote) -> Path:
    import torch.hub

    assert remote.url is not None
    path = _torch_cache(remote)
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = re.search(r"-([a-f0-9]{8,})\.", remote.name)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(READ_SECONDS)
    try:
        torch.hub.download_url_to_file(remote.url, str(path), digest.group(1) if digest else None, progress=False)
    finally:
        socket.setdefaulttimeout(before)
    return path


def _download_hub(remote: Remote) -> Path:
    from huggingface_hub import hf_hub_download

    assert remote.repository is not None
    return Path(hf_hub_download(remote.repository, remote.name, etag_timeout=REACH_SECONDS))


def torch_folder() -> Path:
    """Where torch.hub keeps checkpoints, without importing torch."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def hub_folder() -> Path:
    """Where the hub's client keeps what it has downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _torch_cache(remote: Remote) -> Path:
    return torch_folder() / remote.name
