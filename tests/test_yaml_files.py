"""What YAML may refer to: as much as anyone writes, not itself, and not billions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from transfer_cli.yaml_files import check_file, loaded_yaml

LAUGHS = "".join(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'a'}]\n" for n in range(9))


def test_what_people_write_is_read() -> None:
    assert loaded_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x}\n") == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1}}
    assert loaded_yaml("a: '&x and *x'") == {"a": "&x and *x"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, "stand for more than 20,000"),
        ("a: &x {b: *x}", "stands for what it is in"),
        ("a: *x & y", "undefined alias"),
        ("[" * 5000, "recursion"),
        ("a: 2020-02-30", "day is out of range"),
        (f"a: {'9' * 5000}", "4300 digits"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
    ],
)
def test_what_stands_for_too_much_or_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loaded_yaml(text)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    with pytest.raises(ValueError, match="a pipe"):
        check_file(tmp_path / "x.yaml")
