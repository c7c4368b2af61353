"""The same image in two splits makes a test score look better than it is; in two classes, one label is wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from transfer_cli.cache.digests import Digests
from transfer_cli.data.reading.image_set import ImageSet
from transfer_cli.errors import one_line


def duplicate_notes(images: ImageSet, hashes: Digests) -> list[str]:
    """Notes on images of the same bytes in different splits, and in different classes.

    `hashes` holds the sha256 of each encoded image, [N, 32]: zeros where it is not known, and not compared.
    """
    members = np.concatenate([*images.splits.values()])
    splits = np.repeat(np.arange(len(images.splits)), [len(indices) for indices in images.splits.values()])
    known = hashes[members].any(axis=1)
    members, splits = members[known], splits[known]
    # Eight bytes of a sha256 do not meet by chance.
    keys = np.ascontiguousarray(hashes[members, :8]).view(np.uint64)[:, 0]
    labels = images.labels[members]
    has = labels >= 0
    notes = [
        _note(images, members, keys, splits, "split"),
        _note(images, members[has], keys[has], labels[has], "class"),
    ]
    return [note for note in notes if note is not None]


def _note(
    images: ImageSet, members: NDArray[np.int64], keys: NDArray[np.uint64], kinds: NDArray[np.int64], what: str
) -> str | None:
    """A note if samples of equal key are of different kind."""
    order = np.lexsort((kinds, keys))
    members, keys, kinds = members[order], keys[order], kinds[order]
    # Sorted by key, then kind: two kinds under one key are neighbours somewhere.
    meet = np.flatnonzero((keys[1:] == keys[:-1]) & (kinds[1:] != kinds[:-1]))
    if len(meet) == 0:
        return None
    count = len(np.unique(keys[meet]))
    one, other = (one_line(images.ids[members[meet[0] + step]]) for step in (0, 1))
    return f"{images.name}: {count:,} image(s) are in more than one {what}, for instance {one} and {other}."
