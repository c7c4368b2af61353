"""The classes that published weights know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transfer_cli.models import fetching
from transfer_cli.models.preprocessing import Preprocessing

IMAGENET_CLASSES = 1000


def published_classes(source: WeightsSource, name: str) -> tuple[str, ...]:
    """Names of the classes that the head of these weights tells apart; none where it has no head or no names."""
    if source.classes is not None:
        return source.classes
    if source.kind == "package":
        return _imagenet()
    if source.kind == "timm":
        import timm

        from transfer_cli.models.backbones import ALIASES

        config = timm.get_pretrained_cfg(ALIASES.get(name, name), allow_unregistered=True)
        count = config.num_classes if config else 0
        return _imagenet() if count == IMAGENET_CLASSES else tuple(f"class {number}" for number in range(count))
    return ()


def _imagenet() -> tuple[str, ...]:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


@dataclass(frozen=True)
class WeightsSource:
    """Weights that were chosen but not yet loaded. `kind`: none, torchvision, timm, package, file, run."""

    kind: str
    label: str
    preprocessing: Preprocessing
    location: Path | None = None
    """The file, or None while it must still be fetched."""
    remote: fetching.Remote | None = None
    classes: tuple[str, ...] | None = None
