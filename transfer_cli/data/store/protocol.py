"""What a store of decoded pixels offers: batches, and all that is made of them, know nothing else of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from transfer_cli.cache.digests import Digests
from transfer_cli.config.schema import Augment
from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.views.geometry import Pixels


@dataclass(frozen=True)
class ViewRecipe:
    """All that determines a view besides its number and the sample."""

    augment: Augment
    seed: int
    crop_pixels: int
    """Side S of a view."""
    interpolation: str


class HostPixels(Protocol):
    """Decoded pixels as arrays in the host's memory, wherever they are read from."""

    where: str
    decodes: bool

    def hashes(self, indices: Indices) -> Digests:
        """The sha256 of what the file of each sample holds, [B, 32]."""
        ...

    def evaluation(self, indices: Indices) -> Pixels:
        """Evaluation pixels, uint8 [B, S, S, C], the caller's own."""
        ...

    def sources(self, indices: Indices) -> list[Pixels]:
        """Training sources, each uint8 [h, w, C]; not to be changed."""
        ...


class Store(HostPixels, Protocol):
    """Decoded pixels of the samples that a run requested. One store differs from another in speed alone."""

    where: str
    """Where the pixels are, for people: disk, ram, memory, stream or device."""
    decodes: bool
    """Whether every use decodes files: worth worker processes instead of threads."""
    images_decoded: int
    """How many were decoded for this run so far."""

    def fingerprint(self, indices: Indices) -> str:
        """A digest of what the files of samples hold, in this order."""
        ...

    def batch(self, indices: Indices) -> Tensor:
        """Evaluation pixels, uint8 [B, C, S, S], channels last in memory, on the host or where the store is."""
        ...

    def views(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        """View number `view` of samples, as `batch` has them, and the colour maps [B, 3, 4] still to be applied."""
        ...
