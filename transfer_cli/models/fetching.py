"""Published weights: where they are on this machine, and their download, which fails at once without a network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transfer_cli.downloads import hub_cache, reach
from transfer_cli.downloads.digest import Digest
from transfer_cli.downloads.manifest import MANIFEST, Entry
from transfer_cli.downloads.mirror import Mirror
from transfer_cli.downloads.transfer import DownloadError, Watch, download
from transfer_cli.errors import RunError, UserError, first_line
from transfer_cli.files import file_sha256

# Of the hub's answer on what a file is. That it can be reached is known by then.
ANSWER_SECONDS = 10.0
# Of a file that the hub's client keeps in no version: one that no other can be.
_NO_COMMIT = "0" * 40


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

    @property
    def mirrored(self) -> str:
        """The file's name in a mirror and in an archive."""
        return self.name if self.url else f"{self.repository}/{self.name}"

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


def fetch(remote: Remote, otherwise: str | None = None, watch: Watch | None = None) -> Path:
    """Download into the cache that torchvision or the hub's client would use, verified and replaced atomically.

    A mirror is asked first, where TRANSFER_RUN_MIRROR names one. Raises UserError within seconds where the network does
    not answer, RunError for a full disk; `otherwise` is a sentence on another way to have weights of the model.
    """
    mirror = Mirror.of_environment()
    reasons = []
    try:
        if mirror is not None:
            return _from_mirror(mirror, remote, watch)
    except DownloadError as error:
        reasons.append(str(error))
    try:
        return _from_origin(remote, watch)
    except DownloadError as error:
        reasons.append(str(error))
    where = _torch_cache(remote) if remote.url else "the model hub's cache"
    manually = f"put the file at {where}, or " if remote.url else ""
    instead = f"{otherwise}\n" if otherwise else ""
    raise UserError(
        f"model.weights: {remote.name} is not on this machine (looked in {where}) and cannot be fetched "
        f"({'; '.join(reasons)}).\n{instead}On a connected machine, mode=fetch fetch.pack=kit.tar with the same model "
        "packs it, to be carried here for mode=fetch fetch.unpack=kit.tar; or "
        f"download {remote} there, then {manually}say model.weights=<file>; "
        "model.weights=none starts from random weights; the default model=efficientnet_lite0 needs no download."
    )


def unreachable(remote: Remote) -> str | None:
    """Why the server cannot be reached, within moments; None if it can."""
    if remote.url:
        return reach.unreachable(remote.url)
    from huggingface_hub import constants

    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else reach.unreachable(constants.ENDPOINT)


def describe(remote: Remote, path: Path, model: str) -> Entry:
    """What an archive says of a model's weights that are on this machine. Raises OSError."""
    size, sha256 = path.stat().st_size, file_sha256(path)
    if remote.url:
        return Entry("file", remote.mirrored, size, sha256, model=model)
    commit, etag = hub_cache.version(path, remote.name) or (_NO_COMMIT, sha256)
    return Entry("hub", remote.mirrored, size, sha256, commit, etag, model)


def place_of(entry: Entry) -> Path:
    """Where the bytes of weights from an archive or a mirror belong."""
    if entry.kind == "hub":
        assert entry.etag is not None
        return hub_cache.blob(hub_folder(), entry.repository, entry.etag)
    return torch_folder() / entry.name


def appear(entry: Entry) -> Path:
    """Let what lies at `place_of` be found, by torchvision or by the hub's client. Raises OSError."""
    if entry.kind != "hub":
        return place_of(entry)
    assert entry.commit is not None and entry.etag is not None
    return hub_cache.link(hub_folder(), entry.repository, entry.commit, entry.file, entry.etag)


def _from_mirror(mirror: Mirror, remote: Remote, watch: Watch | None) -> Path:
    entry = mirror.find(remote.mirrored)
    if remote.url:
        path = _torch_cache(remote)
        mirror.take(remote.mirrored, path, Digest(entry.sha256) if entry else Digest.in_name(remote.name), watch)
        return path
    if entry is None:
        raise DownloadError(f"{mirror} has no {MANIFEST} that names {remote.mirrored}")
    mirror.take(remote.mirrored, place_of(entry), Digest(entry.sha256), watch)
    return _appeared(entry)


def _from_origin(remote: Remote, watch: Watch | None) -> Path:
    reason = unreachable(remote)
    if reason is not None:
        raise DownloadError(reason)
    if remote.url is None:
        return _from_hub(remote, watch)
    path = _torch_cache(remote)
    download(remote.url, path, Digest.in_name(remote.name), watch=watch)
    return path


def _from_hub(remote: Remote, watch: Watch | None) -> Path:
    """What the hub's client knows of the file, then the file, then its place in the client's own cache."""
    from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url

    assert remote.repository is not None
    url, token = hf_hub_url(remote.repository, remote.name), get_token()
    try:
        told = get_hf_file_metadata(url, token=token, timeout=ANSWER_SECONDS)
    except Exception as error:  # of sockets, TLS, and the client's own, which differ from version to version
        raise DownloadError(first_line(error)) from error
    digest, commit = Digest.of_etag(told.etag or ""), told.commit_hash
    if digest is None or commit is None:
        raise DownloadError(f"{url} does not answer as a model hub: no version, or no hash of the content")
    entry = Entry("hub", remote.mirrored, told.size or 0, "", commit, told.etag)
    # The very version that was asked about, though a newer one may come in between.
    url = hf_hub_url(remote.repository, remote.name, revision=commit)
    download(url, place_of(entry), digest, {"Authorization": f"Bearer {token}"} if token else None, watch)
    return _appeared(entry)


def _appeared(entry: Entry) -> Path:
    try:
        return appear(entry)
    except OSError as error:
        raise RunError(f"{place_of(entry)}: cannot be put into the model hub's cache ({error.strerror}).") from error


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
