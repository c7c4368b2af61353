"""Layer-wise rates multiply down the network; patterns are ordered, and one that does nothing is an error."""

from __future__ import annotations

import itertools

import pytest

from transfer_cli.errors import UserError
from transfer_cli.methods.rates import layer_multiplier, match, pattern_multipliers

NAMES = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.bn1.bias", "layer10.0.conv1.weight", "fc.weight", "fc.bias"]


def test_each_stage_learns_decay_times_as_fast_as_the_one_above() -> None:
    """The product rule: lr of stage l is lr * decay^(L - l)."""
    rates = [layer_multiplier(stage, 4, 0.75) for stage in range(5)]
    assert rates[4] == 1
    assert rates[0] == pytest.approx(0.31640625)
    assert all(lower == pytest.approx(0.75 * upper) for lower, upper in itertools.pairwise(rates))
    assert layer_multiplier(2, 4, 1.0) == 1


def test_patterns_are_wildcards_or_beginnings() -> None:
    assert match(NAMES, ["layer1"], "k") == NAMES[1:3]
    assert match(NAMES, ["layer1.*"], "k") == NAMES[1:3]
    assert match(NAMES, ["*.bias", "fc"], "k") == ["layer1.0.bn1.bias", "fc.weight", "fc.bias"]
    assert match(NAMES, ["layer[1-9]*.conv1.weight"], "k") == [NAMES[1], NAMES[3]]


def test_a_stage_goes_by_its_own_name() -> None:
    stages = {"top": {"fc.weight", "fc.bias"}}
    assert match(NAMES, ["top", "layer1.*"], "k", stages) == [*NAMES[1:3], "fc.weight", "fc.bias"]
    assert pattern_multipliers(NAMES, [("top", 3.0)], "k", stages) == {"fc.weight": 3.0, "fc.bias": 3.0}


def test_the_first_matching_rule_counts() -> None:
    multipliers = pattern_multipliers(NAMES, [("*.bias", 2.0), ("fc", 10.0), ("layer1", 0.1)], "k")
    assert multipliers == {
        "layer1.0.bn1.bias": 2.0,
        "fc.bias": 2.0,
        "fc.weight": 10.0,
        "layer1.0.conv1.weight": 0.1,
    }


def test_a_pattern_that_matches_nothing_is_an_error_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"strategy\.rates: layr1 matches no parameter\. Did you mean .*layer1"):
        pattern_multipliers(NAMES, [("fc", 1.0), ("layr1", 0.1)], "strategy.rates")
    with pytest.raises(UserError, match=r"zzz matches no parameter\. Names look like conv1\.weight"):
        match(NAMES, ["zzz"], "strategy.unfreeze")


def test_a_pattern_that_comes_too_late_is_an_error() -> None:
    with pytest.raises(UserError, match=r"strategy\.rates: fc\.bias has no effect"):
        pattern_multipliers(NAMES, [("fc", 1.0), ("fc.bias", 0.1)], "strategy.rates")
