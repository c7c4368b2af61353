"""scikit-learn's logistic regression on the features of the frozen network."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from tests.benchmarks.evidence.peers.material import Material, Scores, evaluation_transform
from transfer_cli.models.network import Network

_STRENGTHS = np.logspace(-4, 2, 7)
_STEPS = 1000


def fit(material: Material) -> Scores:
    """Features scaled to mean 0 and deviation 1; the inverse of the regularisation, C, chosen on validation."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network, preprocessing = material.network()
    transform = evaluation_transform(preprocessing)
    parts = {
        split: _features(network, material.loader(split, transform, 128), material.device)
        for split in ("train", "val", "test")
    }
    best, probe = -1.0, None
    for strength in _STRENGTHS:
        candidate = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=_STEPS))
        with warnings.catch_warnings():
            # With hardly any regularisation the last digits of a separable problem take for ever.
            warnings.simplefilter("ignore", ConvergenceWarning)
            candidate.fit(*parts["train"])
        found = float(candidate.score(*parts["val"]))
        if found > best:
            best, probe = found, candidate
    assert probe is not None
    return Scores(best, float(probe.score(*parts["test"])))


@torch.inference_mode()
def _features(
    network: Network, batches: DataLoader[tuple[Tensor, Tensor]], device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the head would read of each image, [N, D], and the labels."""
    network.eval()
    last = len(network.stages) - 1
    found = [(network.forward_to(last, images.to(device)).flatten(1).cpu(), labels) for images, labels in batches]
    return torch.cat([one for one, _ in found]).numpy(), torch.cat([labels for _, labels in found]).numpy()
