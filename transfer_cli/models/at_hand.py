"""Models whose weights need no network: those of installed packages, and those that were downloaded before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from transfer_cli.errors import UserError
from transfer_cli.models import backbones, fetching
from transfer_cli.models.published import PIP_WEIGHTS, published


def models_at_hand(source: str) -> list[str]:
    """Names that `source` (torchvision, timm or auto) builds, the best weights of each on this machine.

    Those of packages first, then by the size of the file.
    """
    downloaded = sorted(
        (location.stat().st_size, name)
        for name in dict.fromkeys(_downloaded())
        if name not in PIP_WEIGHTS and (location := _best_weights(name, source)) is not None
    )
    packaged = [name for name in PIP_WEIGHTS if _best_weights(name, source) is not None]
    return [*packaged, *(name for _, name in downloaded)]


def _downloaded() -> Iterator[str]:
    """Models of which some weights were downloaded; a library is imported only where its folder holds something."""
    folder = fetching.torch_folder()
    if folder.is_dir() and any(folder.iterdir()):
        yield from backbones.torchvision_names()
    hub = fetching.hub_folder()
    for repository in sorted(hub.glob("models--timm--*")) if hub.is_dir() else []:
        yield repository.name.removeprefix("models--timm--").split(".")[0]


def _best_weights(name: str, source: str) -> Path | None:
    """The file of the weights that model.weights=auto means, where it is on this machine."""
    try:
        return published(name, source, None).location
    except UserError:
        return None
