"""Averages of weights: means, interpolation, and a greedy choice that never lowers the score."""

from __future__ import annotations

import torch

from transfer_cli.methods.soups import average, greedy, interpolated


def test_the_mean_of_each_tensor_and_the_counters_of_the_first() -> None:
    one = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}
    two = {"w": torch.tensor([3.0, 6.0]), "n": torch.tensor(9)}
    found = average([one, two])
    assert found["w"].tolist() == [2.0, 4.0] and found["w"].dtype == torch.float32
    assert found["n"] == 3
    assert average([one])["w"].equal(one["w"])


def test_a_share_of_the_way_and_a_head_that_has_no_start() -> None:
    start = {"w": torch.tensor([0.0])}
    end = {"w": torch.tensor([4.0]), "head": torch.tensor([1.0])}
    found = interpolated(start, end, 0.25)
    assert found["w"].item() == 1.0 and found["head"].item() == 1.0
    assert interpolated(start, end, 1.0)["w"].equal(end["w"])


def test_greedy_takes_what_does_not_lower_the_score() -> None:
    # The score is how near the mean is to 1.
    weights = {"a": 1.5, "b": 3.0, "c": 0.5}

    def score(names: tuple[str, ...]) -> tuple[float, float]:
        return -abs(sum(weights[name] for name in names) / len(names) - 1), 0.0

    assert greedy(["a", "b", "c"], score) == ("a", "c")
