"""Our scores are scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from transfer_cli.errors import RunError
from transfer_cli.methods import scores as module
from transfer_cli.methods.scores import confusion, scores, softmax


def made(samples: int, classes: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    logits = rng.normal(0, 2, (samples, classes))
    logits[np.arange(samples), labels] += 2
    return logits.astype(np.float32), labels


@pytest.mark.parametrize(("samples", "classes"), [(500, 2), (500, 4), (1000, 37), (40, 102), (65, 3)])
def test_agrees_with_scikit_learn(samples: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import metrics

    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 64)
    logits, labels = made(samples, classes)
    found = scores(logits, labels)
    predicted, everything = logits.argmax(1), np.arange(classes)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
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
    edge = float(np.linspace(0, 1, 16)[9])
    found = module._calibration_error(np.array([edge, edge + 0.01]), np.array([True, False]))
    assert found == pytest.approx((1 - edge + edge + 0.01) / 2, abs=1e-12)


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
    assert scores(logits, some) == scores(logits[kept], labels[kept])
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
