"""Lines of results: what a kill left half written is measured again, nothing else is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.evidence.results import Result, Results, key_of


def test_results_are_read_back_and_a_line_cut_short_is_left_out(made: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "out" / "results.jsonl"
    results = Results.read(file)
    first, second, third = (made("s", "finetune", seed, 0.5) for seed in range(3))
    results.add(first)
    results.add(second)
    file.write_text(file.read_text()[:-20])
    again = Results.read(file)
    assert list(again.found.values()) == [first]
    again.add(third)
    assert list(Results.read(file).found.values()) == [first, third]


def test_a_key_changes_with_any_fact() -> None:
    assert key_of({"epochs": 3, "seed": 1}) == key_of({"seed": 1, "epochs": 3}) != key_of({"epochs": 4, "seed": 1})
