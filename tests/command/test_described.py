"""Comments of YAML files: each key of each option has one description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import experiment
from transfer_cli.command.described import described, option_file, read
from transfer_cli.command.source import ConfigSource, conf_dir, options
from transfer_cli.config.parse import to_dict

SOURCE = ConfigSource(conf_dir(), "config", None)
NEEDED = {"distill": ["strategy.teacher.weights=a_run"], "timm": ["model.name=x"], "torchvision": ["model.name=x"]}
# The name of an option is the option itself.
OPTION_NAMES = {f"{group}.name" for group in options(SOURCE)} - {"model.name"}


def dotted(values: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in values.items():
        keys |= dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


def test_every_key_of_every_option_has_a_comment() -> None:
    rows = described(SOURCE)
    assert [row.name for group in rows.values() for row in group if not row.comment] == []
    known = {row.name for group in rows.values() for row in group} | OPTION_NAMES
    for group in ("dataset", "strategy", "optimizer", "scheduler", "augment", "trainer"):
        for name in options(SOURCE)[group]:
            keys = dotted(to_dict(experiment(f"{group}={name}", *NEEDED.get(name, []))))
            assert {key for key in keys - known if not key.startswith("strategy.adapt.")} == set(), name


def test_every_option_says_what_it_is() -> None:
    for group, names in options(SOURCE).items():
        for name in names:
            meaning = option_file(SOURCE, group, name).meaning
            assert 10 < len(meaning) < 125, f"{group}={name}: {meaning}"


def test_no_key_is_described_twice_in_the_same_words() -> None:
    for group in described(SOURCE).values():
        pairs = [(row.name, row.comment) for row in group]
        assert len(pairs) == len(set(pairs))


def test_a_file_is_read_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "# @package _global_\n# What it is\n# more of it\ndefaults:\n  - override /trainer: probe\n"
        "strategy:\n  name: x\n  # Two lines\n  # of comment\n  first: [1, 2]\n  second: a b  # behind it\n"
        "  deep:\n    third: null\ntrainer:\n  epochs: 3\n"
    )
    file = read(tmp_path / "x.yaml", "strategy")
    assert file.meaning == "What it is"
    assert [(key.name, key.value, key.comment) for key in file.keys] == [
        ("first", "[1, 2]", "Two lines of comment"),
        ("second", "a b", "behind it"),
        ("deep.third", "null", ""),
    ]


@pytest.mark.parametrize(
    ("group", "key", "option", "value"),
    [
        ("trainer", "trainer.batch_size", "probe", "256"),
        ("trainer", "trainer.batch_size", "", "32"),
        ("augment", "augment.hue", "strong", "0.0"),
        ("dataset", "dataset.path", "cifar10", "data"),
        ("dataset", "dataset.path", "", "null"),
        ("", "cache_dir", "", "auto"),
    ],
)
def test_the_value_is_that_of_the_option(group: str, key: str, option: str, value: str) -> None:
    row = next(row for row in described(SOURCE)[group] if row.name == key)
    assert row.default(option) == value
    assert row.everywhere
