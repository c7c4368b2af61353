"""Pixels of a batch from a store, in parts where memory runs out: each sample is the same alone and in any batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from transfer_cli.data.reading.listing import Indices
from transfer_cli.data.store.protocol import Store, ViewRecipe
from transfer_cli.errors import is_out_of_memory


def evaluation_pixels(store: Store, indices: Indices) -> Tensor:
    """What `store.batch` gives. Raises what ran out with one sample at a time."""
    try:
        return store.batch(indices)
    except (RuntimeError, MemoryError) as error:
        _raise_if_last(error, indices)
    return torch.cat([evaluation_pixels(store, half) for half in np.array_split(indices, 2)])


def view_pixels(store: Store, indices: Indices, recipe: ViewRecipe, view: int) -> tuple[Tensor, Tensor | None]:
    """What `store.views` gives, likewise."""
    try:
        return store.views(indices, recipe, view)
    except (RuntimeError, MemoryError) as error:
        _raise_if_last(error, indices)
    halves = [view_pixels(store, half, recipe, view) for half in np.array_split(indices, 2)]
    colours = [colour for _, colour in halves if colour is not None]
    return torch.cat([pixels for pixels, _ in halves]), torch.cat(colours) if colours else None


def _raise_if_last(error: BaseException, indices: Indices) -> None:
    """Raises what memory has nothing to do with, and what a single sample has no room for."""
    if not is_out_of_memory(error) or len(indices) <= 1:
        raise error
