"""A store whose pixels are on the host: batches and views are made there, by the workers."""

from __future__ import annotations

import torch
from torch import Tensor

from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.fingerprint import fingerprint
from transfer_cli.data.store.protocol import HostPixels, ViewRecipe
from transfer_cli.data.views.augment import make_views
from transfer_cli.data.views.geometry import Pixels
from transfer_cli.models.preprocessing import RESAMPLING


class HostStore:
    """Batches of `pixels`, of which `images_decoded` were decoded for this run."""

    def __init__(self, pixels: HostPixels, images_decoded: int = 0) -> None:
        self.where, self.decodes, self.images_decoded = pixels.where, pixels.decodes, images_decoded
        self.hashes, self.evaluation, self.sources = pixels.hashes, pixels.evaluation, pixels.sources
        self._pixels = pixels

    def fingerprint(self, indices: Indices) -> str:
        """A digest of what the files of samples hold, in this order."""
        return fingerprint(self.hashes(indices))

    def batch(self, indices: Indices) -> Tensor:
        """Evaluation pixels on the host, uint8 [B, C, S, S]."""
        return _channels_first(self._pixels.evaluation(indices))

    def views(self, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
        """Views made on the host, uint8 [B, C, S, S], and their colour maps [B, 3, 4]."""
        return host_views(self._pixels, indices, recipe, view)


def host_views(pixels: HostPixels, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
    """Views made on the host, uint8 [B, C, S, S], and their colour maps [B, 3, 4]; None where the recipe has none."""
    # Without random crops, the pixels of evaluation.
    cropped = recipe.augment.crop_scale is not None
    sources = pixels.sources(indices) if cropped else list(pixels.evaluation(indices))
    resample = RESAMPLING[recipe.interpolation]
    made = make_views(sources, recipe.augment, recipe.seed, view, indices, recipe.crop_pixels, resample)
    return _channels_first(made.pixels), None if made.colour is None else torch.from_numpy(made.colour)


def _channels_first(pixels: Pixels) -> Tensor:
    """[B, S, S, C] as [B, C, S, S], without a copy."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)
