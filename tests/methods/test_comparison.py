"""Which row is recommended: by validation alone, the cheaper one within a deviation of the best."""

from __future__ import annotations

import pytest

from transfer_cli.methods.comparison import Contender, by_score, recommend, shown, spread


def contender(name: str, *scores: float, seconds: float = 1.0) -> Contender:
    return Contender(name, scores, seconds)


def test_a_spread_is_that_of_a_sample() -> None:
    assert spread([0.5, 0.7]).mean == pytest.approx(0.6)
    assert spread([0.5, 0.7]).deviation == pytest.approx(0.02**0.5)
    assert spread([0.5]).deviation is None
    assert shown(spread([0.5, 0.7]), "accuracy") == "60.00 ± 14.14 %"
    assert shown(spread([0.5]), "loss") == "0.5000"


def test_the_best_is_recommended_where_nothing_comes_near() -> None:
    found = recommend([contender("near", 0.90, 0.91, seconds=1), contender("best", 0.95, 0.96, seconds=9)], "accuracy")
    assert (found.name, found.best) == ("best", "best")
    assert "ahead of near" in found.reason


def test_within_one_deviation_the_cheaper_is_recommended() -> None:
    slow = contender("slow", 0.94, 0.98, seconds=9)
    found = recommend([slow, contender("quick", 0.94, 0.94, seconds=2), contender("far", 0.5, 0.5)], "accuracy")
    assert (found.name, found.best) == ("quick", "slow")
    assert "2.0 s instead of 9.0 s" in found.reason


def test_a_deviation_of_its_own_does_not_bring_a_row_near() -> None:
    found = recommend([contender("best", 0.96, 0.96, seconds=9), contender("wild", 0.5, 0.99)], "accuracy")
    assert found.name == "best"


def test_one_seed_has_no_deviation() -> None:
    found = recommend([contender("best", 0.96, seconds=9), contender("next", 0.959)], "accuracy")
    assert found.name == "best"
    assert "one seed" in found.reason


def test_the_lowest_loss_is_the_best() -> None:
    rows = [contender("high", 0.9, 0.9), contender("low", 0.1, 0.1)]
    assert [one.name for one in by_score(rows, "loss")] == ["low", "high"]
    assert [one.name for one in by_score(rows, "accuracy")] == ["high", "low"]
    assert recommend(rows, "loss").name == "low"
