"""What torchvision downloads for its data sets, through the seam that it has for others to do it.

Its own code begins anew after every interruption, and asks again without encryption where a server does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transfer_cli.downloads.mirror import Mirror
from transfer_cli.downloads.reach import unreachable
from transfer_cli.downloads.transfer import DownloadError, Watch, download

_SEAM = ("_is_remote_location_available", "_download_file_from_remote_location")


@contextmanager
def torchvision_downloads(watch: Watch | None = None, *, verified: bool = True) -> Iterator[None]:
    """Within this, files of torchvision's data sets come by `download`, from the mirror first.

    `verified`: torchvision knows their hashes, so that what an earlier attempt has left can be gone on from.
    """
    from torchvision.datasets import utils

    if not all(hasattr(utils, name) for name in _SEAM):
        yield  # a torchvision that has it no more downloads as it does
        return

    def retrieve(fpath: str, url: str) -> None:
        _retrieve(url, Path(fpath), watch, verified=verified)

    before = {name: getattr(utils, name) for name in _SEAM}
    for name, ours in zip(_SEAM, (lambda: True, retrieve), strict=True):
        setattr(utils, name, ours)
    try:
        yield
    finally:
        for name, theirs in before.items():
            setattr(utils, name, theirs)


def _retrieve(url: str, path: Path, watch: Watch | None, *, verified: bool) -> None:
    reasons = []
    mirror = Mirror.of_environment()
    if mirror is not None:
        try:
            return mirror.take(path.name, path, None, watch)
        except DownloadError as error:
            reasons.append(str(error))
    reason = unreachable(url)
    if reason is None:
        try:
            return download(url, path, None, watch=watch, verified_later=verified)
        except DownloadError as error:
            reason = str(error)
    raise DownloadError("; ".join([*reasons, f"{url}: {reason}"]))
