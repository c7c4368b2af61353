"""Which labels are likely wrong, from what a model that has not seen an image says of it: confident learning.

"Confident Learning: Estimating Uncertainty in Dataset Labels" (Northcutt 2021, arXiv 1911.00068). Ours: the library of
its authors is under a licence that binds programs which use it. Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfer_cli.methods.probes.linear_layer import LEAST_DEVIATION, LinearLayer, standardiser
from transfer_cli.methods.probes.logistic import fit_logistic

EXPONENTS = (4.0, 3.0, 2.0, 1.0, 0.0)
"""Of the penalties that are tried, the strongest first: a weak one would learn wrong labels by heart."""
_ITERATIONS = 100


class HeldOut(NamedTuple):
    """What was said of each image by a head that had not seen it."""

    probabilities: NDArray[np.float64]
    """[N, K]"""
    penalty: float
    accuracy: float


class Suspicions(NamedTuple):
    """Of each image, [N]."""

    order: NDArray[np.int64]
    """The images, the most suspicious first: the one whose label has the lowest probability."""
    suggested: NDArray[np.int64]
    """The likeliest other class."""
    likely: NDArray[np.bool_]
    """Whether its label is likely wrong."""


def held_out(
    features: Tensor,
    labels: Tensor,
    classes: int,
    folds: int,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    check: Callable[[], object] = lambda: None,
) -> HeldOut:
    """Probabilities by cross-validation: heads of logistic regression on features [N, D], each fitted to all folds but
    one. The penalty is the one with the lowest cross-entropy on the first fold. Labels [N] are all known; images of one
    of `groups` [N], of which there are two or more, are in one fold. `check` is called before each fit.
    """
    truth = labels.cpu().numpy()
    of_fold = stratified(truth, folds, seed) if groups is None else grouped(truth, groups, folds, seed)
    logits = torch.zeros(len(labels), classes)
    penalty: float | None = None
    for fold in np.unique(of_fold):
        out = torch.from_numpy(of_fold == fold).to(features.device)
        scaler = standardiser(features[~out], LEAST_DEVIATION)
        train, left = scaler.apply(features[~out]), scaler.apply(features[out])
        if penalty is None:
            penalty, layer = _best(train, labels[~out], left, labels[out], classes, check)
        else:
            check()
            layer = fit_logistic(train, labels[~out], classes, penalty, max_iterations=_ITERATIONS).layer
        logits[out.cpu()] = layer.logits(left).float().cpu()
    assert penalty is not None
    probabilities = logits.double().softmax(1)
    accuracy = float((probabilities.argmax(1) == labels.cpu()).double().mean())
    return HeldOut(probabilities.numpy(), penalty, accuracy)


def _best(
    train: Tensor, labels: Tensor, left: Tensor, left_labels: Tensor, classes: int, check: Callable[[], object]
) -> tuple[float, LinearLayer]:
    layer, found = None, []
    for exponent in EXPONENTS:
        check()
        layer = fit_logistic(train, labels, classes, 10**exponent, start=layer, max_iterations=_ITERATIONS).layer
        loss = float(torch.nn.functional.cross_entropy(layer.logits(left), left_labels))
        found.append((loss, 10**exponent, layer))
    _, penalty, layer = min(found, key=lambda one: one[0])
    return penalty, layer


def stratified(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, [N], so that each class is spread over all folds."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    found = np.empty(len(labels), dtype=np.int64)
    found[by_class] = np.arange(len(labels)) % folds
    return found


def grouped(labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, [N]: groups stay together, and classes are spread as well as that allows."""
    _, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    counts = np.zeros((len(sizes), int(labels.max()) + 1))
    np.add.at(counts, (members, labels), 1)
    most = min(folds, len(sizes))
    there, places = np.zeros((most, counts.shape[1])), np.empty(len(sizes), dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    # The largest first, each to the fold that has least of what it holds.
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        places[group] = np.lexsort((there.sum(1), there @ counts[group]))[0]
        there[places[group]] += counts[group]
    found: NDArray[np.int64] = places[members]
    return found


def suspicions(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Suspicions:
    """Confident learning on probabilities [N, K] that were not fitted to the images, and labels [N].

    A label is likely wrong where the image is confidently of another class: that class has at least the probability
    that images labelled with it have on average, and no other such class has more. The order is by self-confidence
    ("Model-agnostic label quality scoring to detect real-world label errors", Kuan 2022): with a twentieth of labels
    drawn anew, 0.85 of them in digits, 0.71 in stamps and 0.82 in clothes were in the first twentieth; by the margin to
    the likeliest other class 0.80, 0.63 and 0.59.
    """
    count, classes = probabilities.shape
    rows = np.arange(count)
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    typical = np.array([own[labels == label].mean() if (labels == label).any() else 2.0 for label in range(classes)])
    confident = np.where(probabilities >= typical, probabilities, -1.0)
    likely = (confident.max(1) > 0) & (confident.argmax(1) != labels)
    return Suspicions(np.argsort(own, kind="stable"), others.argmax(1), likely)
