"""Values into types: what fits, what does not, and that all problems are told at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from transfer_cli.config.convert import Between, MoreThan, Rest, convert, to_plain


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, MoreThan(0)]
    pair: tuple[Annotated[float, Between(0, 1)], float] | None


@dataclass(frozen=True)
class Outer:
    inner: Inner
    kind: Literal["auto", "fast"] | Annotated[int, Between(1)]
    on: bool
    extra: int = 7


GOOD = {"inner": {"rate": 1, "pair": [0.5, 2]}, "kind": 3, "on": True}


def test_good_values_become_typed() -> None:
    problems: list[str] = []
    assert convert(GOOD, Outer, "", problems) == Outer(Inner(1.0, (0.5, 2.0)), 3, True, 7)
    assert not problems


def test_all_problems_are_told_at_once_with_their_keys() -> None:
    problems: list[str] = []
    wrong = {"inner": {"rate": -1, "pair": [2, 2], "rat": 1}, "kind": "fsat", "on": 1}
    assert convert(wrong, Outer, "", problems) is None
    told = "\n".join(problems)
    assert len(problems) == 5
    for words in (
        "inner.rate=-1",
        "inner.pair",
        "Did you mean inner.rate?",
        "Did you mean fast or auto?",
        "on=1: expected true or false",
    ):
        assert words in told


def test_a_mapping_keeps_its_names_and_checks_its_values() -> None:
    problems: list[str] = []
    wanted = Mapping[str, Annotated[float, Between(0)]]
    assert convert({"kd": 1, "ce": 0.5}, wanted, "loss", problems) == {"kd": 1.0, "ce": 0.5}
    assert not problems
    convert({"kd": -1, "ce": "much"}, wanted, "loss", problems)
    assert [problem.split(":")[0] for problem in problems] == ["loss.kd=-1", "loss.ce=much"]
    convert(3, wanted, "loss", problems)
    assert problems[-1].startswith("loss=3: expected a group of keys")


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        (True, int, False),
        (1.0, int, False),
        (float("nan"), float, False),
        (float("inf"), Annotated[float, MoreThan(0)], False),
        (2024, str, True),
        (True, str, False),
        ("", str, False),
        ("a\0b", str, False),
        (None, int | None, True),
        ([1.0], tuple[float, float], False),
        ("???", int, False),
    ],
)
def test_one_value(value: object, wanted: object, fits: bool) -> None:
    problems: list[str] = []
    convert(value, wanted, "key", problems)
    assert (not problems) == fits


@dataclass(frozen=True)
class Open:
    rate: float
    inner: Inner
    penalties: Annotated[dict[str, dict[str, Any]], Rest()]


OPEN = {"rate": 1.0, "bss": {"k": 1}, "inner": {"rate": 2.0, "pair": [0.5, 1.0]}, "delta": {"stages": ["a", "b"]}}


def test_one_field_takes_the_mappings_that_are_no_other_fields() -> None:
    problems: list[str] = []
    one = convert(OPEN, Open, "", problems)
    assert one == Open(1.0, Inner(2.0, (0.5, 1.0)), {"bss": {"k": 1}, "delta": {"stages": ["a", "b"]}})
    assert to_plain(one) == OPEN
    assert not problems
    assert convert({**OPEN, "bss": {}, "penalties": {"k": 2}}, Open, "", problems).penalties["penalties"] == {"k": 2}


def test_what_is_no_mapping_is_no_key_even_so() -> None:
    problems: list[str] = []
    assert convert({**OPEN, "ratee": 1}, Open, "strategy", problems) is None
    assert len(problems) == 1
    assert problems[0].startswith("strategy.ratee=1: no such key; ")
    assert problems[0].endswith("Did you mean strategy.rate?")
