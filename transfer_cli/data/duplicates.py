"""Images that are in two splits at once: they make a test score look better than it is."""

from __future__ import annotations

import numpy as np

from transfer_cli.data.sources import ImageSet
from transfer_cli.data.stamps import Digests


def across_splits(images: ImageSet, contents: Digests) -> list[str]:
    """A note if files of different splits have the same bytes, else nothing.

    `contents` holds the sha256 of each sample's file, [N, 32]: zeros where it is not known, and not compared.
    """
    members = np.concatenate([images.splits[split] for split in images.splits])
    splits = np.repeat(np.arange(len(images.splits)), [len(indices) for indices in images.splits.values()])
    known = contents[members].any(axis=1)
    members, splits = members[known], splits[known]
    # Eight bytes of a sha256 do not meet by chance.
    _, group = np.unique(np.ascontiguousarray(contents[members, :8]).view(np.uint64)[:, 0], return_inverse=True)
    groups = int(group.max(initial=-1)) + 1
    present = np.zeros((groups, len(images.splits)), bool)
    present[group, splits] = True
    shared = np.flatnonzero(present.sum(axis=1) > 1)
    if len(shared) == 0:
        return []
    rows = np.flatnonzero(group == group[np.argmax(np.isin(group, shared))])
    first = {int(splits[row]): images.ids[members[row]] for row in reversed(rows)}
    example = " and ".join(first[split] for split in sorted(first))
    return [f"{images.name}: {len(shared):,} image(s) are in more than one split, for instance {example}."]
