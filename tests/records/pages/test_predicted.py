"""What predictions.csv tells agrees with the scores that were taken of the outputs themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from transfer_cli.methods import scores as scoring
from transfer_cli.records.pages.predicted import by_class, calibration, most_confused, read_predicted
from transfer_cli.records.predictions import write_predictions

CLASSES = ["a", "b\tc", "=d"]


@pytest.fixture
def logits() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    return (generator.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels]).astype(np.float32), labels


def test_the_file_gives_back_what_was_predicted(tmp_path: Path, logits: tuple[np.ndarray, np.ndarray]) -> None:
    outputs, labels = logits
    ids = [f"-{number}" for number in range(200)]
    write_predictions(tmp_path / "p.csv", ids, labels, CLASSES, scoring.softmax(outputs))
    found = read_predicted(tmp_path / "p.csv", CLASSES)
    assert found.labels.tolist() == labels.tolist()
    assert found.guesses.tolist() == outputs.argmax(1).tolist()
    said = scoring.scores(outputs, labels)
    bins, error = calibration(found)
    assert error == pytest.approx(said["ece"], abs=1e-5)
    assert sum(one.images for one in bins) == 200
    assert all(one.low < one.confidence <= one.high for one in bins)
    assert [one.high - one.low for one in bins] == pytest.approx([1 / 15] * len(bins))
    rows = by_class(found.confusion, CLASSES)
    assert np.mean([row.f1 for row in rows]) == pytest.approx(said["macro_f1"])
    assert np.mean([row.recall for row in rows]) == pytest.approx(said["balanced_accuracy"])
    pairs = most_confused(found.confusion, CLASSES, 100)
    assert sum(pair.count for pair in pairs) == sum(row.images - row.right for row in rows)
    assert [pair.count for pair in pairs] == sorted((pair.count for pair in pairs), reverse=True)
    worst, *_ = found.mistakes(5)
    assert found.labels[worst] != found.guesses[worst]
    assert found.confidence[worst] == max(found.confidence[found.labels != found.guesses])
    assert found.confidence[found.uncertain(1)[0]] == found.confidence.min()


def test_images_without_a_label_count_nowhere(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    write_predictions(tmp_path / "p.csv", ["x", "y"], np.array([-1, 1]), ["a", "b"], probabilities)
    found = read_predicted(tmp_path / "p.csv", ["a", "b"])
    assert found.confusion.tolist() == [[0, 0], [0, 1]]
    (one,), _ = calibration(found)
    assert one.images == 1
    assert one.high == pytest.approx(0.8), "a bin is closed above"
    assert found.mistakes(5) == []


@pytest.mark.parametrize(
    "text",
    ["", "path,label\n", "path,label,predicted,confidence\nx,a,other,0.5\n", "path,label,predicted,confidence\nx\n"],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_predicted(tmp_path / "p.csv", CLASSES)
