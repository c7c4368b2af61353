"""Our scores are scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from transfer_cli.errors import RunError
from transfer_cli.methods.scores import Tally, confusion, rank, scores, softmax


def made(samples: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(0, 2, (samples, classes))
    logits[np.arange(samples), labels] += 2
    return logits.astype(np.float32), labels


@pytest.mark.parametrize(("samples", "classes"), [(500, 2), (500, 4), (1000, 37), (40, 102), (65, 3)])
def test_agrees_with_scikit_learn(samples: int, classes: int) -> None:
    from sklearn import metrics

    logits, labels = made(samples, classes)
    found = scores(logits, labels)
    predicted, everything = logits.argmax(1), np.arange(classes)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    balanced = metrics.recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert found["balanced_accuracy"] == pytest.approx(balanced, abs=1e-12)
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"), abs=1e-12)
    expected_loss = metrics.log_loss(labels, softmax(logits), labels=everything)
    assert found["loss"] == pytest.approx(expected_loss, rel=1e-9)
    if classes > 5:
        top5 = metrics.top_k_accuracy_score(labels, logits, k=5, labels=everything)
        assert found["top5_accuracy"] == pytest.approx(top5, abs=1e-12)
    else:
        assert found["top5_accuracy"] == 1.0
    assert all(type(value) is float for value in found.values())
    assert (
        confusion(labels, predicted, classes) == metrics.confusion_matrix(labels, predicted, labels=everything)
    ).all()


def test_calibration_error_is_guos() -> None:
    logits, labels = made(2000, 10)
    probabilities = softmax(logits)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    expected = 0.0
    for lower, upper in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (confidence > lower) & (confidence <= upper)
        if inside.any():
            expected += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
    assert expected > 0.01
    assert scores(logits, labels)["ece"] == pytest.approx(expected, abs=1e-12)


def test_calibration_bins_are_closed_above() -> None:
    """Two classes, one logit difference a sample: confidence 0.6 is the edge between the bins 9 and 10."""
    edge = math.log(0.6 / 0.4)
    logits = np.array([[edge, 0.0], [edge + 0.05, 0.0]])
    confidence = softmax(logits.astype(np.float32)).max(1)
    tally = Tally(2, torch.device("cpu"))
    tally.add(torch.from_numpy(logits), torch.tensor([0, 1]))
    # Apart: the first is right, the second wrong, so that one bin would have let them cancel out.
    assert tally.scores()["ece"] == pytest.approx(((1 - confidence[0]) + confidence[1]) / 2, abs=1e-6)


def test_sums_over_batches_are_the_scores_of_all() -> None:
    logits, labels = made(500, 7)
    labels[::9] = -1
    tally = Tally(7, torch.device("cpu"), keep_logits=True)
    for rows in (slice(0, 200), slice(200, 201), slice(201, 500)):
        tally.add(torch.from_numpy(logits[rows]), torch.from_numpy(labels[rows]))
    assert tally.scores() == pytest.approx(scores(logits, labels, auroc=True), abs=1e-12)
    assert (tally.confusion == confusion(labels, logits.argmax(1), 7)).all()


def test_auroc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    logits, labels = made(400, 5)
    expected = roc_auc_score(labels, softmax(logits), multi_class="ovr", average="macro")
    assert scores(logits, labels, auroc=True)["auroc"] == pytest.approx(expected, abs=1e-6)
    assert "auroc" not in scores(logits, labels)


def test_auroc_leaves_classes_out_that_do_not_occur() -> None:
    logits, labels = made(100, 4)
    found = scores(logits, np.minimum(labels, 1), auroc=True)["auroc"]
    assert 0.5 < found <= 1
    assert math.isnan(scores(logits, np.zeros(100, np.int64), auroc=True)["auroc"])


@pytest.mark.parametrize(("metric", "better"), [("accuracy", 1), ("loss", 0), ("macro_f1", 0)])
def test_the_metric_ranks(metric: str, better: int) -> None:
    epochs = [{"accuracy": 0.5, "loss": 0.2, "macro_f1": 0.6}, {"accuracy": 0.6, "loss": 0.9, "macro_f1": 0.5}]
    assert max(range(2), key=lambda epoch: rank(epochs[epoch], metric)) == better


def test_among_equal_ones_the_lower_loss_wins() -> None:
    assert rank({"accuracy": 0.5, "loss": 0.2}, "accuracy") > rank({"accuracy": 0.5, "loss": 0.3}, "accuracy")


def test_certain_and_always_wrong_is_calibrated_worst() -> None:
    logits = np.array([[1000.0, 0.0], [1000.0, 0.0]], dtype=np.float32)
    found = scores(logits, np.array([1, 1]))
    assert found["ece"] == 1.0
    assert found["loss"] == 1000.0


def test_equal_logits_are_right_only_for_the_first_class() -> None:
    found = scores(np.zeros((10, 10), dtype=np.float32), np.arange(10))
    assert found["accuracy"] == 0.1
    assert found["top5_accuracy"] == 0.5
    assert found["loss"] == pytest.approx(math.log(10), abs=1e-12)


def test_unlabelled_samples_count_nowhere() -> None:
    logits, labels = made(100, 5)
    some = np.where(np.arange(100) % 3 == 0, -1, labels)
    kept = some >= 0
    assert scores(logits, some) == pytest.approx(scores(logits[kept], labels[kept]), rel=1e-12)
    assert confusion(some, logits.argmax(1), 5).sum() == kept.sum()


def test_nothing_labelled_is_an_error() -> None:
    with pytest.raises(ValueError, match="no labelled"):
        scores(np.zeros((2, 3), dtype=np.float32), np.array([-1, -1]))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_end_the_run(value: float) -> None:
    logits, labels = made(10, 3)
    logits[4, 1] = value
    with pytest.raises(RunError, match="1 of 10 images"):
        scores(logits, labels)


def test_softmax_survives_large_logits() -> None:
    probabilities = softmax(np.array([[1e4, 0.0, -1e4]], dtype=np.float32))
    assert probabilities.tolist() == [[1.0, 0.0, 0.0]]
