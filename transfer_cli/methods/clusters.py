"""Clusters of images whose features are alike: k-means on features of unit length.

Shapes: N samples, D feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_ALL_AT_ONCE = 20_000


@dataclass(frozen=True)
class Clusters:
    """The cluster of each of N samples, and its distance from the centre. Cluster 0 is the largest."""

    of: NDArray[np.int64]
    distances: NDArray[np.float32]
    count: int

    def nearest(self, number: int, most: int) -> NDArray[np.int64]:
        """Up to `most` samples of a cluster, the nearest to its centre first."""
        members = np.flatnonzero(self.of == number)
        return members[np.argsort(self.distances[members], kind="stable")[:most]]


def cluster(features: Tensor, count: int, seed: int) -> Clusters:
    """Spherical k-means of features [N, D] into at most `count` clusters.

    Started by "k-means++: The Advantages of Careful Seeding" (Arthur 2007).
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    points = F.normalize(features.float(), dim=1).numpy()
    # Equal images are one point: there cannot be more clusters than points.
    count = min(count, len(np.unique(points, axis=0)))
    kind = KMeans if len(points) <= _ALL_AT_ONCE else MiniBatchKMeans
    fitted = kind(n_clusters=count, n_init=4, random_state=seed).fit(points)
    order = np.argsort(-np.bincount(fitted.labels_, minlength=count), kind="stable")
    renumbered = np.empty(count, dtype=np.int64)
    renumbered[order] = np.arange(count)
    distances = np.linalg.norm(points - fitted.cluster_centers_[fitted.labels_], axis=1)
    return Clusters(renumbered[fitted.labels_], distances.astype(np.float32), count)
